//! App → [`ValidApp`]: what its author wants, with every default filled in and nothing that the operator cannot carry
//! out. Pure. Later stages read the `ValidApp` and never `App.spec`.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use slipway_crds::{
    labels, names,
    v1alpha1::{
        AccessMode, App, AppSpec, BuildEnvVar, Checks, Deadlines, Duration as Written, EnvFrom,
        EnvVar, GitSource, ImageSource, LEAST_BUILD_MEMORY, LocalRef, PodSecurity, Process,
        Quantity, ReleaseVolume, Resources, Storage,
    },
};

use crate::domain::{env, formation::is_process_name, image::ImageRef, repository::Repositories};
use slipway_base::reference::{RULE, is_reference};

/// The operator's defaults for Apps, and the limits of what Apps may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Stack of builds.
    pub stack: String,
    /// Time limit of builds.
    pub timeout: Duration,
    /// How often a branch is looked up.
    pub interval: Duration,
    /// Protocols that git may speak.
    pub protocols: Vec<String>,
    /// The repositories of our own registry.
    pub repositories: Repositories,
    /// The most that an App gets.
    pub ceilings: Ceilings,
}

/// The most that an App gets, whatever it asks for. `None` is no maximum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// Time of a build.
    pub timeout: Option<Written>,
    /// CPUs of a build.
    pub cpus: Option<Quantity>,
    /// Memory of a build.
    pub memory: Option<Quantity>,
    /// Number of ended Builds and of superseded Releases that are kept.
    pub history: Option<usize>,
}

impl Ceilings {
    /// Which of the App's settings they lower, in words.
    fn cut(&self, spec: &AppSpec) -> Vec<String> {
        let build = spec.build.as_ref();
        let asked = build.and_then(|build| build.timeout);
        let timeout = match (asked, self.timeout) {
            (Some(asked), Some(most)) if asked > most => Some(format!(
                "spec.build.timeout is {asked}, and no build may take longer than {most} here"
            )),
            _ => None,
        };
        let limits = build.and_then(|build| build.resources.as_ref()?.limits.as_ref());
        let limit = |what, asked: Option<&Quantity>, most: Option<&Quantity>| {
            let (asked, most) = (asked?, most?);
            (asked.nanos()? > most.nanos()?).then(|| {
                format!(
                    "spec.build.resources.limits.{what} is {}, and no build gets more than {} here",
                    asked.0, most.0
                )
            })
        };
        let cpus = limit(
            "cpu",
            limits.and_then(|l| l.cpu.as_ref()),
            self.cpus.as_ref(),
        );
        let memory = limits.and_then(|l| l.memory.as_ref());
        let memory = limit("memory", memory, self.memory.as_ref());
        let asked = spec.history_limit.and_then(|n| usize::try_from(n).ok());
        let history = match (asked, self.history) {
            (Some(asked), Some(most)) if asked > most => Some(format!(
                "spec.historyLimit is {asked}, and no more than {most} are kept here"
            )),
            _ => None,
        };
        [timeout, cpus, memory, history]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Default time limit of a Release's roll-out.
pub const DEPLOY: Written = Written::from_secs(300);
/// Default time in which a process has to end after SIGTERM.
pub const STOP: Written = Written::from_secs(30);
/// Default number of Builds and Releases to keep.
const HISTORY: usize = 10;
/// Folders at and below which no volume may be mounted, and what they contain.
const RESERVED_MOUNTS: [(&str, &str); 5] = [
    ("/slipway", "the platform's programs"),
    ("/slipway-programs", "the platform's programs"),
    ("/proc", "what the kernel shows"),
    ("/sys", "what the kernel shows"),
    ("/dev", "the devices"),
];
/// Folders at which no volume may be mounted. Below them it may: images have folders for data there.
const SYSTEM_MOUNTS: [(&str, &str); 16] = [
    ("/bin", "the system's programs"),
    ("/boot", "the system"),
    (
        "/etc",
        "the system's settings, with those for names and certificates",
    ),
    ("/lib", "the system's libraries"),
    ("/lib32", "the system's libraries"),
    ("/lib64", "the system's libraries"),
    ("/libx32", "the system's libraries"),
    ("/sbin", "the system's programs"),
    ("/usr", "the system's programs"),
    ("/usr/bin", "the system's programs"),
    ("/usr/lib", "the system's libraries"),
    ("/usr/lib64", "the system's libraries"),
    ("/usr/local", "programs of the image"),
    ("/usr/local/bin", "programs of the image"),
    ("/usr/local/lib", "libraries of the image"),
    ("/usr/sbin", "the system's programs"),
];
/// Folders, in images that Slipway built, at and below which no volume may be mounted.
const PACKS_MOUNTS: [(&str, &str); 2] = [
    ("/app/.heroku", "what the buildpacks have installed"),
    ("/app/.profile.d", "the scripts with which a process starts"),
];

/// What an App's author wants.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidApp {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// UID.
    pub uid: String,
    /// Source.
    pub source: ValidSource,
    /// What goes into its builds.
    pub build: BuildInputs,
    /// Variables, in the order of the spec.
    pub env: Vec<EnvVar>,
    /// Secrets and ConfigMaps whose keys all become variables (`envFrom`), in the order of the spec.
    pub env_from: Vec<EnvFrom>,
    /// Processes that the spec names.
    pub processes: BTreeMap<String, Process>,
    /// Checks by process.
    pub checks: BTreeMap<String, Checks>,
    /// Volumes.
    pub volumes: Vec<ReleaseVolume>,
    /// Port, if the spec sets one.
    pub port: Option<i32>,
    /// Deadlines.
    pub deadlines: Deadlines,
    /// Pod Security Standard.
    pub pod_security: PodSecurity,
    /// How many ended Builds and how many Releases are kept.
    pub history_limit: usize,
    /// Which of its settings the administrator's maximums lower, in words.
    pub cut: Vec<String>,
    /// Whether the author suspended the App: the operator then changes nothing.
    pub suspend: bool,
    /// Value of the annotation that asks for a look-up.
    pub reconcile_requested: Option<String>,
    /// Value of the annotation that asks for a build.
    pub rebuild_requested: Option<String>,
    /// Value of the annotation that asks for a Release with the operator's present rules and settings.
    pub rerender_requested: Option<String>,
}

/// The source of an App.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidSource {
    /// A git repository.
    Git(ValidGit),
    /// An image.
    Image(ValidImage),
}

