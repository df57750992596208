//! What a Release becomes: `golden/desired/<case>/input.yaml` → `expected/*.yaml`. `UPDATE=1` overwrites.
#![allow(missing_docs, reason = "a test")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test: what goes wrong has to end it"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::{Deserialize, Serialize};
use slipway_core::{
    desired::{self, Live, Objects, Prepared, Site},
    settings::ServiceType,
};
use slipway_crds::v1alpha1::{Release, ReleaseSite};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    release: Release,
    #[serde(default)]
    live: Live,
    #[serde(default)]
    site: SiteInput,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct SiteInput {
    pull_secret: Option<String>,
    service_type: Option<String>,
    program_image: Option<String>,
}

impl SiteInput {
    fn site(self) -> Site {
        Site {
            pods: ReleaseSite {
                registry: "registry.example:5000".to_owned(),
                pull_secret: self.pull_secret,
                program_image: self
                    .program_image
                    .unwrap_or_else(|| "registry.example:5000/slipway/operator:1".to_owned()),
                drain_seconds: 5,
            },
            service_type: match self.service_type.as_deref() {
                Some("NodePort") => ServiceType::NodePort,
                Some("LoadBalancer") => ServiceType::LoadBalancer,
                _ => ServiceType::ClusterIp,
            },
        }
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/desired")
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(golden())
        .expect("the golden folder exists")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    cases.sort();
    cases
}

fn rendered(case: &Path) -> Objects<Prepared> {
    let text = fs::read_to_string(case.join("input.yaml")).expect("every case has an input");
    let input: Input =
        serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
    desired::objects(&input.release, &input.live, &input.site.site()).expect("a known renderer")
}

fn yaml(object: &impl Serialize) -> String {
    serde_yaml::to_string(object).expect("an object is plain data")
}

/// File name → content.
fn files(objects: &Objects<Prepared>) -> BTreeMap<String, String> {
    let Objects {
        service_accounts,
        claims,
        services,
        deployments,
        stage: _,
    } = objects;
    let mut files = BTreeMap::new();
    for account in service_accounts {
        files.insert("serviceaccount.yaml".to_owned(), yaml(account));
    }
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    for claim in claims {
        files.insert(
            format!("claim-{}.yaml", name(&claim.metadata.name)),
            yaml(claim),
        );
    }
    for service in services {
        files.insert("service.yaml".to_owned(), yaml(service));
    }
    for deployment in deployments {
        files.insert(
            format!("deployment-{}.yaml", name(&deployment.metadata.name)),
            yaml(deployment),
        );
    }
    files
}

#[test]
fn releases_become_the_expected_objects() {
    let mut wrong = Vec::new();
    for case in cases() {
        let wanted = files(&rendered(&case));
        let folder = case.join("expected");
        if std::env::var_os("UPDATE").is_some() {
            if folder.exists() {
                fs::remove_dir_all(&folder).expect("the folder can be removed");
            }
            fs::create_dir_all(&folder).expect("the folder can be made");
            for (name, text) in &wanted {
                fs::write(folder.join(name), text).expect("the folder can be written");
            }
        }
        let found: BTreeMap<String, String> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .map(|entry| {
                let path = entry.expect("it can be listed").path();
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                (name, fs::read_to_string(&path).expect("it is text"))
            })
            .collect();
        if found != wanted {
            for name in wanted.keys().chain(found.keys()) {
                if wanted.get(name) != found.get(name) {
                    wrong.push(format!(
                        "{}\n--- expected\n{}\n--- is\n{}",
                        folder.join(name).display(),
                        found.get(name).map_or("(no such object)", String::as_str),
                        wanted.get(name).map_or("(no such object)", String::as_str),
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_release_gives_the_same_objects() {
    for case in cases() {
        assert_eq!(rendered(&case), rendered(&case), "{case:?}");
    }
}

#[test]
fn every_pod_template_has_the_labels_that_its_deployment_selects() {
    for case in cases() {
        for deployment in rendered(&case).deployments {
            let spec = deployment.spec.expect("a Deployment has a spec");
            let labels = spec
                .template
                .metadata
                .and_then(|m| m.labels)
                .unwrap_or_default();
            for (key, value) in spec.selector.match_labels.unwrap_or_default() {
                assert_eq!(labels.get(&key), Some(&value), "{case:?}");
            }
        }
    }
}

/// What changes without a Release may not show in a pod template.
#[test]
fn scaling_and_stopping_replace_no_pod() {
    for case in cases() {
        let text = fs::read_to_string(case.join("input.yaml")).expect("every case has an input");
        let templates = |change: &dyn Fn(&mut Live)| {
            let mut input: Input = serde_yaml::from_str(&text).expect("the case can be read");
            input.live.deployed = input.release.spec.processes.keys().cloned().collect();
            change(&mut input.live);
            desired::objects(&input.release, &input.live, &input.site.site())
                .expect("a known renderer")
                .deployments
                .into_iter()
                .map(|d| yaml(&d.spec.map(|s| s.template)))
                .collect::<Vec<_>>()
        };
        let before = templates(&|_| {});
        assert_eq!(before, templates(&|live| live.stopped = true), "{case:?}");
        assert_eq!(
            before,
            templates(&|live| live.replicas.values_mut().for_each(|n| *n += 3)),
            "{case:?}"
        );
    }
}

/// What a Release was made with it keeps, or, where it is from before that was kept, its pods show.
#[test]
fn settings_of_now_replace_no_pod() {
    for case in cases() {
        let text = fs::read_to_string(case.join("input.yaml")).expect("every case has an input");
        let mut input: Input = serde_yaml::from_str(&text).expect("the case can be read");
        let mut site = std::mem::take(&mut input.site).site();
        let pods = |live: &Live, site: &Site| -> BTreeMap<String, PodTemplateSpec> {
            desired::objects(&input.release, live, site)
                .expect("a known renderer")
                .deployments
                .into_iter()
                .map(|d| {
                    let template = d.spec.expect("it has a spec").template;
                    let labels = template.metadata.as_ref().and_then(|m| m.labels.as_ref());
                    let process = labels.and_then(|l| l.get("slipway.dev/process"));
                    (process.expect("it has a label").clone(), template)
                })
                .collect()
        };
        let before = pods(&input.live, &site);
        site.pods = ReleaseSite {
            registry: "moved.example".to_owned(),
            pull_secret: Some("another".to_owned()),
            program_image: "moved.example/slipway/operator:2".to_owned(),
            drain_seconds: 60,
        };
        let mut live = input.live.clone();
        for (process, template) in &before {
            let pod = template.spec.as_ref().expect("a pod");
            let found = desired::rendered(pod, &input.release, process, &site.pods);
            live.rendered.insert(process.clone(), found);
        }
        assert_eq!(pods(&live, &site), before, "{case:?}");
    }
}

#[test]
fn a_release_of_a_newer_operator_is_refused_with_what_to_do() {
    let release: Release = serde_yaml::from_str(
        "{apiVersion: slipway.dev/v1alpha1, kind: Release, metadata: {name: hello-v1}, spec: {app: {name: hello, uid: u}, number: 1, cause: c, inputs: i, renderer: 99, revision: r, revisionId: r, image: {reference: i}, configSecret: s, processes: {}, port: 5000, deadlines: {}, podSecurity: Restricted}}",
    )
    .expect("a Release");
    let error = desired::objects(&release, &Live::default(), &SiteInput::default().site())
        .expect_err("nobody knows version 99")
        .to_string();
    assert!(
        error.contains("hello-v1") && error.contains("99"),
        "{error}"
    );
}
