//! The chart: its CRDs are the generated ones, `manifests/install.yaml` is what it renders, and what it renders keeps to
//! the rules. `UPDATE=1` writes what is generated anew. Helm is the pinned one, built into the cache the first time.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod records;
mod roles;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
    sync::OnceLock,
};

use slipway_cluster::{layout::Layout, progress::Progress, tools};
use slipway_tests::root;

/// What the chart is rendered with for people who do not use Helm: they make the Secrets, and put their addresses in.
const INSTALL: &[&str] = &[
    "image.repository=registry.example.com/slipway/operator",
    "registry.address=registry.example.com",
    "registry.existingSecret=slipway-registry",
    "engine.address=tcp://engine.example.com:2376",
    "engine.existingSecret=slipway-engine",
];

const HEAD: &str = "\
# Slipway without Helm. Rendered from charts/slipway: `make generate`.
#
# 1. Put the addresses of your registry and Docker Engine in place of registry.example.com and engine.example.com.
# 2. kubectl create namespace slipway-system
# 3. Make two Secrets there:
#      slipway-registry   username, password          an account that may write
#      slipway-engine     ca.pem, cert.pem, key.pem   client certificate of the Docker Engine
# 4. kubectl apply --server-side -f install.yaml
";

fn helm() -> &'static str {
    static HELM: OnceLock<String> = OnceLock::new();
    HELM.get_or_init(|| {
        let cache = std::env::var("XDG_CACHE_HOME")
            .unwrap_or_else(|_| format!("{}/.cache", std::env::var("HOME").expect("HOME is set")));
        let layout = Layout::new("/var/lib/slipway-cluster", &format!("{cache}/slipway"))
            .expect("the cache's path");
        let mut out = std::io::stderr();
        let helm: Vec<_> = tools::ALL
            .into_iter()
            .filter(|t| t.name == "helm")
            .collect();
        tools::build_missing(&layout, &helm, &mut Progress::new(&mut out, false))
            .expect("helm can be built");
        layout.program("helm")
    })
}

fn run(arguments: &[&str], values: &[&str]) -> Output {
    let mut command = Command::new(helm());
    command.args(arguments).current_dir(root());
    for value in values {
        command.args(["--set", value]);
    }
    command.output().expect("helm runs")
}

/// What the chart renders, as objects.
fn objects(values: &[&str]) -> Vec<serde_yaml::Value> {
    let text = render(values);
    let documents = text.split("\n---\n");
    documents
        .map(|document| serde_yaml::from_str(document).expect("YAML"))
        .collect()
}

fn render(values: &[&str]) -> String {
    let arguments = [
        "template",
        "slipway",
        "charts/slipway",
        "--namespace=slipway-system",
    ];
    let output = run(&arguments, values);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Compares with what is committed, or writes it.
fn golden(path: &str, wanted: &str) {
    let file = root().join(path);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(file.parent().expect("a folder")).expect("the folder can be made");
        fs::write(&file, wanted).expect("the file can be written");
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == wanted,
        "{path} is out of date: run `make generate`"
    );
}

/// The chart's own copy of a CRD: kept when the chart goes, for with a CRD every App goes.
fn crd_of_chart(yaml: &str) -> String {
    yaml.replacen(
        "metadata:\n",
        "metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n",
        1,
    )
}

const VALUES_SCHEMA: &str = "charts/slipway/values.schema.json";

/// The schema of the chart's values; the sections that the operator reads are generated from its types.
fn with_generated_sections(mut schema: String) -> String {
    for (name, section) in slipway_core::settings::file::schema() {
        let section = serde_json::to_string_pretty(&section).expect("JSON");
        let section = section.replace('\n', "\n    ");
        let from = format!("\n    \"{name}\": {{\n");
        let start = schema.find(&from).expect("the section is there");
        let end = start + schema[start..].find("\n    }").expect("it ends");
        let section = section.strip_suffix('}').expect("an object").trim_end();
        schema.replace_range(start..end, &format!("\n    \"{name}\": {section}"));
    }
    schema
}

#[test]
fn what_is_generated_is_up_to_date() {
    let folder = root().join("crds/yaml");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("crds/yaml is there")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    for file in files {
        let yaml = fs::read_to_string(&file).expect("a CRD");
        let name = file.file_name().expect("a name").to_string_lossy();
        golden(
            &format!("charts/slipway/files/crds/{name}"),
            &crd_of_chart(&yaml),
        );
    }
    let schema = fs::read_to_string(root().join(VALUES_SCHEMA)).expect("it is there");
    golden(VALUES_SCHEMA, &with_generated_sections(schema));
    golden(
        "manifests/install.yaml",
        &format!("{HEAD}{}", render(INSTALL)),
    );
}