impl ValidSource {
    /// Name of the Secret with the credentials for looking it up.
    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::Git(git) => git.secret.as_deref(),
            Self::Image(image) => image.pull_secret.as_deref(),
        }
    }
}

/// A git repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidGit {
    /// Address.
    pub url: String,
    /// The branch, tag or commit.
    pub target: GitTarget,
    /// Directory within it.
    pub sub_path: Option<String>,
    /// Secret with credentials.
    pub secret: Option<String>,
    /// How often the operator looks the branch or tag up.
    pub interval: Duration,
}

/// The branch, tag or commit of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GitTarget {
    /// Its default branch.
    Default,
    /// A branch or tag.
    Named(String),
    /// A commit, which is never looked up.
    Commit(String),
}

impl GitTarget {
    /// The value for `ref` of a Revision.
    pub fn named(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::Default | Self::Commit(_) => None,
        }
    }
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidImage {
    /// As the author wrote it.
    pub written: String,
    /// The parsed reference.
    pub reference: ImageRef,
    /// Secret with the credentials for looking it up and pulling it.
    pub pull_secret: Option<String>,
}

/// What goes into builds, apart from source and Stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildInputs {
    /// Name of the Stack.
    pub stack: String,
    /// Buildpacks that the spec names.
    pub buildpacks: Vec<String>,
    /// `build.env`: a change makes a new Build.
    pub own_env: Vec<BuildEnvVar>,
    /// All variables of ENV_DIR: those of `spec.env` that builds see, and `build.env`, which wins.
    pub env: Vec<BuildEnvVar>,
    /// Time limit.
    pub timeout: Duration,
    /// Time limit if the spec sets one. A change of it makes a new Build; a change of the operator's default does not.
    pub own_timeout: Option<Written>,
    /// Resources of a build, if the spec sets them.
    pub resources: Option<Resources>,
}

