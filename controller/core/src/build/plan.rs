//! Build + settings + resolved inputs → [`BuildPlan`]: images, commands, limits, files. Pure.
//!
//! A plan is complete, and it is the same for every driver: it says what runs, not where. It has no address at which a
//! driver reaches a registry, and no name of a container, a volume or a network. A plan has secrets only in its files,
//! never in commands, because whoever may inspect containers sees those.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use slipway_crds::v1alpha1::{self as api, Build, LEAST_BUILD_MEMORY};

use crate::{
    build::{environment, file::PlanFile, mark::mark},
    domain::env::HashKey,
    settings::{Egress, Settings},
};
use slipway_base::text::public_url;
use slipway_base::{
    outside::policy::{Network, Policy},
    zone::{
        Zone,
        input::{
            Artifact, BuildInput, EgressInput, ExportInput, FetchInput, GitCredentials, GitInput,
            PackInput, SourceInput,
        },
        layout,
    },
};

/// Time of every file of an image, in seconds since 1970: 1980-01-01 00:00:01, the earliest that zip archives can hold.
pub const SOURCE_DATE_EPOCH: i64 = 315_532_801;

/// Bytes that a build leaves free on the disk that builds share, for whatever runs them and other builds' logs.
const DISK_RESERVE: u64 = 1024 * 1024 * 1024;

/// How many quarters of a build's log the build zone may fill; the rest is for fetch and export.
const BUILD_LOG_QUARTERS: u64 = 3;

/// Memory of a build zone's proxy. It holds only buffers: two of 8 KiB for each tunnel, and the kernel's.
const EGRESS_MEMORY: i64 = 128 * 1024 * 1024;

/// A whole build, ready for a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildPlan {
    /// UID of the Build. By it, a driver finds everything that it made for this plan.
    pub uid: String,
    /// Namespace of the Build.
    pub namespace: String,
    /// Name of the Build.
    pub name: String,
    /// Name of the App.
    pub app: String,
    /// The zones, in order.
    pub zones: Vec<ZonePlan>,
    /// What the build zone may reach through a proxy, which is then its only access to the network. If none, the build
    /// zone has the same access as the other zones.
    pub egress: Option<EgressPlan>,
    /// Time limit from the start of the first zone to the end of the last.
    pub timeout: Duration,
    /// Most bytes of log that are kept of one zone. A zone's report comes on top.
    pub log_bytes: u64,
}

impl BuildPlan {
    /// The plan of one zone.
    pub fn zone(&self, zone: Zone) -> Option<&ZonePlan> {
        self.zones.iter().find(|plan| plan.zone == zone)
    }
}

/// An image of a plan. The driver knows the address at which its machines reach the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanImage {
    /// The operator's own image, as the settings name it.
    Own,
    /// An image in Slipway's own registry, by digest.
    Ours(Artifact),
}

/// The program that connects the build zone with what it may reach, at
/// [`EGRESS_HOST`](layout::EGRESS_HOST):[`EGRESS_PORT`](layout::EGRESS_PORT) as the build zone sees it. The driver
/// decides where it runs, and makes sure that the build zone reaches nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressPlan {
    /// What the build zone may reach, and the proxies of the administrator.
    pub input: EgressInput,
    /// Program and arguments, in the operator's own image.
    pub command: Vec<String>,
    /// User and group.
    pub user: i64,
    /// Limits.
    pub limits: Limits,
}

impl EgressPlan {
    /// The proxy's input. `own` are the addresses and networks of whatever runs builds: the driver knows them, and no
    /// build may connect to them.
    pub fn file(&self, own: Vec<Network>) -> Result<PlanFile, PlanError> {
        let mut input = self.input.clone();
        input.outside.own.extend(own);
        input_file(Zone::Build, &input)
    }
}

/// One zone's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZonePlan {
    /// Which zone.
    pub zone: Zone,
    /// Its image.
    pub image: PlanImage,
    /// Program and arguments; replaces the image's entrypoint.
    pub command: Vec<String>,
    /// User and group.
    pub user: i64,
    /// Where the volume that the zones share is mounted.
    pub workspace: String,
    /// Folders in memory. The zone's user owns them; nobody else may read them.
    pub in_memory: Vec<String>,
    /// Files put into the container before it starts, at most [`PlanFile::MAX_BYTES`] each.
    pub files: Vec<PlanFile>,
    /// Limits.
    pub limits: Limits,
}

/// What a container may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory_bytes: Option<i64>,
    /// Thousandths of a CPU.
    pub milli_cpus: Option<i64>,
}

