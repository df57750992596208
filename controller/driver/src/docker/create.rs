//! Turns a plan into the bodies of requests to the engine. Pure.

use std::{collections::HashMap, io};

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, Mount, MountType,
    Network, NetworkConnectRequest, NetworkCreateRequest, RestartPolicy, RestartPolicyNameEnum,
    VolumeCreateRequest,
};
use slipway_crds::labels;

use slipway_core::build::{
    file::PlanFile,
    plan::{BuildPlan, ZonePlan},
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
        name: Some(plan.volume.clone()),
        labels: Some(labels(plan, owner)),
        ..VolumeCreateRequest::default()
    }
}

/// The network of all builds. Containers on it reach the outside, but not each other.
pub(super) fn network(name: &str) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: name.to_owned(),
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
pub(super) fn closed_network(plan: &BuildPlan, name: &str, owner: &str) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: name.to_owned(),
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
pub(super) fn known_as(container: &str, host: &str) -> NetworkConnectRequest {
    NetworkConnectRequest {
        container: container.to_owned(),
        endpoint_config: Some(EndpointSettings {
            aliases: Some(vec![host.to_owned()]),
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

/// One zone's container.
pub(super) fn container(
    plan: &BuildPlan,
    zone: &ZonePlan,
    owner: &str,
    network: String,
) -> ContainerCreateBody {
    let mut labels = labels(plan, owner);
    labels.insert(labels::ZONE.to_owned(), zone.zone.as_str().to_owned());
    ContainerCreateBody {
        image: Some(zone.image.clone()),
        entrypoint: Some(zone.command.clone()),
        cmd: Some(Vec::new()),
        env: Some(
            zone.env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        user: Some(format!("{0}:{0}", zone.user)),
        working_dir: Some("/".to_owned()),
        labels: Some(labels),
        attach_stdin: Some(false),
        open_stdin: Some(false),
        tty: Some(false),
        host_config: Some(host(plan, zone, network)),
        ..ContainerCreateBody::default()
    }
}

fn host(plan: &BuildPlan, zone: &ZonePlan, network: String) -> HostConfig {
    let log_file = plan
        .log_bytes
        .saturating_mul(LOG_OVERHEAD)
        .div_ceil(LOG_FILES);
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        privileged: Some(false),
        ipc_mode: Some("private".to_owned()),
        pids_limit: zone.limits.pids,
        memory: zone.limits.memory_bytes,
        // The limit for memory and swap together. It equals the memory limit, so the container gets no swap.
        memory_swap: zone.limits.memory_bytes,
        // `nano_cpus` is not used: an engine refuses more CPUs than its machine has, and one limit is set for all
        // engines.
        cpu_period: zone.limits.milli_cpus.map(|_| CPU_PERIOD),
        cpu_quota: zone
            .limits
            .milli_cpus
            .map(|milli| milli.saturating_mul(CPU_PERIOD / 1000).max(SMALLEST_QUOTA)),
        network_mode: Some(network),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        mounts: zone.mount.as_ref().map(|mount| {
            vec![Mount {
                target: Some(mount.clone()),
                source: Some(plan.volume.clone()),
                typ: Some(MountType::VOLUME),
                read_only: Some(false),
                ..Mount::default()
            }]
        }),
        tmpfs: Some(
            zone.tmpfs
                .iter()
                .map(|path| (path.clone(), tmpfs_options(zone.user)))
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

/// The files of a zone as an archive that the engine unpacks at `/`, folders first.
pub(super) fn archive(zone: &ZonePlan) -> io::Result<Vec<u8>> {
    let owner = u64::try_from(zone.user).map_err(io::Error::other)?;
    let mut folders: Vec<&str> = zone.files.iter().filter_map(folder).collect();
    folders.sort_unstable();
    folders.dedup();
    let mut archive = tar::Builder::new(Vec::new());
    for folder in folders {
        let mut header = header(tar::EntryType::Directory, 0o700, owner);
        archive.append_data(&mut header, format!("{folder}/"), io::empty())?;
    }
    for file in &zone.files {
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
