//! Turns a plan into the bodies of requests to the engine. Pure.

use std::{collections::HashMap, io};

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, Mount, MountType,
    Network, NetworkConnectRequest, NetworkCreateRequest, RestartPolicy, RestartPolicyNameEnum,
    VolumeCreateRequest,
};
use slipway_crds::labels;

use crate::docker::names;
use slipway_base::zone::{Zone, frame, layout};
use slipway_core::build::{
    file::PlanFile,
    plan::{BuildPlan, EgressPlan, Limits, ZonePlan},
};

/// Label: the installation that owns an object on the engine.
pub(super) const OWNER: &str = "slipway.dev/owner";
/// Label: namespace and name of the Build, for people who inspect the engine.
const BUILD: &str = "slipway.dev/build";

/// Most bytes of the folder that holds the App's variables. It is in memory and counts against the container's limit.
const TMPFS_BYTES: u64 = 64 * 1024 * 1024;
/// Length of the period for which the CPU quota is set, in microseconds. It is the engines' default.
const CPU_PERIOD: i64 = 100_000;
/// Smallest CPU quota that the kernel accepts, in microseconds.
const SMALLEST_QUOTA: i64 = 1000;
/// Number of log files of a container. When all are full, the engine drops the oldest.
const LOG_FILES: u64 = 2;
/// How many times longer than itself a line may be in the log: an engine stores it as JSON with its time. Short lines
/// grow most.
const LOG_OVERHEAD: u64 = 4;

/// A container that is to be made: a zone's, or that of the build zone's proxy.
#[derive(Clone)]
pub(super) struct Container {
    /// Its name.
    pub(super) name: String,
    /// The zone that it belongs to.
    zone: Zone,
    /// Reference of its image, as the engine pulls it.
    pub(super) image: String,
    command: Vec<String>,
    user: i64,
    /// Where the volume is mounted; if none, the container has no volume.
    mount: Option<String>,
    tmpfs: Vec<String>,
    files: Vec<PlanFile>,
    limits: Limits,
}

impl Container {
    /// A zone's, in this image.
    pub(super) fn of_zone(uid: &str, zone: &ZonePlan, image: String) -> Self {
        Self {
            name: names::container(uid, zone.zone),
            zone: zone.zone,
            image,
            command: zone.command.clone(),
            user: zone.user,
            mount: Some(zone.workspace.clone()),
            tmpfs: zone.in_memory.clone(),
            files: zone.files.clone(),
            limits: zone.limits,
        }
    }

    /// The proxy's, in this image. It gets its input when it starts.
    pub(super) fn of_proxy(uid: &str, egress: &EgressPlan, image: String) -> Self {
        Self {
            name: names::proxy(uid),
            zone: Zone::Build,
            image,
            command: egress.command.clone(),
            user: egress.user,
            mount: None,
            tmpfs: Vec::new(),
            files: Vec::new(),
            limits: egress.limits,
        }
    }

    /// The same with these files.
    pub(super) fn with(self, files: Vec<PlanFile>) -> Self {
        Self { files, ..self }
    }
}

fn labels(plan: &BuildPlan, owner: &str) -> HashMap<String, String> {
    HashMap::from([
        (labels::MANAGED_BY.to_owned(), labels::SLIPWAY.to_owned()),
        (labels::APP.to_owned(), plan.app.clone()),
        (labels::BUILD_UID.to_owned(), plan.uid.clone()),
        (
            BUILD.to_owned(),
            format!("{}/{}", plan.namespace, plan.name),
        ),
        (OWNER.to_owned(), owner.to_owned()),
    ])
}

/// The volume that the zones share.
pub(super) fn volume(plan: &BuildPlan, owner: &str) -> VolumeCreateRequest {
    VolumeCreateRequest {
        name: Some(names::volume(&plan.uid)),
        labels: Some(labels(plan, owner)),
        ..VolumeCreateRequest::default()
    }
}

/// The network of all builds. Containers on it reach the outside, but not each other.
pub(super) fn network() -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: names::NETWORK.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some(HashMap::from([(
            "com.docker.network.bridge.enable_icc".to_owned(),
            "false".to_owned(),
        )])),
        labels: Some(HashMap::from([(
            labels::MANAGED_BY.to_owned(),
            labels::SLIPWAY.to_owned(),
        )])),
        ..NetworkCreateRequest::default()
    }
}