/// A field that the operator cannot carry out as written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// The field, for example `spec.source.git.url`.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// All fields that the operator cannot carry out as written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Invalid(pub Vec<FieldError>);

/// Collects errors by field.
#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError {
            field: field.into(),
            message: message.into(),
        });
    }
}

impl ValidApp {
    /// Checks what the API server's CEL rules cannot, and fills in every default.
    pub fn new(app: &App, defaults: &Defaults) -> Result<Self, Invalid> {
        let mut errors = Errors::default();
        let spec = &app.spec;
        let name = app.metadata.name.clone().unwrap_or_default();
        let namespace = app.metadata.namespace.clone().unwrap_or_default();
        if name.len() > names::APP_MAX {
            errors.add("metadata.name", "has more than 40 characters");
        }
        let source = source(app, defaults, &namespace, &mut errors);
        let build = build_inputs(app, defaults, &mut errors);
        for variable in &spec.env {
            literal(
                "spec.env",
                &variable.name,
                variable.value.as_deref(),
                &mut errors,
            );
        }
        for (process, asked) in &spec.processes {
            let field = format!("spec.processes.{process}");
            if !is_process_name(process) {
                errors.add(&field, "is no process name");
            }
            if asked.command.as_ref().is_some_and(|c| c.contains('\0')) {
                errors.add(format!("{field}.command"), "has a NUL byte in it");
            }
            resources(&field, asked.resources.as_ref(), &mut errors);
        }
        let volumes = spec
            .storage
            .iter()
            .filter_map(|storage| volume(&name, storage, spec.source.git.is_some(), &mut errors))
            .collect();
        let deadlines = spec.deadlines.clone().unwrap_or_default();
        let annotation = |key: &str| {
            app.metadata
                .annotations
                .as_ref()
                .and_then(|a| a.get(key))
                .filter(|value| !value.is_empty())
                .map(|value| value.chars().take(256).collect::<String>())
        };
        let valid = source.map(|source| Self {
            uid: app.metadata.uid.clone().unwrap_or_default(),
            source,
            build,
            env: spec.env.clone(),
            env_from: spec.env_from.clone(),
            processes: spec.processes.clone(),
            checks: spec.checks.clone(),
            volumes,
            port: spec.port,
            deadlines: Deadlines {
                deploy: Some(deadlines.deploy.unwrap_or(DEPLOY)),
                stop: Some(deadlines.stop.unwrap_or(STOP)),
            },
            pod_security: spec.pod_security.unwrap_or_default(),
            history_limit: spec
                .history_limit
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(HISTORY)
                .min(defaults.ceilings.history.unwrap_or(usize::MAX)),
            cut: defaults.ceilings.cut(spec),
            suspend: spec.suspend,
            reconcile_requested: annotation(labels::RECONCILE_REQUESTED_AT),
            rebuild_requested: annotation(labels::REBUILD_REQUESTED_AT),
            rerender_requested: annotation(labels::RERENDER_REQUESTED_AT),
            name,
            namespace,
        });
        match valid {
            Some(valid) if errors.0.is_empty() => Ok(valid),
            _ => Err(Invalid(errors.0)),
        }
    }
}

fn source(
    app: &App,
    defaults: &Defaults,
    namespace: &str,
    errors: &mut Errors,
) -> Option<ValidSource> {
    match (&app.spec.source.git, &app.spec.source.image) {
        (Some(git), None) => git_source(git, defaults, errors).map(ValidSource::Git),
        (None, Some(image)) => {
            image_source(image, defaults, namespace, errors).map(ValidSource::Image)
        }
        _ => {
            errors.add("spec.source", "is one of git and image");
            None
        }
    }
}

