use crate::runtime::settings::{bundle, read};
use slipway_core::settings::ServiceType;
use slipway_crds::v1alpha1::Duration;
use slipway_k8s::classify::chain;
use std::fs;

/// Settings with `more` after the least that is needed, in a folder with the files that they name.
fn told(more: &str) -> Result<crate::runtime::settings::Told, String> {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("username"), "pusher\n").unwrap();
    fs::write(at("password"), "pa ss\n").unwrap();
    let text =
        format!("imageForNodes: r/slipway@sha256:1\nimageForEngine: e/slipway@sha256:1\n{more}")
            .replace("FOLDER", folder.path().to_str().unwrap());
    fs::write(at("settings.yaml"), text).unwrap();
    read(&at("settings.yaml"), "slipway-system").map_err(|error| chain(&error))
}

const LEAST: &str = "registry: {address: 'r:5000'}\nengine: {address: 'unix:///e.sock'}\n";

#[test]
fn the_least_that_is_needed_gets_the_defaults() {
    let settings = told(LEAST).unwrap().settings;
    assert_eq!(settings.namespace, "slipway-system");
    assert_eq!(
        (
            settings.registry.engine_address.as_str(),
            settings.registry.pull_address.as_str()
        ),
        ("r:5000", "r:5000")
    );
    assert_eq!(settings.builds.timeout, Duration::from_secs(1800));
    assert_eq!(settings.builds.of_one_namespace(), None);
    let ceilings = settings.builds.ceilings();
    assert_eq!(ceilings.timeout, Duration::from_secs(7200));
    assert_eq!(ceilings.memory.unwrap().0, "16Gi");
    assert_eq!(settings.apps.service_type, ServiceType::ClusterIp);
    assert_eq!(settings.registry.push.username, None);
    assert_eq!(settings.build_ca, None);
    assert_eq!(settings.apps.node_address, None);
}

#[test]
fn everything_can_be_said() {
    let told = told(
            "watchNamespaces: [a, b]
registry: {address: 'p:1', engineAddress: 'e:2', pullAddress: 'n:3', prefix: x, insecure: true, credentials: FOLDER, ca: PEM, pullSecret: s}
engine: {address: 'tcp://e:2376', certificates: /certs}
builds: {defaultStack: t, concurrency: 3, perNamespace: 1, timeout: 1h, maxTimeout: 2h, cpus: 1.5, maxCpus: 4, memory: 2Gi, maxMemory: 1Gi, pids: 9, logBytes: 10, ca: C, env: {A: b}, git: {protocols: [https], maxBytes: 1, maxFiles: 2, timeoutSeconds: 3}}
apps: {serviceType: NodePort, nodeAddress: h, clusterDomain: d, interval: 30s, drainSeconds: 7, maxHistory: 20}
outside: {allow: [git.example.com, '10.0.0.0/8'], cluster: [10.244.0.0/16]}
hashKey: ours
",
        )
        .unwrap();
    assert_eq!(told.hash_key.as_deref(), Some("ours"));
    let settings = told.settings;
    assert_eq!(settings.watch_namespaces, ["a", "b"]);
    assert_eq!(settings.registry.push.password.unwrap().0, "pa ss");
    assert_eq!(settings.builds.memory.as_ref().unwrap().0, "2Gi");
    assert_eq!(settings.builds.cpus.as_ref().unwrap().0, "1.5");
    assert_eq!(settings.builds.of_one_namespace(), Some(1));
    let ceilings = settings.builds.ceilings();
    assert_eq!(ceilings.timeout, Duration::from_secs(7200));
    assert_eq!(ceilings.cpus.unwrap().0, "4");
    // A ceiling does not lower what builds get by default.
    assert_eq!(ceilings.memory.unwrap().0, "2Gi");
    assert_eq!(settings.apps.max_history, 20);
    assert_eq!(settings.builds.git.timeout_seconds, 3);
    assert!(settings.build_ca.unwrap().ends_with('C'));
    assert_eq!(settings.apps.interval, Duration::from_secs(30));
    let outside = settings.outside.policy();
    assert_eq!((outside.allow.len(), outside.cluster.len()), (2, 1));
}

#[test]
fn what_is_added_to_the_systems_certificates_takes_none_away() {
    let folder = tempfile::tempdir().unwrap();
    let system = folder.path().join("ca-certificates.crt");
    assert_eq!(bundle(&system, "OWN").unwrap(), "OWN");
    fs::write(&system, "PUBLIC\n").unwrap();
    assert_eq!(bundle(&system, "OWN").unwrap(), "PUBLIC\nOWN");
    let unreadable = bundle(folder.path(), "OWN").unwrap_err().to_string();
    assert!(unreadable.starts_with("builds.ca: "), "{unreadable}");
}

#[test]
fn every_mistake_names_its_field() {
    let engine = |engine: &str| {
        LEAST.replace(
            "engine: {address: 'unix:///e.sock'}",
            &format!("engine: {engine}"),
        )
    };
    for (more, said) in [
        (format!("{LEAST}nonsense: 1\n"), "nonsense"),
        (
            LEAST.replace("r:5000", "https://r:5000"),
            "registry.address: not host:port",
        ),
        (
            LEAST.replace("'r:5000'", "'r:5000', credentials: FOLDER/none"),
            "which registry.credentials names",
        ),
        (engine("{address: 'e:2375'}"), "engine.address: not tcp://"),
        (engine("{address: 'tcp://e:2376'}"), "engine.certificates: "),
        (
            format!("{LEAST}builds: {{timeout: soon}}\n"),
            "builds.timeout",
        ),
        (
            format!("{LEAST}builds: {{memory: much}}\n"),
            "builds.memory: \"much\"",
        ),
        (
            format!("{LEAST}builds: {{maxMemory: '0'}}\n"),
            "builds.maxMemory: \"0\"",
        ),
        (
            format!("{LEAST}builds: {{memory: 512m}}\n"),
            "builds.memory: \"512m\" is less than",
        ),
        (
            format!("{LEAST}builds: {{maxMemory: '0.4'}}\n"),
            "builds.maxMemory: \"0.4\" is less than",
        ),
        (format!("{LEAST}builds: {{pids: 0}}\n"), "builds.pids"),
        (
            format!("{LEAST}builds: {{concurrency: 0}}\n"),
            "builds.concurrency",
        ),
        (
            format!("{LEAST}apps: {{serviceType: Ingress}}\n"),
            "apps.serviceType",
        ),
        (
            format!("{LEAST}outside: {{allow: ['https://h']}}\n"),
            "outside.allow: \"https://h\" is not a network",
        ),
        (
            format!("{LEAST}outside: {{cluster: [10.0.0.0/99]}}\n"),
            "outside.cluster: \"10.0.0.0/99\"",
        ),
    ] {
        let error = told(&more).unwrap_err();
        assert!(error.contains(said), "{error:?} does not say {said:?}");
    }
}