/// The network of one build. It has no way out, and the engine itself has no address on it.
pub(super) fn closed_network(plan: &BuildPlan, owner: &str) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: names::closed_network(&plan.uid),
        driver: Some("bridge".to_owned()),
        internal: Some(true),
        options: Some(HashMap::from([(
            "com.docker.network.bridge.inhibit_ipv4".to_owned(),
            "true".to_owned(),
        )])),
        labels: Some(labels(plan, owner)),
        ..NetworkCreateRequest::default()
    }
}

/// Puts the proxy on the network, under the name by which the build zone finds it.
pub(super) fn known_to_build(proxy: &str) -> NetworkConnectRequest {
    NetworkConnectRequest {
        container: proxy.to_owned(),
        endpoint_config: Some(EndpointSettings {
            aliases: Some(vec![layout::EGRESS_HOST.to_owned()]),
            ..EndpointSettings::default()
        }),
    }
}

/// The ids of the networks with exactly this name, the oldest first.
pub(super) fn networks(name: &str, mut networks: Vec<Network>) -> Vec<String> {
    networks.retain(|network| network.name.as_deref() == Some(name));
    networks.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
    networks
        .into_iter()
        .filter_map(|network| network.id)
        .collect()
}

/// The request that makes a container on this network, with at most so many processes.
pub(super) fn body(
    plan: &BuildPlan,
    container: &Container,
    pids: i64,
    owner: &str,
    network: String,
) -> ContainerCreateBody {
    let mut labels = labels(plan, owner);
    labels.insert(labels::ZONE.to_owned(), container.zone.as_str().to_owned());
    ContainerCreateBody {
        image: Some(container.image.clone()),
        entrypoint: Some(container.command.clone()),
        cmd: Some(Vec::new()),
        user: Some(format!("{0}:{0}", container.user)),
        working_dir: Some("/".to_owned()),
        labels: Some(labels),
        attach_stdin: Some(false),
        open_stdin: Some(false),
        tty: Some(false),
        host_config: Some(host(plan, container, pids, network)),
        ..ContainerCreateBody::default()
    }
}

fn host(plan: &BuildPlan, container: &Container, pids: i64, network: String) -> HostConfig {
    let limits = container.limits;
    let output = plan.log_bytes.saturating_add(frame::MAX_FRAMED as u64);
    let log_file = output.saturating_mul(LOG_OVERHEAD).div_ceil(LOG_FILES);
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        privileged: Some(false),
        ipc_mode: Some("private".to_owned()),
        pids_limit: Some(pids),
        memory: limits.memory_bytes,
        // The limit for memory and swap together. It equals the memory limit, so the container gets no swap.
        memory_swap: limits.memory_bytes,
        // `nano_cpus` is not used: an engine refuses more CPUs than its machine has, and one limit is set for all
        // engines.
        cpu_period: limits.milli_cpus.map(|_| CPU_PERIOD),
        cpu_quota: limits
            .milli_cpus
            .map(|milli| milli.saturating_mul(CPU_PERIOD / 1000).max(SMALLEST_QUOTA)),
        network_mode: Some(network),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        mounts: container.mount.as_ref().map(|mount| {
            vec![Mount {
                target: Some(mount.clone()),
                source: Some(names::volume(&plan.uid)),
                typ: Some(MountType::VOLUME),
                read_only: Some(false),
                ..Mount::default()
            }]
        }),
        tmpfs: Some(
            container
                .tmpfs
                .iter()
                .map(|path| (path.clone(), tmpfs_options(container.user)))
                .collect(),
        ),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), log_file.to_string()),
                ("max-file".to_owned(), LOG_FILES.to_string()),
            ])),
        }),
        ..HostConfig::default()
    }
}

fn tmpfs_options(user: i64) -> String {
    format!("rw,noexec,nosuid,nodev,size={TMPFS_BYTES},mode=0700,uid={user},gid={user}")
}