fn git_source(git: &GitSource, defaults: &Defaults, errors: &mut Errors) -> Option<ValidGit> {
    let field = "spec.source.git.url";
    let Some((protocol, rest)) = git.url.split_once("://") else {
        errors.add(
            field,
            "has to begin with https://, http:// or git://; SSH addresses are not supported",
        );
        return None;
    };
    if !defaults.protocols.iter().any(|p| p == protocol) {
        errors.add(
            field,
            format!(
                "this operator does not allow {protocol}:// addresses, only {}",
                defaults.protocols.join(", ")
            ),
        );
    }
    if rest.split('/').next().unwrap_or_default().contains('@') {
        errors.add(
            field,
            "has a user name or password in it: put those into a Secret and name it in secretRef",
        );
    }
    if git.url.chars().any(|c| c.is_control() || c == ' ') {
        errors.add(field, "has a space or control character in it");
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // The host becomes part of a git setting: `credential.https://HOST.helper=…`.
    let of_host = |c: char| c.is_alphanumeric() || "-._:[]@".contains(c);
    if host.is_empty() || !host.chars().all(of_host) {
        errors.add(field, "has no name or address of a server behind ://");
    }
    if git.secret_ref.is_some() && protocol == "git" {
        errors.add(
            "spec.source.git.secretRef",
            "git:// addresses know no credentials: use https://",
        );
    }
    let target = match git.r#ref.as_deref() {
        None => GitTarget::Default,
        Some(commit)
            if matches!(commit.len(), 40 | 64) && commit.chars().all(|c| c.is_ascii_hexdigit()) =>
        {
            GitTarget::Commit(commit.to_ascii_lowercase())
        }
        Some(name) => {
            if !is_reference(name) {
                let what = format!("is no name of a branch, tag or commit: {RULE}");
                errors.add("spec.source.git.ref", what);
            }
            GitTarget::Named(name.to_owned())
        }
    };
    Some(ValidGit {
        url: git.url.clone(),
        target,
        sub_path: git
            .sub_path
            .as_deref()
            .map(|p| p.trim_end_matches('/').to_owned())
            .filter(|p| !p.is_empty() && p != "."),
        secret: git.secret_ref.as_ref().map(|s| s.name.clone()),
        interval: git.interval.map_or(defaults.interval, Written::get),
    })
}

fn image_source(
    image: &ImageSource,
    defaults: &Defaults,
    namespace: &str,
    errors: &mut Errors,
) -> Option<ValidImage> {
    let field = "spec.source.image.reference";
    let reference = match ImageRef::parse(&image.reference) {
        Ok(reference) => reference,
        Err(error) => {
            errors.add(field, error.to_string());
            return None;
        }
    };
    let ours = &defaults.repositories;
    if ours.is_foreign(&reference.registry, &reference.repository, namespace) {
        let prefix = ours.prefix();
        errors.add(
            field,
            format!(
                "is an image that belongs to another namespace; of this registry's {prefix}/ an App may use what is below {prefix}/{namespace}/"
            ),
        );
    }
    Some(ValidImage {
        written: image.reference.clone(),
        reference,
        pull_secret: image.pull_secret_ref.as_ref().map(|s| s.name.clone()),
    })
}

fn build_inputs(app: &App, defaults: &Defaults, errors: &mut Errors) -> BuildInputs {
    let asked = app.spec.build.clone().unwrap_or_default();
    for variable in &asked.env {
        literal(
            "spec.build.env",
            &variable.name,
            variable.value.as_deref(),
            errors,
        );
    }
    resources("spec.build", asked.resources.as_ref(), errors);
    limits_of_build(asked.resources.as_ref(), errors);
    let mut env: BTreeMap<&str, BuildEnvVar> = BTreeMap::new();
    for variable in &app.spec.env {
        if variable.value.is_some() || variable.build == Some(true) {
            env.insert(
                &variable.name,
                BuildEnvVar {
                    name: variable.name.clone(),
                    value: variable.value.clone(),
                    value_from: variable.value_from.clone(),
                },
            );
        }
    }
    for variable in &asked.env {
        env.insert(&variable.name, variable.clone());
    }
    BuildInputs {
        stack: asked.stack.unwrap_or_else(|| defaults.stack.clone()),
        buildpacks: asked.buildpacks,
        env: env.into_values().collect(),
        own_env: asked.env,
        timeout: asked.timeout.map_or(defaults.timeout, Written::get),
        own_timeout: asked.timeout,
        resources: asked.resources,
    }
}

