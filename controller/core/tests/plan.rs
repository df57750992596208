//! The plan of a build, as a golden file: `UPDATE=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use jiff::Timestamp;
use slipway_base::zone::{
    Zone,
    input::{BuildInput, EgressInput, ExportInput, FetchInput, GitCredentials, Secret},
};
use slipway_core::{
    build::{
        file::PlanFile,
        plan::{Inputs, PlanError, PlanImage, Referenced, plan},
    },
    domain::env::HashKey,
    settings::{Account, Egress, Settings, file},
};
use slipway_crds::v1alpha1::{
    Artifact, Build, BuildSource, PushRevision, Quantity, ResourceAmounts, Resources,
};

const BUILD: &str = r#"
apiVersion: slipway.dev/v1alpha1
kind: Build
metadata:
  name: hello-abcdefghij
  namespace: shop
  uid: 11111111-2222-3333-4444-555555555555
spec:
  app: {name: hello, uid: 99999999-8888-7777-6666-555555555555}
  revision: hello-0123456789
  cause: new revision
  source:
    git:
      url: https://git.example.com/hello.git
      ref: main
      commit: 0123456789abcdef0123456789abcdef01234567
      secretRef: {name: git}
    subPath: web
  stack:
    name: trixie
    stackName: slipway-trixie
    buildImage: {repository: slipway/stacks/trixie/build, digest: "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}
    runImage: {repository: slipway/stacks/trixie/run, digest: "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}
    userId: 32767
    packs:
    - {name: python, repository: slipway/packs/python, digest: "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"}
  env:
  - {name: PLAIN, value: "two\nlines"}
  - name: TOKEN
    valueFrom: {secretKeyRef: {name: tokens, key: token}}
  - name: COLOUR
    valueFrom: {configMapKeyRef: {name: colours, key: colour}}
  timeout: 10m
  resources: {limits: {cpu: 1500m, memory: 1Gi}}
"#;

const BEGAN: Timestamp = Timestamp::constant(1_700_000_000, 0);

/// The settings of this test, over the chart's defaults.
const SETTINGS: &str = "
imageForNodes: 'pull.example.com:5000/slipway/operator@sha256:0'
imageForEngine: 'engine.example.com:5000/slipway/operator@sha256:0'
registry:
  address: push.example.com:5000
  engineAddress: engine.example.com:5000
  pullAddress: pull.example.com:5000
  ca: REGISTRY CA
engine: {address: 'unix:///e'}
builds:
  defaultStack: trixie
  memory: 2Gi
  pids: 1024
  logBytes: 10485760
  ca: OWN
  env: {PIP_INDEX_URL: 'https://mirror.example.com/pypi', HTTPS_PROXY: 'http://proxy.example.com:3128'}
  git: {protocols: [https], maxFiles: 100000}
";

fn settings() -> Settings {
    let account = Account {
        username: "writer".into(),
        password: Secret("REGISTRY-PASSWORD".into()),
    };
    let file = file::read(SETTINGS).unwrap();
    Settings::new(file, "slipway-system", Some(account), Some("BUNDLE".into()))
}

fn inputs() -> Inputs {
    Inputs {
        credentials: Some(GitCredentials {
            username: "reader".into(),
            password: Secret("GIT-PASSWORD".into()),
        }),
        referenced: BTreeMap::from([
            (
                "TOKEN".to_owned(),
                Referenced {
                    value: "BUILD-TOKEN".into(),
                    secret: true,
                },
            ),
            (
                "COLOUR".to_owned(),
                Referenced {
                    value: "blue".into(),
                    secret: false,
                },
            ),
        ]),
        source: None,
    }
}

fn key() -> HashKey {
    HashKey::from_bytes(&[7; HashKey::LENGTH]).unwrap()
}

fn build() -> Build {
    serde_yaml::from_str(BUILD).unwrap()
}

/// The plan as its own `Debug` shows it, and each zone's input as that one's does.
fn shown() -> String {
    let plan = plan(&build(), &settings(), &key(), &inputs(), BEGAN).unwrap();
    let mut text = format!("{plan:#?}\n");
    for zone in &plan.zones {
        let content = &zone.files[0].content;
        let input = match zone.zone {
            Zone::Fetch => format!(
                "{:#?}",
                serde_json::from_slice::<FetchInput>(content).unwrap()
            ),
            Zone::Build => {
                let input: BuildInput = serde_json::from_slice(content).unwrap();
                format!("{input:#?}\n{:#?}", input.process_env)
            }
            Zone::Export => format!(
                "{:#?}",
                serde_json::from_slice::<ExportInput>(content).unwrap()
            ),
        };
        writeln!(text, "{}: {input}", zone.zone.as_str()).unwrap();
    }
    let file = plan
        .egress
        .unwrap()
        .file(vec!["192.0.2.7".parse().unwrap()]);
    let egress: EgressInput = serde_json::from_slice(&file.unwrap().content).unwrap();
    writeln!(text, "egress: {egress:#?}").unwrap();
    text
}

#[test]
fn the_plan_is_as_agreed() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan.txt");
    let shown = shown();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    assert_eq!(shown, std::fs::read_to_string(path).unwrap());
}

/// The same plan has to do for every driver: how its machines reach a registry, or are reached, is its own business.
#[test]
fn a_plan_names_no_place() {
    let plan = plan(&build(), &settings(), &key(), &inputs(), BEGAN).unwrap();
    let shown = format!("{plan:?}");
    for place in ["engine.example.com", "pull.example.com"] {
        assert!(!shown.contains(place), "{place}");
    }
    let images = plan.zones.iter().map(|zone| &zone.image);
    let own = images.filter(|image| **image == PlanImage::Own).count();
    assert_eq!(own, 2, "fetch and export are programs of the operator");
}

#[test]
fn a_file_that_is_longer_than_a_driver_has_to_carry_is_no_plan() {
    let long = |bytes: usize| {
        let mut inputs = inputs();
        let value = "x".repeat(bytes);
        let secret = false;
        let referenced = Referenced { value, secret };
        inputs.referenced.insert("COLOUR".to_owned(), referenced);
        plan(&build(), &settings(), &key(), &inputs, BEGAN)
    };
    // More than a Kubernetes Secret holds, as it may be.
    assert!(long(3 << 20).is_ok());
    let error = long(PlanFile::MAX_BYTES).unwrap_err();
    assert!(
        matches!(&error, PlanError::TooLong { zone: Zone::Build, bytes, .. } if *bytes > PlanFile::MAX_BYTES),
        "{error}"
    );
}

#[test]
fn no_secret_is_shown() {
    let shown = shown();
    for secret in ["REGISTRY-PASSWORD", "GIT-PASSWORD", "BUILD-TOKEN"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn the_build_zone_gets_no_credentials_of_ours() {
    let plan = plan(&build(), &settings(), &key(), &inputs(), BEGAN).unwrap();
    let zone = plan.zone(Zone::Build).unwrap();
    for file in &zone.files {
        let text = String::from_utf8_lossy(&file.content);
        for word in [
            "REGISTRY-PASSWORD",
            "GIT-PASSWORD",
            "writer",
            "push.example.com",
        ] {
            assert!(!text.contains(word), "{word} in {}", file.path);
        }
    }
    // What the App's author let it see is there.
    assert!(String::from_utf8_lossy(&zone.files[0].content).contains("BUILD-TOKEN"));
}

#[test]
fn the_account_of_a_companys_proxy_is_for_ours_alone() {
    let mut settings = settings();
    let proxy = "http://me:PROXY-PASSWORD@proxy.example.com:3128";
    for name in ["HTTPS_PROXY", "http_proxy", "all_proxy"] {
        settings.builds.env.insert(name.into(), proxy.into());
    }
    settings
        .builds
        .env
        .insert("NO_PROXY".into(), "pypi.corp".into());
    let env = |settings: &Settings| {
        let plan = plan(&build(), settings, &key(), &inputs(), BEGAN).unwrap();
        let content = &plan.zone(Zone::Build).unwrap().files[0].content;
        let input: BuildInput = serde_json::from_slice(content).unwrap();
        (plan, input.process_env)
    };
    let (closed, seen) = env(&settings);
    for (name, value) in [
        ("HTTPS_PROXY", Some("http://slipway-egress:3128")),
        ("http_proxy", Some("http://slipway-egress:3128")),
        ("all_proxy", None),
        ("NO_PROXY", Some("localhost,127.0.0.1,::1")),
    ] {
        assert_eq!(seen.get(name).map(String::as_str), value, "{name}");
    }
    let egress = closed.egress.unwrap();
    assert!(!format!("{egress:?}").contains("PROXY-PASSWORD"));
    let file = egress.file(Vec::new()).unwrap();
    let told: EgressInput = serde_json::from_slice(&file.content).unwrap();
    assert_eq!(told.process_env["HTTPS_PROXY"], proxy);
    assert_eq!(told.process_env["NO_PROXY"], "pypi.corp");

    settings.builds.egress = Egress::Open;
    let (open, seen) = env(&settings);
    assert_eq!(open.egress, None);
    assert_eq!(seen["HTTPS_PROXY"], proxy);
}

#[test]
fn a_token_in_an_address_is_in_no_label() {
    let mut build = build();
    let git = build.spec.source.git.as_mut().unwrap();
    git.url = "https://me:canary@git.example.com/hello.git?token=canary".into();
    let plan = plan(&build, &settings(), &key(), &inputs(), BEGAN).unwrap();
    let zone = plan.zone(Zone::Export).unwrap();
    let input: ExportInput = serde_json::from_slice(&zone.files[0].content).unwrap();
    assert_eq!(
        input.labels["org.opencontainers.image.source"],
        "https://git.example.com/hello.git"
    );
    assert!(!format!("{:?}", input.labels).contains("canary"));
}

#[test]
fn a_pushed_source_comes_from_the_registry_alone() {
    let artifact = Artifact {
        repository: "slipway/shop/hello".into(),
        digest: format!("sha256:{}", "d".repeat(64)),
    };
    let mut build = build();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    build.spec.source = BuildSource {
        push: Some(PushRevision {
            commit: commit.into(),
            r#ref: "main".into(),
            artifact: artifact.clone(),
        }),
        ..BuildSource::default()
    };
    let inputs = Inputs {
        credentials: None,
        ..inputs()
    };
    let plan = plan(&build, &settings(), &key(), &inputs, BEGAN).unwrap();
    let content = |zone| &plan.zone(zone).unwrap().files[0].content;
    let fetch: FetchInput = serde_json::from_slice(content(Zone::Fetch)).unwrap();
    let source = fetch.source;
    assert_eq!((source.git, source.commit.as_str()), (None, commit));
    assert_eq!(source.artifact.unwrap().digest, artifact.digest);
    let input: BuildInput = serde_json::from_slice(content(Zone::Build)).unwrap();
    assert_eq!(input.source_version, commit);
    let export: ExportInput = serde_json::from_slice(content(Zone::Export)).unwrap();
    assert_eq!(export.labels["org.opencontainers.image.revision"], commit);
    assert_eq!(export.labels.get("org.opencontainers.image.source"), None);
}

#[test]
fn an_apps_limits_hold_in_its_build_only() {
    let plan = plan(&build(), &settings(), &key(), &inputs(), BEGAN).unwrap();
    let memory = |zone| plan.zone(zone).unwrap().limits.memory_bytes;
    assert_eq!(
        [memory(Zone::Fetch), memory(Zone::Build)],
        [Some(2 << 30), Some(1 << 30)]
    );
}

#[test]
fn without_limits_of_its_own_a_build_has_the_operators() {
    let mut build = build();
    build.spec.resources = None;
    let plan = plan(&build, &settings(), &key(), &inputs(), BEGAN).unwrap();
    let limits = plan.zone(Zone::Build).unwrap().limits;
    assert_eq!(
        (limits.memory_bytes, limits.milli_cpus),
        (Some(2 << 30), Some(2000))
    );
}

#[test]
fn no_build_gets_more_than_the_ceilings_nor_a_limit_that_limits_nothing() {
    let quantity = |text: &str| Some(Quantity(text.into()));
    let mut settings = settings();
    settings.builds.cpus = quantity("1");
    settings.builds.memory = quantity("512Mi");
    settings.builds.max_cpus = quantity("1");
    settings.builds.max_memory = quantity("512Mi");
    let limits = |build: &Build, settings: &Settings| {
        let plan = plan(build, settings, &key(), &inputs(), BEGAN)?;
        let limits = plan.zone(Zone::Build).unwrap().limits;
        Ok::<_, PlanError>((limits.memory_bytes, limits.milli_cpus))
    };
    let cut = (Some(512 << 20), Some(1000));
    assert_eq!(limits(&build(), &settings).unwrap(), cut);
    // Also where neither the App nor the operator sets a limit.
    let mut build = build();
    build.spec.resources = None;
    settings.builds.cpus = None;
    settings.builds.memory = None;
    assert_eq!(limits(&build, &settings).unwrap(), cut);
    // What rounds to nothing, and what no engine takes, are not handed on either.
    for nothing in ["0", "0Gi", "0.0", "100m", "0.4", "1n", "512m", "6291455"] {
        build.spec.resources = Some(Resources {
            limits: Some(ResourceAmounts {
                memory: quantity(nothing),
                cpu: None,
            }),
            requests: None,
        });
        let error = limits(&build, &settings).unwrap_err();
        assert!(
            matches!(
                error,
                PlanError::TooLittle {
                    field: "memory",
                    ..
                }
            ),
            "{error}"
        );
    }
    // The least of a CPU is little, and not without end; for our own zones, too.
    build.spec.resources = Some(Resources {
        limits: Some(ResourceAmounts {
            memory: quantity("6Mi"),
            cpu: quantity("1n"),
        }),
        requests: None,
    });
    assert_eq!(limits(&build, &settings).unwrap(), (Some(6 << 20), Some(1)));
    settings.builds.cpus = quantity("1n");
    let plan = plan(&build, &settings, &key(), &inputs(), BEGAN).unwrap();
    assert_eq!(plan.zone(Zone::Fetch).unwrap().limits.milli_cpus, Some(1));
}

#[test]
fn without_a_bundle_no_variable_points_at_one() {
    let mut settings = settings();
    settings.builds.ca = None;
    settings.build_ca = None;
    let plan = plan(&build(), &settings, &key(), &inputs(), BEGAN).unwrap();
    let zone = plan.zone(Zone::Build).unwrap();
    assert_eq!(zone.files.len(), 1);
    assert!(!String::from_utf8_lossy(&zone.files[0].content).contains("ca.pem"));
}

#[test]
fn a_value_that_was_not_read_is_no_empty_value() {
    let error = plan(&build(), &settings(), &key(), &Inputs::default(), BEGAN).unwrap_err();
    assert!(matches!(error, PlanError::Unresolved { name } if name == "TOKEN"));
}