/// What a plan needs besides Build and settings, read from the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Credentials of the git server.
    pub credentials: Option<GitCredentials>,
    /// Values of the Build's variables that are read from Secrets and ConfigMaps, by the variable's name.
    pub referenced: BTreeMap<String, Referenced>,
    /// The Revision's source, if an earlier Build stored it. A pushed one is in the Build.
    pub source: Option<api::Artifact>,
}

/// The value of a variable that was read from a Secret or ConfigMap.
#[derive(Clone, PartialEq, Eq)]
pub struct Referenced {
    /// The value.
    pub value: String,
    /// Whether it came from a Secret, so that it is redacted in the log.
    pub secret: bool,
}

impl std::fmt::Debug for Referenced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why no plan can be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The object did not come from an API server, or has another version.
    #[error("the Build has no {field}")]
    Incomplete {
        /// What is missing.
        field: &'static str,
    },
    /// A variable's value was not read.
    #[error("the value of the variable {name} was not read")]
    Unresolved {
        /// The variable.
        name: String,
    },
    /// A limit cannot be understood.
    #[error("spec.resources.limits.{field}: {text:?} is not a quantity such as 500m, 2 or 512Mi")]
    Quantity {
        /// `cpu` or `memory`.
        field: &'static str,
        /// As written.
        text: String,
    },
    /// A limit of 0, or too low for a build to run.
    #[error(
        "spec.resources.limits.{field}: no build can run with {text}; leave it out for the operator's default"
    )]
    TooLittle {
        /// `cpu` or `memory`.
        field: &'static str,
        /// As written.
        text: String,
    },
    /// An input cannot be written as JSON.
    #[error("cannot write the {zone} zone's input", zone = zone.as_str())]
    Input {
        /// The zone.
        zone: Zone,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A file is longer than a plan's file may be.
    #[error(
        "the {zone} zone's file {path} would have {bytes} bytes, and there is room for {}: the variables of the build have to be shorter, or the certificates that the administrator adds (builds.ca)",
        PlanFile::MAX_BYTES,
        zone = zone.as_str()
    )]
    TooLong {
        /// The zone.
        zone: Zone,
        /// Path of the file.
        path: String,
        /// How many bytes it would have.
        bytes: usize,
    },
}

/// Tag that protects a Build's log from the registry's garbage collection.
pub fn log_tag(app_uid: &str, uid: &str) -> String {
    format!("{app_uid}-log-{uid}")
}

/// What a Build may use: its own limits, else the operator's defaults, but never more than the administrator's maximum.
pub fn limits(build: &Build, settings: &Settings) -> Result<Limits, PlanError> {
    let own = build
        .spec
        .resources
        .as_ref()
        .and_then(|r| r.limits.as_ref());
    let builds = &settings.builds;
    let cpus = amount("cpu", own.and_then(|l| l.cpu.as_ref()), 0)?.or(builds.cpu_count());
    let memory = own.and_then(|l| l.memory.as_ref());
    let memory = amount("memory", memory, LEAST_BUILD_MEMORY)?
        .map(whole)
        .or(builds.memory_bytes());
    let most = |ceiling: Option<&api::Quantity>| ceiling.and_then(api::Quantity::amount);
    let ceilings = builds.ceilings();
    let most_memory = most(ceilings.memory.as_ref()).map(whole);
    Ok(Limits {
        memory_bytes: least(memory, most_memory),
        milli_cpus: least(cpus, most(ceilings.cpus.as_ref())).map(milli),
    })
}

/// The lower of two limits; `None` is no limit.
fn least<T: PartialOrd>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other < one { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// Refuses 0, because a Docker Engine takes 0 for no limit, and less than `least`.
fn amount(
    field: &'static str,
    quantity: Option<&api::Quantity>,
    least: i64,
) -> Result<Option<f64>, PlanError> {
    let Some(quantity) = quantity else {
        return Ok(None);
    };
    let text = quantity.0.clone();
    match quantity.amount() {
        Some(amount) if amount > 0.0 && whole(amount) >= least => Ok(Some(amount)),
        Some(_) => Err(PlanError::TooLittle { field, text }),
        None => Err(PlanError::Quantity { field, text }),
    }
}

/// Thousandths of a CPU, at least one.
fn milli(cpus: f64) -> i64 {
    whole(cpus * 1000.0).max(1)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float beyond i64 becomes the greatest i64, which limits nothing"
)]
fn whole(amount: f64) -> i64 {
    amount.round() as i64
}