fn literal(field: &str, name: &str, value: Option<&str>, errors: &mut Errors) {
    let Some(value) = value else { return };
    if value.contains('\0') {
        errors.add(
            format!("{field}.{name}"),
            "has a NUL byte in it, which no environment variable can hold",
        );
    }
    let most = env::value_max(name);
    if value.len() > most {
        errors.add(
            format!("{field}.{name}"),
            format!(
                "has {} bytes; a variable of this name can have at most {most} (put it into a file)",
                value.len()
            ),
        );
    }
}

fn resources(field: &str, asked: Option<&Resources>, errors: &mut Errors) {
    let Some(Resources {
        requests: Some(requests),
        limits: Some(limits),
    }) = asked
    else {
        return;
    };
    for (what, request, limit) in [
        ("cpu", &requests.cpu, &limits.cpu),
        ("memory", &requests.memory, &limits.memory),
    ] {
        if let (Some(request), Some(limit)) = (request, limit)
            && let (Some(requested), Some(limited)) = (request.amount(), limit.amount())
            && requested > limited
        {
            errors.add(
                format!("{field}.resources.requests.{what}"),
                format!("{} is more than the limit, {}", request.0, limit.0),
            );
        }
    }
}

/// Refuses limits that are 0 or too low: a Docker Engine takes 0 for no limit, and refuses one that is almost 0.
fn limits_of_build(asked: Option<&Resources>, errors: &mut Errors) {
    let Some(limits) = asked.and_then(|asked| asked.limits.as_ref()) else {
        return;
    };
    let least_memory = i128::from(LEAST_BUILD_MEMORY) * 1_000_000_000;
    for (what, limit, least) in [
        ("cpu", &limits.cpu, 1),
        ("memory", &limits.memory, least_memory),
    ] {
        let Some(limit) = limit else { continue };
        if limit.nanos().is_none_or(|nanos| nanos >= least) {
            continue;
        }
        let meant = limit.0.strip_suffix('m').filter(|_| what == "memory");
        let advice = meant.map_or_else(
            || "give it more".to_owned(),
            |number| format!("m is a thousandth of a byte, was {number}Mi meant? Give it more"),
        );
        errors.add(
            format!("spec.build.resources.limits.{what}"),
            format!(
                "no build can run with {}: {advice}, or leave it out for what this installation gives to builds",
                limit.0
            ),
        );
    }
}

/// Why no volume may be mounted at this path: which files that a process needs it would hide.
fn hidden(mount_path: &str, built: bool) -> Option<String> {
    let path: PathBuf = Path::new(mount_path)
        .components()
        .filter(|part| !matches!(part, Component::CurDir))
        .collect();
    if path == Path::new("/app") || path.parent().is_none() {
        let what = "would hide the App's own files: use a directory below /app, or elsewhere";
        return Some(what.to_owned());
    }
    let whole = RESERVED_MOUNTS
        .iter()
        .map(|(folder, of)| (folder, of, true));
    let itself = SYSTEM_MOUNTS.iter().map(|(folder, of)| (folder, of, false));
    let packs = PACKS_MOUNTS.iter().filter(|_| built);
    let packs = packs.map(|(folder, of)| (folder, of, true));
    whole
        .chain(itself)
        .chain(packs)
        .find(|(folder, _, below)| {
            path == Path::new(folder) || (*below && path.starts_with(folder))
        })
        .map(|(folder, of, _)| {
            format!(
                "{folder} is not a place for data: a volume there would hide {of}; use a directory such as /app/data or /data"
            )
        })
}

