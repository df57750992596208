//! The settings file and the files that it names → [`Settings`].

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use slipway_base::{
    outside::Outside,
    zone::input::{RegistryAccess, Secret},
};
use slipway_core::settings::{
    EngineSettings, RegistrySettings, Settings,
    file::{self, Engine, File, Mistake, Registry},
};

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("cannot read {}, which {field} names", path.display())]
    Read {
        /// The setting that names the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A setting is wrong.
    #[error("{}: {mistake}", path.display())]
    Wrong {
        /// The settings file.
        path: PathBuf,
        /// What is wrong, and where.
        mistake: Mistake,
    },
    /// The system's certificates cannot be read.
    #[error("builds.ca: cannot read {}, the certificates that it is added to", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The settings, and what only the start of the operator needs.
#[derive(Clone, Debug)]
pub struct Told {
    /// The settings.
    pub settings: Settings,
    /// Secret with the key of the hashes in names that are derived from config values; if `None`, the operator's own.
    pub hash_key: Option<String>,
}

/// CAs that the operator's image trusts.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Reads the settings file and the files that it names.
pub fn read(path: &Path, namespace: &str) -> Result<Told, SettingsError> {
    let File {
        image_for_nodes,
        image_for_engine,
        watch_namespaces,
        registry,
        engine,
        builds,
        apps,
        outside,
        hash_key,
    } = file::read(&text_of("--settings", path)?).map_err(|mistake| SettingsError::Wrong {
        path: path.to_owned(),
        mistake,
    })?;
    let build_ca = builds.ca.as_deref();
    let build_ca = build_ca.map(|own| bundle(Path::new(SYSTEM_CERTIFICATES), own));
    Ok(Told {
        settings: Settings {
            namespace: namespace.to_owned(),
            watch_namespaces,
            image_for_nodes,
            image_for_engine,
            registry: with_account(registry)?,
            engine: engine_settings(engine),
            build_ca: build_ca.transpose()?,
            builds,
            apps,
            outside: Outside::new(outside.policy()),
        },
        hash_key,
    })
}

fn text_of(field: &'static str, path: &Path) -> Result<String, SettingsError> {
    fs::read_to_string(path).map_err(|source| SettingsError::Read {
        field,
        path: path.to_owned(),
        source,
    })
}

/// The system's certificates, then `own`; only `own` if the system has none.
fn bundle(system: &Path, own: &str) -> Result<String, SettingsError> {
    match fs::read_to_string(system) {
        Ok(system) => Ok(format!("{}\n{own}", system.trim_end())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(own.to_owned()),
        Err(source) => Err(SettingsError::Certificates {
            path: system.to_owned(),
            source,
        }),
    }
}

fn with_account(registry: Registry) -> Result<RegistrySettings, SettingsError> {
    let Registry {
        address,
        engine_address,
        pull_address,
        prefix,
        insecure,
        credentials,
        ca,
        pull_secret,
    } = registry;
    let (username, password) = match credentials {
        None => (None, None),
        Some(folder) => {
            let part = |name| {
                text_of("registry.credentials", &folder.join(name))
                    .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            };
            (Some(part("username")?), Some(Secret(part("password")?)))
        }
    };
    Ok(RegistrySettings {
        engine_address: engine_address.unwrap_or_else(|| address.clone()),
        pull_address: pull_address.unwrap_or_else(|| address.clone()),
        push: RegistryAccess {
            address,
            username,
            password,
            ca_pem: ca,
            insecure,
        },
        prefix,
        pull_secret,
    })
}

fn engine_settings(engine: Engine) -> EngineSettings {
    let is_remote = engine.is_remote();
    EngineSettings {
        address: engine.address,
        certificates: engine.certificates.filter(|_| is_remote),
    }
}

#[cfg(test)]
mod tests {
    use super::{bundle, read};
    use slipway_core::settings::ServiceType;
    use slipway_crds::v1alpha1::Duration;
    use slipway_k8s::classify::chain;
    use std::fs;

    /// Settings with `more` after the least that is needed, in a folder with the files that they name.
    fn told(more: &str) -> Result<super::Told, String> {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("username"), "pusher\n").unwrap();
        fs::write(at("password"), "pa ss\n").unwrap();
        let text = format!(
            "imageForNodes: r/slipway@sha256:1\nimageForEngine: e/slipway@sha256:1\n{more}"
        )
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
}