/// The plan of a Build that started at this time. `key` is the installation's: the marks of the zones' reports follow
/// from it.
pub fn plan(
    build: &Build,
    settings: &Settings,
    key: &HashKey,
    inputs: &Inputs,
    began: Timestamp,
) -> Result<BuildPlan, PlanError> {
    let missing = |field| PlanError::Incomplete { field };
    let meta = &build.metadata;
    let uid = meta.uid.as_deref().ok_or(missing("metadata.uid"))?;
    let name = meta.name.as_deref().ok_or(missing("metadata.name"))?;
    let namespace = meta
        .namespace
        .as_deref()
        .ok_or(missing("metadata.namespace"))?;
    let context = Context {
        build,
        commit: (build.spec.source.commit()).ok_or(missing("spec.source.git, and no push"))?,
        settings,
        key,
        inputs,
        began,
        uid,
        repository: settings
            .registry
            .repositories()
            .of_app(namespace, &build.spec.app.name),
        cache_tag: format!("{}-cache", build.spec.app.uid),
    };
    Ok(BuildPlan {
        uid: uid.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        app: build.spec.app.name.clone(),
        zones: vec![context.fetch()?, context.build()?, context.export(name)?],
        egress: context.egress(),
        timeout: build.spec.timeout.get(),
        log_bytes: settings.builds.log_bytes,
    })
}

struct Context<'a> {
    build: &'a Build,
    commit: &'a str,
    settings: &'a Settings,
    key: &'a HashKey,
    inputs: &'a Inputs,
    began: Timestamp,
    uid: &'a str,
    repository: String,
    cache_tag: String,
}