fn volume(app: &str, storage: &Storage, built: bool, errors: &mut Errors) -> Option<ReleaseVolume> {
    let field = format!("spec.storage.{}", storage.name);
    let mount_path = storage.mount_path.trim_end_matches('/').to_owned();
    if let Some(why) = hidden(&mount_path, built) {
        errors.add(format!("{field}.mountPath"), why);
    }
    let (claim, single_node) = match (&storage.claim, &storage.claim_template) {
        // The spec does not say how nodes may mount an existing claim, so only one node at a time is assumed.
        (Some(LocalRef { name }), None) => (name.clone(), true),
        (None, Some(template)) => {
            let mode = template.access_mode.unwrap_or_default();
            if mode == AccessMode::ReadOnlyMany && storage.read_only != Some(true) {
                errors.add(
                    format!("{field}.claimTemplate.accessMode"),
                    "ReadOnlyMany goes with readOnly: true",
                );
            }
            let single = matches!(
                mode,
                AccessMode::ReadWriteOnce | AccessMode::ReadWriteOncePod
            );
            (names::claim(app, &storage.name), single)
        }
        _ => {
            errors.add(&field, "has one of claim and claimTemplate");
            return None;
        }
    };
    Some(ReleaseVolume {
        name: storage.name.clone(),
        claim,
        mount_path,
        sub_path: storage.sub_path.clone(),
        read_only: storage.read_only.unwrap_or_default(),
        single_node,
        processes: storage.processes.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Ceilings, Defaults, GitTarget, Repositories, ValidApp, ValidSource};
    use serde_json::{Value, json};
    use slipway_crds::v1alpha1::{App, Quantity};
    use std::time::Duration;

    fn defaults() -> Defaults {
        Defaults {
            stack: "standard".into(),
            timeout: Duration::from_mins(30),
            interval: Duration::from_mins(1),
            protocols: vec!["https".into(), "http".into()],
            repositories: Repositories::new("slipway", ["registry.local:5000"]),
            ceilings: Ceilings::default(),
        }
    }

    #[test]
    fn ceilings_cut_and_say_so() {
        let quantity = |text: &str| Some(Quantity(text.into()));
        let defaults = Defaults {
            ceilings: Ceilings {
                timeout: Some("2h".parse().unwrap()),
                cpus: quantity("8"),
                memory: quantity("16Gi"),
                history: Some(50),
            },
            ..defaults()
        };
        let valid = |extra| ValidApp::new(&app(&git(extra)), &defaults).unwrap();
        let modest = valid(json!({"historyLimit": 50, "build": {
            "timeout": "2h", "resources": {"limits": {"cpu": "8000m", "memory": "16Gi"}}}}));
        assert_eq!((modest.cut.len(), modest.history_limit), (0, 50));
        let greedy = valid(json!({"historyLimit": 100, "build": {
            "timeout": "24h", "resources": {"limits": {"cpu": "64", "memory": "1Ti"}}}}));
        assert_eq!(greedy.history_limit, 50);
        assert_eq!(
            greedy.cut,
            [
                "spec.build.timeout is 24h, and no build may take longer than 2h here",
                "spec.build.resources.limits.cpu is 64, and no build gets more than 8 here",
                "spec.build.resources.limits.memory is 1Ti, and no build gets more than 16Gi here",
                "spec.historyLimit is 100, and no more than 50 are kept here",
            ]
        );
        // A Build's name is a hash of what the spec says, so an administrator's maximum makes no new Build.
        assert_eq!(greedy.build.own_timeout, Some("24h".parse().unwrap()));
    }

    #[test]
    fn a_build_with_nothing_is_refused() {
        let judged = |what: &str, limit: &str| {
            let spec = git(json!({"build": {"resources": {"limits": {what: limit}}}}));
            ValidApp::new(&app(&spec), &defaults()).map_err(|invalid| invalid.to_string())
        };
        for (what, nothing, said) in [
            ("cpu", "0", "no build can run with 0:"),
            ("cpu", "0m", "no build can run with 0m:"),
            ("memory", "0", "no build can run with 0:"),
            ("memory", "0Gi", "no build can run with 0Gi:"),
            ("memory", "0.4", "no build can run with 0.4:"),
            ("memory", "5Mi", "no build can run with 5Mi:"),
            // Thousandths of a byte.
            (
                "memory",
                "512m",
                "no build can run with 512m: m is a thousandth of a byte, was 512Mi meant?",
            ),
        ] {
            let said = format!("spec.build.resources.limits.{what}: {said}");
            let invalid = judged(what, nothing).unwrap_err();
            assert!(invalid.contains(&said), "{invalid}");
        }
        for (what, enough) in [("cpu", "1n"), ("memory", "6Mi"), ("memory", "6291456")] {
            judged(what, enough).unwrap();
        }
    }

    fn app(spec: &Value) -> App {
        serde_json::from_value(json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App",
            "metadata": {"name": "hello", "namespace": "team", "uid": "u-1"},
            "spec": spec,
        }))
        .unwrap()
    }

    fn git(extra: Value) -> Value {
        let mut spec = json!({"source": {"git": {"url": "https://example.com/hello.git"}}});
        if let (Some(spec), Value::Object(extra)) = (spec.as_object_mut(), extra) {
            spec.extend(extra);
        }
        spec
    }

    #[test]
    fn a_small_app_has_every_default() {
        let valid = ValidApp::new(&app(&git(json!({}))), &defaults()).unwrap();
        let ValidSource::Git(source) = valid.source else {
            panic!("a git source")
        };
        assert_eq!(source.target, GitTarget::Default);
        assert_eq!(source.interval, Duration::from_mins(1));
        assert_eq!(
            (valid.build.stack.as_str(), valid.build.timeout),
            ("standard", Duration::from_mins(30))
        );
        assert_eq!(valid.deadlines.deploy.unwrap().as_secs(), 300);
        assert_eq!(valid.deadlines.stop.unwrap().as_secs(), 30);
        assert_eq!((valid.history_limit, valid.suspend), (10, false));
    }

    #[test]
    fn refs_are_told_apart() {
        for (name, wanted) in [
            ("main", GitTarget::Named("main".into())),
            ("abc1234", GitTarget::Named("abc1234".into())),
            (&"AB".repeat(20), GitTarget::Commit("ab".repeat(20))),
        ] {
            let spec =
                json!({"source": {"git": {"url": "https://example.com/x.git", "ref": name}}});
            let valid = ValidApp::new(&app(&spec), &defaults()).unwrap();
            let ValidSource::Git(source) = valid.source else {
                panic!("a git source")
            };
            assert_eq!(source.target, wanted);
        }
    }

    #[test]
    fn builds_see_literals_marked_references_and_their_own_which_win() {
        let spec = git(json!({
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "2"},
                {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "D", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}, "build": true},
            ],
            "build": {"env": [{"name": "B", "value": "3"}]},
        }));
        let build = ValidApp::new(&app(&spec), &defaults()).unwrap().build;
        let seen: Vec<_> = build
            .env
            .iter()
            .map(|v| (v.name.as_str(), v.value.as_deref()))
            .collect();
        assert_eq!(seen, [("A", Some("1")), ("B", Some("3")), ("D", None)]);
        assert_eq!(build.own_env.len(), 1);
    }

    #[test]
    fn images_of_other_namespaces_are_refused() {
        for (reference, passes) in [
            ("registry.local:5000/slipway/team/hello:1", true),
            ("registry.local:5000/slipway/other/hello:1", false),
            ("registry.local:5000/slipway/team", false),
            (
                "registry.local:5000/slipway/slipway.dev/stacks/standard/run:1",
                false,
            ),
            ("registry.local:5000/elsewhere/x:1", true),
            ("ghcr.io/slipway/other/x:1", true),
        ] {
            let spec = json!({"source": {"image": {"reference": reference}}});
            let result = ValidApp::new(&app(&spec), &defaults());
            assert_eq!(result.is_ok(), passes, "{reference}: {result:?}");
            if let Err(error) = result {
                assert!(error.to_string().contains("below slipway/team/"), "{error}");
            }
        }
    }

    #[test]
    fn what_cannot_be_carried_out_is_said_all_at_once() {
        for (spec, wanted) in [
            (
                json!({"source": {"git": {"url": "git@example.com:x.git"}}}),
                vec!["SSH"],
            ),
            (
                json!({"source": {"git": {"url": "git://example.com/x.git"}}}),
                vec!["does not allow git://", "https, http"],
            ),
            (
                json!({"source": {"git": {"url": "https://me:hunter2@example.com/x.git"}}}),
                vec!["secretRef"],
            ),
            (
                git(json!({"env": [{"name": "A", "value": "x\0y"}]})),
                vec!["spec.env.A: has a NUL byte"],
            ),
            (
                git(json!({"env": [{"name": "A", "value": "x".repeat(131_070)}]})),
                vec!["spec.env.A: has 131070 bytes", "at most 131069"],
            ),
            (
                git(json!({
                    "processes": {"web": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "500m"}}}},
                    "storage": [{"name": "d", "mountPath": "/slipway/x", "claim": {"name": "c"}}],
                })),
                vec![
                    "spec.processes.web.resources.requests.cpu: 2 is more than the limit, 500m",
                    "/slipway is not a place",
                ],
            ),
            (
                git(
                    json!({"storage": [{"name": "d", "mountPath": "/app/", "claim": {"name": "c"}}]}),
                ),
                vec!["hide the App's own files"],
            ),
        ] {
            let message = ValidApp::new(&app(&spec), &defaults())
                .unwrap_err()
                .to_string();
            for wanted in wanted {
                assert!(message.contains(wanted), "{spec}: {message}");
            }
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_volume_hides_nothing_that_a_process_needs() {
        for (path, of_built, of_image) in [
            ("/app/.heroku", true, false),
            ("/app/.heroku/python", true, false),
            ("/app/.profile.d/", true, false),
            ("/app/./.heroku", true, false),
            ("/app//.heroku", true, false),
            ("/app/.heroku-data", false, false),
            ("/app/data", false, false),
            ("/etc", true, true),
            ("/etc/nginx/conf.d", false, false),
            ("//usr/", true, true),
            ("/usr/share/nginx/html", false, false),
            ("/usr/local/bin", true, true),
            ("/lib64", true, true),
            ("/bin", true, true),
            ("/proc", true, true),
            ("/proc/x", true, true),
            ("/dev/shm", true, true),
            ("/slipway/bin", true, true),
            ("/app", true, true),
            ("/app/.", true, true),
            ("/var/lib/postgresql", false, false),
            ("/data", false, false),
            ("/tmp", false, false),
        ] {
            let image = json!({"image": {"reference": "ghcr.io/x/y:1"}});
            let git = json!({"git": {"url": "https://example.com/x.git"}});
            for (source, refused) in [(git, of_built), (image, of_image)] {
                let storage = json!([{"name": "d", "mountPath": path, "claim": {"name": "c"}}]);
                let spec = json!({"source": source, "storage": storage});
                let result = ValidApp::new(&app(&spec), &defaults());
                assert_eq!(result.is_err(), refused, "{path}: {result:?}");
                if let Err(error) = result {
                    let error = error.to_string();
                    assert!(error.contains("would hide"), "{error}");
                }
            }
        }
    }

    #[test]
    fn references_and_hosts_are_what_git_takes() {
        for (url, name, wanted) in [
            ("https://example.com/x.git", "bugfix/#31-löschen", None),
            ("https://[::1]:8443/x.git", "main", None),
            ("https://exämple.com/x.git", "main", None),
            (
                "https://example.com/x.git",
                "a..b",
                Some("spec.source.git.ref: is no name of a branch"),
            ),
            (
                "https://a=b/x.git",
                "main",
                Some("spec.source.git.url: has no name or address of a server"),
            ),
            (
                "https:///x.git",
                "main",
                Some("spec.source.git.url: has no name"),
            ),
            (
                "https://a\"b/x.git",
                "main",
                Some("spec.source.git.url: has no name"),
            ),
        ] {
            let spec = json!({"source": {"git": {"url": url, "ref": name}}});
            let error = ValidApp::new(&app(&spec), &defaults())
                .err()
                .map(|e| e.to_string());
            match (wanted, error) {
                (None, None) => {}
                (Some(wanted), Some(error)) => assert!(error.contains(wanted), "{error}"),
                (_, error) => panic!("{url} {name}: {error:?}"),
            }
        }
    }

    #[test]
    fn a_claim_that_one_node_may_mount_is_marked() {
        let spec = git(json!({"storage": [
            {"name": "a", "mountPath": "/a", "claimTemplate": {"size": "1Gi"}},
            {"name": "b", "mountPath": "/b", "claimTemplate": {"size": "1Gi", "accessMode": "ReadWriteMany"}},
            {"name": "c", "mountPath": "/c", "claim": {"name": "mine"}},
        ]}));
        let volumes = ValidApp::new(&app(&spec), &defaults()).unwrap().volumes;
        let seen: Vec<_> = volumes
            .iter()
            .map(|v| (v.claim.as_str(), v.single_node))
            .collect();
        assert_eq!(
            seen,
            [("hello-a", true), ("hello-b", false), ("mine", true)]
        );
    }
}
