//! The settings file → [`Settings`]. Every error names its field.
//!
//! Secrets are in files of their own, whose names the settings have, so that the settings file may be a ConfigMap.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Deserialize;
use slipway_crds::v1alpha1::{Duration, LEAST_BUILD_MEMORY, Quantity};

use slipway_base::{
    outside::{Outside, policy::Policy},
    zone::input::{GitLimits, RegistryAccess, Secret},
};
use slipway_core::settings::{
    AppSettings, BuildSettings, Ceilings, Egress, EngineSettings, RegistrySettings, ServiceType,
    Settings,
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
    /// The settings file cannot be parsed.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<serde_yaml::Error>,
    },
    /// A value cannot be used.
    #[error("{field}: {problem}")]
    Value {
        /// Which setting.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
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
    let text = text_of("--settings", path)?;
    let file: File = serde_yaml::from_str(&text).map_err(|source| SettingsError::Parse {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    file.told(namespace)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    image_for_nodes: String,
    image_for_engine: String,
    #[serde(default)]
    watch_namespaces: Vec<String>,
    registry: RegistryFile,
    engine: EngineFile,
    #[serde(default)]
    builds: BuildsFile,
    #[serde(default)]
    apps: AppsFile,
    #[serde(default)]
    outside: OutsideFile,
    /// Name of the Secret with the hash key.
    hash_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RegistryFile {
    address: String,
    engine_address: Option<String>,
    pull_address: Option<String>,
    #[serde(default = "slipway")]
    prefix: String,
    #[serde(default)]
    insecure: bool,
    /// Folder with `username` and `password`.
    credentials: Option<PathBuf>,
    ca: Option<String>,
    pull_secret: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EngineFile {
    address: String,
    certificates: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct BuildsFile {
    default_stack: String,
    concurrency: usize,
    /// 0 means one less than `concurrency` while other namespaces have Builds.
    per_namespace: usize,
    timeout: String,
    max_timeout: String,
    cpus: Option<Number>,
    max_cpus: Option<Number>,
    memory: Option<String>,
    max_memory: Option<String>,
    pids: i64,
    log_bytes: u64,
    ca: Option<String>,
    egress: EgressFile,
    env: BTreeMap<String, String>,
    git: GitFile,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EgressFile {
    #[default]
    Proxy,
    Open,
}

/// `2` or `"2"` or `500m`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Float(f64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct GitFile {
    protocols: Vec<String>,
    max_bytes: u64,
    max_files: u64,
    timeout_seconds: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct AppsFile {
    service_type: ServiceTypeFile,
    node_address: Option<String>,
    cluster_domain: String,
    interval: String,
    drain_seconds: i64,
    max_history: usize,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct OutsideFile {
    allow: Vec<String>,
    cluster: Vec<String>,
}

#[derive(Clone, Copy, Deserialize)]
enum ServiceTypeFile {
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    NodePort,
    LoadBalancer,
}

fn slipway() -> String {
    "slipway".to_owned()
}

impl Default for BuildsFile {
    fn default() -> Self {
        Self {
            default_stack: "default".to_owned(),
            concurrency: 2,
            per_namespace: 0,
            timeout: "30m".to_owned(),
            max_timeout: "24h".to_owned(),
            cpus: None,
            max_cpus: None,
            memory: None,
            max_memory: None,
            pids: 4096,
            log_bytes: 16 * 1024 * 1024,
            ca: None,
            egress: EgressFile::default(),
            env: BTreeMap::new(),
            git: GitFile::default(),
        }
    }
}

impl Default for GitFile {
    fn default() -> Self {
        Self {
            protocols: ["https", "http", "git"].map(str::to_owned).to_vec(),
            max_bytes: 1024 * 1024 * 1024,
            max_files: 200_000,
            timeout_seconds: 300,
        }
    }
}

impl Default for AppsFile {
    fn default() -> Self {
        Self {
            service_type: ServiceTypeFile::ClusterIp,
            node_address: None,
            cluster_domain: "cluster.local".to_owned(),
            interval: "1m".to_owned(),
            drain_seconds: 5,
            max_history: 100,
        }
    }
}

fn duration(field: &'static str, text: &str) -> Result<std::time::Duration, SettingsError> {
    Duration::from_str(text)
        .map(Duration::get)
        .map_err(|error| wrong(field, error.to_string()))
}

fn wrong(field: &'static str, problem: impl Into<String>) -> SettingsError {
    SettingsError::Value {
        field,
        problem: problem.into(),
    }
}

fn text_of(field: &'static str, path: &Path) -> Result<String, SettingsError> {
    fs::read_to_string(path).map_err(|source| SettingsError::Read {
        field,
        path: path.to_owned(),
        source,
    })
}

impl File {
    fn told(self, namespace: &str) -> Result<Told, SettingsError> {
        let Self {
            image_for_nodes,
            image_for_engine,
            watch_namespaces,
            registry,
            engine,
            builds,
            apps,
            outside,
            hash_key,
        } = self;
        Ok(Told {
            settings: Settings {
                namespace: namespace.to_owned(),
                watch_namespaces,
                image_for_nodes,
                image_for_engine,
                registry: registry.settings()?,
                engine: engine.settings()?,
                builds: builds.settings()?,
                apps: apps.settings()?,
                outside: outside.settings()?,
            },
            hash_key,
        })
    }
}

/// The system's certificates, then `own`; only `own` if the system has none.
fn bundle(system: &Path, own: &str) -> Result<String, SettingsError> {
    match fs::read_to_string(system) {
        Ok(system) => Ok(format!("{}\n{own}", system.trim_end())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(own.to_owned()),
        Err(error) => Err(wrong(
            "builds.ca",
            format!(
                "cannot read {}, the certificates that it is added to: {error}",
                system.display()
            ),
        )),
    }
}

impl RegistryFile {
    fn settings(self) -> Result<RegistrySettings, SettingsError> {
        let Self {
            address,
            engine_address,
            pull_address,
            prefix,
            insecure,
            credentials,
            ca,
            pull_secret,
        } = self;
        for (field, address) in [
            ("registry.address", Some(&address)),
            ("registry.engineAddress", engine_address.as_ref()),
            ("registry.pullAddress", pull_address.as_ref()),
        ] {
            if address.is_some_and(|address| address.is_empty() || address.contains('/')) {
                return Err(wrong(
                    field,
                    "not host:port (without https:// and without a path)",
                ));
            }
        }
        if prefix.is_empty() || prefix.starts_with('/') || prefix.ends_with('/') {
            return Err(wrong(
                "registry.prefix",
                "not the first part of a repository's name, such as slipway",
            ));
        }
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
}

impl EngineFile {
    fn settings(self) -> Result<EngineSettings, SettingsError> {
        let Self {
            address,
            certificates,
        } = self;
        let remote = address.starts_with("tcp://");
        if !remote && !address.starts_with("unix:///") {
            return Err(wrong(
                "engine.address",
                "not tcp://host:port or unix:///path",
            ));
        }
        if remote && certificates.is_none() {
            return Err(wrong(
                "engine.certificates",
                "an engine behind tcp:// needs client certificates: name the folder with ca.pem, cert.pem and key.pem",
            ));
        }
        Ok(EngineSettings {
            address,
            certificates: certificates.filter(|_| remote),
        })
    }
}

impl BuildsFile {
    fn settings(self) -> Result<BuildSettings, SettingsError> {
        let Self {
            default_stack,
            concurrency,
            per_namespace,
            timeout,
            max_timeout,
            cpus,
            max_cpus,
            memory,
            max_memory,
            pids,
            log_bytes,
            ca,
            egress,
            env,
            git,
        } = self;
        if concurrency == 0 {
            return Err(wrong(
                "builds.concurrency",
                "at least one build has to run at once",
            ));
        }
        if pids < 1 {
            return Err(wrong(
                "builds.pids",
                "has to be at least 1: engines take a smaller number for no limit",
            ));
        }
        let cpus = cpus.map(|cpus| quantity("builds.cpus", cpus.text()));
        let memory = memory.map(|memory| bytes("builds.memory", memory));
        let most_cpus = max_cpus.map(|cpus| quantity("builds.maxCpus", cpus.text()));
        let most_memory = max_memory.map(|memory| bytes("builds.maxMemory", memory));
        let (cpus, memory) = (cpus.transpose()?, memory.transpose()?);
        let timeout = duration("builds.timeout", &timeout)?;
        let ceilings = Ceilings {
            timeout: duration("builds.maxTimeout", &max_timeout)?.max(timeout),
            cpus: at_least(most_cpus.transpose()?, cpus.as_ref()),
            memory: at_least(most_memory.transpose()?, memory.as_ref()),
        };
        Ok(BuildSettings {
            default_stack,
            concurrency,
            per_namespace: Some(per_namespace).filter(|most| *most > 0),
            timeout,
            cpus: cpus.and_then(|cpus| cpus.amount()),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "whole bytes, and it saturates"
            )]
            memory_bytes: memory.and_then(|memory| Some(memory.amount()? as i64)),
            ceilings,
            pids,
            log_bytes,
            ca_pem: ca
                .map(|own| bundle(Path::new(SYSTEM_CERTIFICATES), &own))
                .transpose()?,
            egress: match egress {
                EgressFile::Proxy => Egress::Proxy,
                EgressFile::Open => Egress::Open,
            },
            env,
            git: GitLimits {
                protocols: git.protocols,
                max_bytes: git.max_bytes,
                max_files: git.max_files,
                timeout_seconds: git.timeout_seconds,
            },
        })
    }
}

impl Number {
    fn text(self) -> String {
        match self {
            Self::Float(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// A quantity greater than zero.
fn quantity(field: &'static str, text: String) -> Result<Quantity, SettingsError> {
    let quantity = Quantity(text);
    if quantity.nanos().is_some_and(|nanos| nanos > 0) {
        return Ok(quantity);
    }
    let text = quantity.0;
    Err(wrong(
        field,
        format!("{text:?} is not a quantity such as 500m, 2 or 512Mi"),
    ))
}

/// An amount of memory that an engine accepts for a build.
fn bytes(field: &'static str, text: String) -> Result<Quantity, SettingsError> {
    let quantity = quantity(field, text)?;
    let least = i128::from(LEAST_BUILD_MEMORY) * 1_000_000_000;
    if quantity.nanos().is_some_and(|nanos| nanos >= least) {
        return Ok(quantity);
    }
    let text = quantity.0;
    Err(wrong(
        field,
        format!("{text:?} is less than the {LEAST_BUILD_MEMORY} bytes that an engine requires"),
    ))
}

/// The ceiling, but at least what builds get by default.
fn at_least(ceiling: Option<Quantity>, given: Option<&Quantity>) -> Option<Quantity> {
    let ceiling = ceiling?;
    match given {
        Some(given) if given.nanos() > ceiling.nanos() => Some(given.clone()),
        _ => Some(ceiling),
    }
}

impl OutsideFile {
    fn settings(self) -> Result<Outside, SettingsError> {
        let Self { allow, cluster } = self;
        Ok(Outside::new(Policy {
            allow: listed("outside.allow", &allow)?,
            cluster: listed("outside.cluster", &cluster)?,
            ..Policy::default()
        }))
    }
}

fn listed<T>(field: &'static str, texts: &[String]) -> Result<Vec<T>, SettingsError>
where
    T: FromStr<Err: ToString>,
{
    let parsed = texts.iter().map(|text| text.parse());
    parsed
        .collect::<Result<_, T::Err>>()
        .map_err(|error| wrong(field, error.to_string()))
}

impl AppsFile {
    fn settings(self) -> Result<AppSettings, SettingsError> {
        let Self {
            service_type,
            node_address,
            cluster_domain,
            interval,
            drain_seconds,
            max_history,
        } = self;
        Ok(AppSettings {
            service_type: match service_type {
                ServiceTypeFile::ClusterIp => ServiceType::ClusterIp,
                ServiceTypeFile::NodePort => ServiceType::NodePort,
                ServiceTypeFile::LoadBalancer => ServiceType::LoadBalancer,
            },
            node_address,
            cluster_domain,
            interval: duration("apps.interval", &interval)?,
            drain_seconds,
            max_history: max_history.max(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{bundle, read};
    use slipway_core::settings::{Ceilings, ServiceType};
    use slipway_k8s::classify::chain;
    use std::{fs, time::Duration};

    /// Reads settings with `more` after the images, in a folder with the files that they name.
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
        assert_eq!(settings.builds.timeout, Duration::from_mins(30));
        assert_eq!(settings.builds.per_namespace, None);
        assert_eq!(settings.builds.ceilings, Ceilings::default());
        assert_eq!(settings.apps.service_type, ServiceType::ClusterIp);
        assert_eq!(settings.registry.push.username, None);
        assert_eq!(settings.builds.ca_pem, None);
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
        assert_eq!(settings.builds.memory_bytes, Some(2 << 30));
        assert_eq!(settings.builds.cpus, Some(1.5));
        assert_eq!(settings.builds.per_namespace, Some(1));
        let ceilings = settings.builds.ceilings;
        assert_eq!(ceilings.timeout, Duration::from_hours(2));
        assert_eq!(ceilings.cpus.unwrap().0, "4");
        // A ceiling does not lower what builds get by default.
        assert_eq!(ceilings.memory.unwrap().0, "2Gi");
        assert_eq!(settings.apps.max_history, 20);
        assert_eq!(settings.builds.git.timeout_seconds, 3);
        assert!(settings.builds.ca_pem.unwrap().ends_with('C'));
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