impl Context<'_> {
    fn fetch(&self) -> Result<ZonePlan, PlanError> {
        let spec = &self.build.spec;
        let input = FetchInput {
            mark: mark(self.key, self.uid, Zone::Fetch),
            source: self.source(),
            repository: self.repository.clone(),
            source_tag: format!(
                "{}-source-{}",
                spec.app.uid,
                self.commit.get(..12).unwrap_or(self.commit)
            ),
            cache_tag: self.cache_tag.clone(),
            buildpacks: spec.buildpacks.clone(),
            stack_packs: spec
                .stack
                .packs
                .iter()
                .map(|pack| PackInput {
                    name: pack.name.clone(),
                    artifact: artifact(&pack.artifact),
                })
                .collect(),
            registry: self.settings.registry.push.clone(),
            ca_pem: self.settings.build_ca.clone(),
            process_env: self.settings.builds.env.clone(),
            git: self.settings.builds.git.clone(),
            outside: Policy::clone(&self.settings.outside.policy()),
            disk_reserve_bytes: DISK_RESERVE,
        };
        self.own_zone(Zone::Fetch, &input)
    }

    /// From a git server, or from the artifact that an earlier Build or a push stored.
    fn source(&self) -> SourceInput {
        let source = &self.build.spec.source;
        let pushed = source.push.as_ref().map(|push| &push.artifact);
        SourceInput {
            git: source.git.as_ref().map(|git| GitInput {
                url: git.url.clone(),
                r#ref: git.r#ref.clone(),
                credentials: self.inputs.credentials.clone(),
            }),
            commit: self.commit.to_owned(),
            sub_path: source.sub_path.clone(),
            artifact: pushed.or(self.inputs.source.as_ref()).map(artifact),
        }
    }

    fn build(&self) -> Result<ZonePlan, PlanError> {
        let spec = &self.build.spec;
        let mut env = BTreeMap::new();
        let mut secret_names = Vec::new();
        for variable in &spec.env {
            let name = &variable.name;
            let value = match (&variable.value, self.inputs.referenced.get(name)) {
                (Some(value), _) => value.clone(),
                (None, Some(referenced)) => {
                    if referenced.secret {
                        secret_names.push(name.clone());
                    }
                    referenced.value.clone()
                }
                (None, None) => return Err(PlanError::Unresolved { name: name.clone() }),
            };
            env.insert(name.clone(), value);
        }
        let input = BuildInput {
            mark: mark(self.key, self.uid, Zone::Build),
            stack_name: spec.stack.stack_name.clone(),
            source_version: self.commit.to_owned(),
            request_id: self.uid.to_owned(),
            source_date_epoch: SOURCE_DATE_EPOCH,
            env,
            secret_names,
            process_env: environment::of_buildpacks(&self.settings.builds),
            timeout_seconds: spec.timeout.as_secs(),
            deadline: i64::try_from(spec.timeout.as_secs())
                .unwrap_or(i64::MAX)
                .saturating_add(self.began.as_second()),
            disk_reserve_bytes: DISK_RESERVE,
            log_bytes: Some(self.settings.builds.log_bytes / 4 * BUILD_LOG_QUARTERS),
        };
        let mut files = vec![input_file(Zone::Build, &input)?];
        if let Some(bundle) = environment::ca_file(self.settings) {
            files.push(within_bound(Zone::Build, bundle)?);
        }
        Ok(ZonePlan {
            zone: Zone::Build,
            image: PlanImage::Ours(artifact(&spec.stack.build_image)),
            command: vec![format!(
                "{}/{}/{}",
                layout::BUILD_MOUNT,
                layout::BIN_DIR,
                layout::BUILDER
            )],
            user: spec.stack.user_id,
            workspace: layout::BUILD_MOUNT.to_owned(),
            in_memory: vec![layout::ENV_DIR.to_owned()],
            files,
            limits: limits(self.build, self.settings)?,
        })
    }

    fn egress(&self) -> Option<EgressPlan> {
        let builds = &self.settings.builds;
        if builds.egress == Egress::Open {
            return None;
        }
        Some(EgressPlan {
            input: EgressInput {
                outside: Policy::clone(&self.settings.outside.policy()),
                process_env: environment::proxies(builds),
            },
            command: ["slipway", "zone", "egress"].map(str::to_owned).to_vec(),
            user: self.build.spec.stack.user_id,
            limits: Limits {
                memory_bytes: Some(EGRESS_MEMORY),
                ..self.own_limits()
            },
        })
    }

    fn own_limits(&self) -> Limits {
        let builds = &self.settings.builds;
        Limits {
            memory_bytes: builds.memory_bytes(),
            milli_cpus: builds.cpu_count().map(milli),
        }
    }

    fn export(&self, name: &str) -> Result<ZonePlan, PlanError> {
        let spec = &self.build.spec;
        let hash = name
            .strip_prefix(&spec.app.name)
            .and_then(|rest| rest.strip_prefix('-'))
            .unwrap_or(name);
        let input = ExportInput {
            mark: mark(self.key, self.uid, Zone::Export),
            repository: self.repository.clone(),
            image_tag: format!("{}-image-{hash}", spec.app.uid),
            cache_tag: self.cache_tag.clone(),
            run_image: artifact(&spec.stack.run_image),
            user_id: spec.stack.user_id,
            source_date_epoch: SOURCE_DATE_EPOCH,
            labels: self.labels(),
            stack_name: Some(spec.stack.stack_name.clone()),
            registry: self.settings.registry.push.clone(),
            disk_reserve_bytes: DISK_RESERVE,
        };
        self.own_zone(Zone::Export, &input)
    }

    /// A zone that runs the operator's own program and image, with the operator's limits.
    fn own_zone(&self, zone: Zone, input: &impl serde::Serialize) -> Result<ZonePlan, PlanError> {
        Ok(ZonePlan {
            zone,
            image: PlanImage::Own,
            command: ["slipway", "zone", zone.as_str()]
                .map(str::to_owned)
                .to_vec(),
            user: self.build.spec.stack.user_id,
            workspace: layout::WORKSPACE.to_owned(),
            in_memory: Vec::new(),
            files: vec![input_file(zone, input)?],
            limits: self.own_limits(),
        })
    }

    /// Labels of the image. They say nothing about this Build itself, so that the same inputs give the same image
    /// again.
    fn labels(&self) -> BTreeMap<String, String> {
        let spec = &self.build.spec;
        let mut labels = BTreeMap::from([
            (
                "org.opencontainers.image.revision".to_owned(),
                self.commit.to_owned(),
            ),
            (
                "org.opencontainers.image.base.digest".to_owned(),
                spec.stack.run_image.digest.clone(),
            ),
            (
                "org.opencontainers.image.base.name".to_owned(),
                spec.stack.run_image.repository.clone(),
            ),
            (
                "org.opencontainers.image.title".to_owned(),
                spec.app.name.clone(),
            ),
            (
                "slipway.dev/stack".to_owned(),
                spec.stack.stack_name.clone(),
            ),
        ]);
        if let Some(git) = &spec.source.git {
            // Everybody who may pull the image can read it, so the address has no token.
            let source = public_url(&git.url);
            labels.insert("org.opencontainers.image.source".to_owned(), source);
        }
        if let Some(path) = &spec.source.sub_path {
            labels.insert("slipway.dev/sub-path".to_owned(), path.clone());
        }
        labels
    }
}

fn artifact(artifact: &api::Artifact) -> Artifact {
    Artifact {
        repository: artifact.repository.clone(),
        digest: artifact.digest.clone(),
    }
}

fn input_file(zone: Zone, input: &impl serde::Serialize) -> Result<PlanFile, PlanError> {
    let content = serde_json::to_vec(input).map_err(|source| PlanError::Input { zone, source })?;
    let file = PlanFile {
        path: layout::INPUT.to_owned(),
        mode: 0o400,
        content,
    };
    within_bound(zone, file)
}

fn within_bound(zone: Zone, file: PlanFile) -> Result<PlanFile, PlanError> {
    let bytes = file.content.len();
    if bytes <= PlanFile::MAX_BYTES {
        return Ok(file);
    }
    let path = file.path;
    Err(PlanError::TooLong { zone, path, bytes })
}
