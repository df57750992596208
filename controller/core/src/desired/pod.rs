//! The pod template of one process. It depends only on the Release and on the site's settings that the Release was made
//! with: the same Release has to give the same bytes. A change of the rules that changes these bytes needs a new
//! [`Renderer`]; Releases made with older ones keep the older rules.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, EmptyDirVolumeSource, EnvFromSource, EnvVar, EnvVarSource,
        Lifecycle, LifecycleHandler, LocalObjectReference, ObjectFieldSelector,
        PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec, ResourceRequirements,
        SecretEnvSource, SleepAction, TopologySpreadConstraint, Volume, VolumeMount,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
    },
};
use slipway_crds::{
    labels, names,
    v1alpha1::{ReleaseProcess, ReleaseVolume, ResourceAmounts, Resources},
};

use crate::{
    desired::{
        Part, Renderer,
        escape::escaped,
        probe::{self, PROGRAMS, PROGRAMS_FOLDER, Probes},
        quantity, security, service,
    },
    domain::{
        app::{DEPLOY, STOP},
        checks::WEB,
    },
};
use slipway_base::zone::layout;

/// Seconds that a deploy may take.
pub(crate) fn deploy_limit(part: &Part<'_>) -> i32 {
    let limit = part.release.spec.deadlines.deploy.unwrap_or(DEPLOY);
    i32::try_from(limit.as_secs()).unwrap_or(i32::MAX)
}

pub(crate) fn template(
    part: &Part<'_>,
    name: &str,
    process: &ReleaseProcess,
    volumes: &[&ReleaseVolume],
    labels: BTreeMap<String, String>,
) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(part, name, process, volumes)),
    }
}

fn pod(
    part: &Part<'_>,
    name: &str,
    process: &ReleaseProcess,
    volumes: &[&ReleaseVolume],
) -> PodSpec {
    let spec = &part.release.spec;
    let start = (part.renderer >= Renderer::V2).then(|| deploy_limit(part));
    let probes = probe::probes(&process.checks, start);
    let install =
        (probes.need_prober || reaped(part, process)).then(|| programs(part, name, process));
    let drain = if name == WEB {
        part.pods(name).drain_seconds.max(0)
    } else {
        0
    };
    let stop = stop_seconds(part);
    PodSpec {
        service_account_name: Some(names::service_account(part.app())),
        automount_service_account_token: Some(false),
        // Otherwise the kubelet would add variables for every Service of the namespace.
        enable_service_links: Some(false),
        image_pull_secrets: pull_secrets(part, name, install.is_some()),
        security_context: Some(security::pod(
            spec.pod_security,
            &spec.image,
            !volumes.is_empty(),
        )),
        termination_grace_period_seconds: Some(
            i64::try_from(stop)
                .unwrap_or(i64::MAX)
                .saturating_add(drain),
        ),
        topology_spread_constraints: Some(spread(part, name)),
        volumes: pod_volumes(volumes, install.is_some()),
        init_containers: install.map(|container| vec![container]),
        containers: vec![container(part, name, process, volumes, probes, drain)],
        ..PodSpec::default()
    }
}

fn container(
    part: &Part<'_>,
    name: &str,
    process: &ReleaseProcess,
    volumes: &[&ReleaseVolume],
    probes: Probes,
    drain: i64,
) -> Container {
    let spec = &part.release.spec;
    let (command, args) = command(spec.image.external, process.command.as_deref());
    let mut mounts: Vec<VolumeMount> = volumes.iter().map(|v| mount(v)).collect();
    if probes.need_prober || reaped(part, process) {
        mounts.push(programs_mount(true));
    }
    Container {
        name: name.to_owned(),
        image: Some(image(part, name)),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command,
        args,
        env_from: Some(vec![EnvFromSource {
            secret_ref: Some(SecretEnvSource {
                name: spec.config_secret.clone(),
                optional: None,
            }),
            ..EnvFromSource::default()
        }]),
        env: Some(env(part, name, process)),
        ports: (name == WEB).then(|| {
            vec![ContainerPort {
                name: Some(service::PORT_NAME.to_owned()),
                container_port: spec.port,
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]
        }),
        resources: resources(process.resources.as_ref()),
        security_context: security::container(spec.pod_security),
        startup_probe: probes.startup,
        readiness_probe: probes.readiness,
        liveness_probe: probes.liveness,
        // During this sleep every node removes the pod from its endpoints, while the process still answers.
        lifecycle: (drain > 0).then(|| Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: drain }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        ..Container::default()
    }
}

/// The image with the registry's address as nodes reach it.
fn image(part: &Part<'_>, process: &str) -> String {
    let image = &part.release.spec.image;
    if image.external {
        image.reference.clone()
    } else {
        format!("{}/{}", part.pods(process).registry, image.reference)
    }
}

/// Whether the process runs under a launcher that an init container brings, as its image has none. A shell as PID 1
/// would neither reap processes nor end on SIGTERM.
fn reaped(part: &Part<'_>, process: &ReleaseProcess) -> bool {
    part.release.spec.image.external && process.command.is_some()
}

/// An image that Slipway built has the launcher as its entrypoint, which takes the command line as one argument. For
/// another image, an init container brings the launcher, which runs the command in the image's own shell. Without a
/// command, the image's own entrypoint and command run.
fn command(external: bool, line: Option<&str>) -> (Option<Vec<String>>, Option<Vec<String>>) {
    match line {
        None => (None, None),
        Some(line) if external => (
            Some(vec![format!("{PROGRAMS_FOLDER}/{}", layout::LAUNCHER)]),
            Some(vec![
                "--reap".to_owned(),
                "--".to_owned(),
                "/bin/sh".to_owned(),
                "-c".to_owned(),
                escaped(line),
            ]),
        ),
        Some(line) => (
            Some(vec![layout::LAUNCHER_IN_IMAGE.to_owned()]),
            Some(vec![escaped(line)]),
        ),
    }
}

fn stop_seconds(part: &Part<'_>) -> u64 {
    part.release.spec.deadlines.stop.unwrap_or(STOP).as_secs()
}

fn env(part: &Part<'_>, name: &str, process: &ReleaseProcess) -> Vec<EnvVar> {
    let value = |name: &str, value: String| EnvVar {
        name: name.to_owned(),
        value: Some(value),
        value_from: None,
    };
    let mut variables = vec![
        EnvVar {
            name: "POD_NAME".to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: "metadata.name".to_owned(),
                }),
                ..EnvVarSource::default()
            }),
        },
        value("DYNO", format!("{name}.$(POD_NAME)")),
        value("PORT", part.release.spec.port.to_string()),
    ];
    let launched = !part.release.spec.image.external || reaped(part, process);
    if part.renderer >= Renderer::V2 && launched {
        variables.push(value(layout::STOP_SECONDS, stop_seconds(part).to_string()));
    }
    variables
}