#[test]
fn the_chart_passes_helms_own_linter() {
    let output = run(&["lint", "--strict", "charts/slipway"], INSTALL);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

#[test]
fn a_value_that_the_chart_does_not_know_is_refused() {
    for wrong in [
        "nonsense=1",
        "registry.nonsense=1",
        "apps.serviceType=Nonsense",
        "replicas=0",
    ] {
        let mut values = INSTALL.to_vec();
        values.push(wrong);
        let output = run(&["template", "slipway", "charts/slipway"], &values);
        assert!(!output.status.success(), "{wrong} was taken");
    }
}

#[test]
fn a_limit_that_is_set_to_null_is_none() {
    let mut values = INSTALL.to_vec();
    values.push("builds.cpus=null");
    let text = render(&values);
    assert!(
        text.contains("\n      cpus: \"\"\n"),
        "cpus have no default now"
    );
    assert!(
        text.contains("\n      maxCpus: \"8\"\n"),
        "others keep theirs"
    );
}

#[test]
fn what_is_missing_is_named() {
    for (index, part) in [
        (0, "image.repository"),
        (1, "registry.address"),
        (3, "engine.address"),
        (4, "cert and key"),
    ] {
        let mut values = INSTALL.to_vec();
        values.remove(index);
        let output = run(&["template", "slipway", "charts/slipway"], &values);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(part),
            "{part}: {said}"
        );
    }
}

#[test]
fn the_operator_asks_for_no_wildcard_and_runs_restricted() {
    let mut values = INSTALL.to_vec();
    values.extend([
        "replicas=2",
        "networkPolicy.enabled=true",
        "podDisruptionBudget.enabled=true",
    ]);
    let mut seen = Vec::new();
    for object in objects(&values) {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        for rule in object["rules"].as_sequence().into_iter().flatten() {
            let text = serde_yaml::to_string(rule).expect("YAML");
            assert!(!text.contains('*'), "{kind}: {text}");
            for verb in ["escalate", "bind", "impersonate"] {
                assert!(!text.contains(verb), "{kind}: {text}");
            }
        }
        if kind == "Deployment" {
            let pod = &object["spec"]["template"]["spec"];
            let container = &pod["containers"][0]["securityContext"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(
                pod["securityContext"]["seccompProfile"]["type"],
                "RuntimeDefault"
            );
            assert_eq!(container["allowPrivilegeEscalation"], false);
            assert_eq!(container["readOnlyRootFilesystem"], true);
            assert_eq!(container["capabilities"]["drop"][0], "ALL");
        }
        seen.push(kind);
    }
    for kind in [
        "Deployment",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "APIService",
    ] {
        assert!(seen.iter().any(|k| k == kind), "no {kind} among {seen:?}");
    }
}

/// Namespaces in which the ServiceAccount of the operator has what the role `role` grants; `*` where that is all.
fn bound<'a>(objects: &'a [serde_yaml::Value], role: &str) -> Vec<&'a str> {
    objects
        .iter()
        .filter(|object| object["roleRef"]["kind"] == "ClusterRole")
        .filter(|object| object["roleRef"]["name"] == role)
        .map(|object| object["metadata"]["namespace"].as_str().unwrap_or("*"))
        .collect()
}

#[test]
fn the_operators_rights_reach_no_further_than_the_namespaces_that_it_looks_after() {
    let all = objects(INSTALL);
    assert_eq!(bound(&all, "slipway-operator"), ["*"]);

    let mut values = INSTALL.to_vec();
    values.push("watchNamespaces={a,b}");
    let some = objects(&values);
    assert_eq!(bound(&some, "slipway-operator"), ["a", "b"]);

    assert_eq!(bound(&some, "slipway-operator-cluster"), ["*"]);
    let cluster = some
        .iter()
        .find(|o| o["kind"] == "ClusterRole" && o["metadata"]["name"] == "slipway-operator-cluster")
        .expect("the role");
    let rules = cluster["rules"].as_sequence().expect("rules");
    let granted: Vec<&str> = rules
        .iter()
        .flat_map(|rule| rule["resources"].as_sequence().expect("resources"))
        .map(|resource| resource.as_str().expect("a name"))
        .collect();
    assert_eq!(
        granted,
        [
            "stacks",
            "nodes",
            "servicecidrs",
            "endpointslices",
            "subjectaccessreviews",
            "apiservices"
        ]
    );
}

#[test]
fn the_same_values_render_the_same_secrets() {
    let mut values = vec![INSTALL[0], INSTALL[1], INSTALL[3]];
    values.extend(["registry.username=u", "registry.password=p"]);
    values.extend(["engine.ca=a", "engine.cert=b", "engine.key=c"]);
    assert_eq!(render(&values), render(&values));
}