/// The files of a container as an archive that the engine unpacks at `/`, folders first.
pub(super) fn archive(container: &Container) -> io::Result<Vec<u8>> {
    let owner = u64::try_from(container.user).map_err(io::Error::other)?;
    let mut folders: Vec<&str> = container.files.iter().filter_map(folder).collect();
    folders.sort_unstable();
    folders.dedup();
    let mut archive = tar::Builder::new(Vec::new());
    for folder in folders {
        let mut header = header(tar::EntryType::Directory, 0o700, owner);
        archive.append_data(&mut header, format!("{folder}/"), io::empty())?;
    }
    for file in &container.files {
        let mut header = header(tar::EntryType::Regular, file.mode, owner);
        header.set_size(file.content.len() as u64);
        archive.append_data(
            &mut header,
            file.path.trim_start_matches('/'),
            file.content.as_slice(),
        )?;
    }
    archive.into_inner()
}

fn folder(file: &PlanFile) -> Option<&str> {
    let (folder, _) = file.path.trim_start_matches('/').rsplit_once('/')?;
    Some(folder)
}

fn header(kind: tar::EntryType, mode: u32, owner: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_mtime(0);
    header.set_size(0);
    header
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Container, archive, body};
    use bollard::models::HostConfig;
    use slipway_base::zone::{Zone, input::EgressInput};
    use slipway_core::build::{
        file::PlanFile,
        plan::{BuildPlan, EgressPlan, Limits, PlanImage, ZonePlan},
    };

    const LIMITS: Limits = Limits {
        memory_bytes: Some(1 << 30),
        milli_cpus: Some(1500),
    };

    fn zone() -> ZonePlan {
        ZonePlan {
            zone: Zone::Build,
            image: PlanImage::Own,
            command: vec!["/tmp/builder".to_owned()],
            user: 32767,
            workspace: "/tmp".to_owned(),
            in_memory: vec!["/env".to_owned()],
            files: vec![PlanFile {
                path: "/slipway/input.json".to_owned(),
                mode: 0o400,
                content: b"{}".to_vec(),
            }],
            limits: LIMITS,
        }
    }

    fn plan() -> BuildPlan {
        BuildPlan {
            uid: "u".to_owned(),
            namespace: "n".to_owned(),
            name: "b".to_owned(),
            app: "a".to_owned(),
            zones: vec![zone()],
            egress: Some(EgressPlan {
                input: EgressInput {
                    outside: slipway_base::outside::policy::Policy::default(),
                    process_env: std::collections::BTreeMap::new(),
                },
                command: vec!["proxy".to_owned()],
                user: 1,
                limits: LIMITS,
            }),
            timeout: Duration::from_mins(1),
            log_bytes: 1 << 20,
        }
    }

    fn host(container: &Container) -> HostConfig {
        let body = body(&plan(), container, 64, "owner", "network".to_owned());
        body.host_config.unwrap()
    }

    #[test]
    fn a_zones_container_is_named_by_uid_and_zone_and_has_the_plans_limits() {
        let container = Container::of_zone("u", &zone(), "r/build@sha256:1".to_owned());
        assert_eq!(container.name, "slipway-u-build");
        let host = host(&container);
        assert_eq!(
            (
                host.memory,
                host.memory_swap,
                host.cpu_quota,
                host.pids_limit
            ),
            (Some(1 << 30), Some(1 << 30), Some(150_000), Some(64))
        );
        let mount = host.mounts.unwrap().remove(0);
        assert_eq!(
            (mount.source.as_deref(), mount.target.as_deref()),
            (Some("slipway-u"), Some("/tmp"))
        );
        let log = host.log_config.unwrap().config.unwrap();
        let most = log["max-size"].parse::<usize>().unwrap();
        assert!(most > 1 << 21, "the report has room beside the log: {most}");
        let folder = &host.tmpfs.unwrap()["/env"];
        assert!(folder.contains("mode=0700,uid=32767"), "{folder}");
    }

    #[test]
    fn the_proxy_has_no_volume_and_gets_its_input_when_it_starts() {
        let plan = plan();
        let egress = plan.egress.as_ref().unwrap();
        let proxy = Container::of_proxy("u", egress, "operator".to_owned());
        assert_eq!(proxy.name, "slipway-u-egress");
        assert_eq!(host(&proxy).mounts, None);
        let file = egress.file(vec!["192.0.2.7".parse().unwrap()]).unwrap();
        let archive = archive(&proxy.with(vec![file])).unwrap();
        assert!(String::from_utf8_lossy(&archive).contains("192.0.2.7"));
    }
}
