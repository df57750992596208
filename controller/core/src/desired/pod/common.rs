//! What every pod of a Release has, whatever it runs: [`container`] and [`pod`].

use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVar, EnvVarSource, LocalObjectReference, ObjectFieldSelector,
    PodSpec, SecretEnvSource, Volume, VolumeMount,
};
use slipway_base::zone::layout;
use slipway_crds::{
    names,
    v1alpha1::{ReleaseSite, ReleaseVolume, Resources},
};

use crate::desired::{
    Part,
    pod::{
        escape::escaped,
        programs::{self, PROGRAMS_FOLDER},
        resources::resources,
        security, volumes,
    },
};

/// What one pod of a Release runs.
pub(crate) struct Program<'a> {
    pub(crate) part: &'a Part<'a>,
    /// What the site's administrator had set for these pods.
    pub(crate) site: &'a ReleaseSite,
    /// Name of the container, and the first part of `$DYNO`: of a process, its own.
    pub(crate) name: &'a str,
    /// Command line, given to a shell; none: the image's own.
    pub(crate) command: Option<&'a str>,
    /// What it may use.
    pub(crate) resources: Option<&'a Resources>,
    /// The storage that it sees.
    pub(crate) volumes: &'a [&'a ReleaseVolume],
    /// Whether probes run the prober.
    pub(crate) probed: bool,
    /// Variables beside the config and those that all pods have.
    pub(crate) env: Vec<EnvVar>,
}

impl Program<'_> {
    /// Whether the launcher is its first process: the entrypoint of images that Slipway built, or brought in.
    pub(crate) fn is_launched(&self) -> bool {
        !self.part.release.spec.image.external || self.is_reaped()
    }

    /// Whether it runs under a launcher that an init container brings, as its image has none. A shell as PID 1 would
    /// neither reap processes nor end on SIGTERM.
    fn is_reaped(&self) -> bool {
        self.part.release.spec.image.external && self.command.is_some()
    }

    /// Whether an init container brings the operator's programs.
    fn brings_programs(&self) -> bool {
        self.probed || self.is_reaped()
    }
}

/// The pod around `container`.
pub(crate) fn pod(program: &Program<'_>, container: Container) -> PodSpec {
    let spec = &program.part.release.spec;
    let brought = program
        .brings_programs()
        .then(|| programs::install(&program.site.program_image, program.resources));
    PodSpec {
        service_account_name: Some(names::service_account(program.part.app())),
        automount_service_account_token: Some(false),
        // Otherwise the kubelet would add variables for every Service of the namespace.
        enable_service_links: Some(false),
        image_pull_secrets: pull_secrets(program),
        security_context: Some(security::pod(
            spec.pod_security,
            &spec.image,
            !program.volumes.is_empty(),
        )),
        volumes: pod_volumes(program),
        init_containers: brought.map(|container| vec![container]),
        containers: vec![container],
        ..PodSpec::default()
    }
}

/// The container that runs `program`.
pub(crate) fn container(program: &Program<'_>) -> Container {
    let spec = &program.part.release.spec;
    let (command, args) = command(spec.image.external, program.command);
    let mut mounts: Vec<VolumeMount> = program.volumes.iter().map(|v| volumes::mount(v)).collect();
    if program.brings_programs() {
        mounts.push(programs::mount(true));
    }
    Container {
        name: program.name.to_owned(),
        image: Some(image(program)),
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
        env: Some(env(program)),
        resources: resources(program.resources),
        security_context: security::container(spec.pod_security),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        ..Container::default()
    }
}

/// The image with the registry's address as nodes reach it.
fn image(program: &Program<'_>) -> String {
    let image = &program.part.release.spec.image;
    if image.external {
        image.reference.clone()
    } else {
        format!("{}/{}", program.site.registry, image.reference)
    }
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

/// A variable with this value.
pub(crate) fn variable(name: &str, value: String) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value),
        value_from: None,
    }
}

fn env(program: &Program<'_>) -> Vec<EnvVar> {
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
        variable("DYNO", format!("{}.$(POD_NAME)", program.name)),
        variable("PORT", program.part.release.spec.port.to_string()),
    ];
    variables.extend(program.env.iter().cloned());
    variables
}

fn pod_volumes(program: &Program<'_>) -> Option<Vec<Volume>> {
    let mut found: Vec<Volume> = program.volumes.iter().map(|v| volumes::volume(v)).collect();
    if program.brings_programs() {
        found.push(programs::volume());
    }
    (!found.is_empty()).then_some(found)
}

fn pull_secrets(program: &Program<'_>) -> Option<Vec<LocalObjectReference>> {
    let image = &program.part.release.spec.image;
    let own = image.pull_secret_ref.as_ref().map(|r| r.name.clone());
    let ours = program
        .site
        .pull_secret
        .clone()
        .filter(|_| !image.external || program.brings_programs());
    let mut names: Vec<String> = own.into_iter().chain(ours).collect();
    names.dedup();
    let secrets: Vec<LocalObjectReference> = names
        .into_iter()
        .map(|name| LocalObjectReference { name })
        .collect();
    (!secrets.is_empty()).then_some(secrets)
}