fn resources(resources: Option<&Resources>) -> Option<ResourceRequirements> {
    let Resources { requests, limits } = resources?;
    Some(ResourceRequirements {
        requests: amounts(requests.as_ref()),
        limits: amounts(limits.as_ref()),
        claims: None,
    })
}

fn amounts(amounts: Option<&ResourceAmounts>) -> Option<BTreeMap<String, Quantity>> {
    let ResourceAmounts { cpu, memory } = amounts?;
    let found: BTreeMap<String, Quantity> = [("cpu", cpu), ("memory", memory)]
        .into_iter()
        .filter_map(|(name, amount)| Some((name.to_owned(), quantity::canonical(amount.as_ref()?))))
        .collect();
    (!found.is_empty()).then_some(found)
}

/// The init container that brings launcher and prober into the pod. It has the process' own resources, so that it
/// changes neither the pod's QoS class nor what a ResourceQuota counts for it.
fn programs(part: &Part<'_>, name: &str, process: &ReleaseProcess) -> Container {
    Container {
        name: PROGRAMS.to_owned(),
        image: Some(part.pods(name).program_image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec![
            format!("{}/{}", layout::PROGRAMS, layout::PROBER),
            "--install".to_owned(),
            PROGRAMS_FOLDER.to_owned(),
        ]),
        resources: resources(process.resources.as_ref()),
        security_context: Some(security::restricted()),
        volume_mounts: Some(vec![programs_mount(false)]),
        ..Container::default()
    }
}

fn programs_mount(read_only: bool) -> VolumeMount {
    VolumeMount {
        name: PROGRAMS.to_owned(),
        mount_path: PROGRAMS_FOLDER.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn mount(volume: &ReleaseVolume) -> VolumeMount {
    VolumeMount {
        name: volume_name(volume),
        mount_path: volume.mount_path.clone(),
        sub_path: volume.sub_path.clone(),
        read_only: volume.read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// The prefix keeps the name of a storage entry apart from the volume of the operator's programs.
fn volume_name(volume: &ReleaseVolume) -> String {
    format!("storage-{}", volume.name)
}

fn pod_volumes(volumes: &[&ReleaseVolume], programs: bool) -> Option<Vec<Volume>> {
    let mut found: Vec<Volume> = volumes
        .iter()
        .map(|volume| Volume {
            name: volume_name(volume),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: volume.claim.clone(),
                read_only: None,
            }),
            ..Volume::default()
        })
        .collect();
    if programs {
        found.push(Volume {
            name: PROGRAMS.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: Some(Quantity("32Mi".to_owned())),
                medium: None,
            }),
            ..Volume::default()
        });
    }
    (!found.is_empty()).then_some(found)
}

fn pull_secrets(
    part: &Part<'_>,
    process: &str,
    programs: bool,
) -> Option<Vec<LocalObjectReference>> {
    let image = &part.release.spec.image;
    let own = image.pull_secret_ref.as_ref().map(|r| r.name.clone());
    let ours = part
        .pods(process)
        .pull_secret
        .clone()
        .filter(|_| !image.external || programs);
    let mut names: Vec<String> = own.into_iter().chain(ours).collect();
    names.dedup();
    let secrets: Vec<LocalObjectReference> = names
        .into_iter()
        .map(|name| LocalObjectReference { name })
        .collect();
    (!secrets.is_empty()).then_some(secrets)
}

/// Spreads pods over nodes and zones if there are several. A pod that cannot be spread is scheduled all the same.
fn spread(part: &Part<'_>, process: &str) -> Vec<TopologySpreadConstraint> {
    ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        .into_iter()
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(labels::selector(part.app(), process)),
                ..LabelSelector::default()
            }),
            ..TopologySpreadConstraint::default()
        })
        .collect()
}
