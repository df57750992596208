//! What only the pod of a process that stays has: ports, probes, the time in which it leaves, and its place among others.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, EnvVar, Lifecycle, LifecycleHandler, PodSpec, PodTemplateSpec,
        SleepAction, TopologySpreadConstraint,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use slipway_crds::{
    labels,
    v1alpha1::{ReleaseProcess, ReleaseVolume},
};

use crate::{
    desired::{
        Part,
        pod::{
            common::{self, Program},
            probe::Probes,
        },
    },
    domain::checks::WEB,
};

/// Name of the container port of `web`. The Service's `targetPort` is this name, so that pods of two Releases with
/// different ports get traffic at the same time.
pub(crate) const PORT_NAME: &str = "http";

/// One process of a Release.
pub(crate) struct Process<'a> {
    pub(crate) part: &'a Part<'a>,
    pub(crate) name: &'a str,
    pub(crate) spec: &'a ReleaseProcess,
    /// The storage that it sees.
    pub(crate) volumes: &'a [&'a ReleaseVolume],
    /// Labels of its pods.
    pub(crate) labels: BTreeMap<String, String>,
}

impl Process<'_> {
    /// What its pods run.
    pub(crate) fn program(&self) -> Program<'_> {
        Program {
            part: self.part,
            site: self.part.pods(self.name),
            name: self.name,
            command: self.spec.command.as_deref(),
            resources: self.spec.resources.as_ref(),
            volumes: self.volumes,
            probed: false,
            env: Vec::new(),
        }
    }
}

/// The pod template of `process` with `probes`, and with `env` beside the variables that all pods have.
pub(crate) fn template(process: &Process<'_>, probes: Probes, env: Vec<EnvVar>) -> PodTemplateSpec {
    let program = Program {
        probed: probes.need_prober,
        env,
        ..process.program()
    };
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(process.labels.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(&program, probes)),
    }
}

fn pod(program: &Program<'_>, probes: Probes) -> PodSpec {
    let drain = if program.name == WEB {
        program.site.drain_seconds.max(0)
    } else {
        0
    };
    let stop = i64::try_from(program.part.stop_seconds()).unwrap_or(i64::MAX);
    PodSpec {
        termination_grace_period_seconds: Some(stop.saturating_add(drain)),
        topology_spread_constraints: Some(spread(program)),
        ..common::pod(program, container(program, probes, drain))
    }
}

fn container(program: &Program<'_>, probes: Probes, drain: i64) -> Container {
    Container {
        ports: (program.name == WEB).then(|| {
            vec![ContainerPort {
                name: Some(PORT_NAME.to_owned()),
                container_port: program.part.release.spec.port,
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]
        }),
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
        ..common::container(program)
    }
}

/// Spreads pods over nodes and zones if there are several. A pod that cannot be spread is scheduled all the same.
fn spread(program: &Program<'_>) -> Vec<TopologySpreadConstraint> {
    ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        .into_iter()
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(labels::selector(program.part.app(), program.name)),
                ..LabelSelector::default()
            }),
            ..TopologySpreadConstraint::default()
        })
        .collect()
}
