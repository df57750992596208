//! An image and what the App wants → its next Release. Pure.

use std::collections::{BTreeMap, BTreeSet};

use slipway_crds::{
    conditions::Reason,
    names,
    v1alpha1::{
        AppRef, Build, ImageRevision, PodSecurity, ReleaseImage, ReleaseProcess, ReleaseSite,
        ReleaseSpec, ReleaseVolume,
    },
};

use crate::{
    desired::Renderer,
    domain::{
        app::ValidApp,
        app_json::{self, AppJson},
        checks,
        env::{Config, HashKey},
        formation::{Formation, FormationError, Formed, Offered, WEB, formation, listed},
        image::ImageUser,
    },
};

/// The default port.
const PORT: i32 = 5000;

/// What a Release runs.
#[derive(Clone, Copy, Debug)]
pub enum Image<'a> {
    /// A Build that succeeded.
    Built(&'a Build),
    /// Somebody else's image.
    External(&'a ImageRevision),
}

/// Where a Release comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Name of the Revision.
    pub revision: &'a str,
    /// The Revision's commit or digest, shortened.
    pub revision_id: &'a str,
    /// The image.
    pub image: Image<'a>,
}

/// A Release without its number, cause and hash.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The spec of the Release.
    pub spec: ReleaseSpec,
    /// What the App's author should know.
    pub notes: Vec<String>,
}

/// Why there can be no Release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// app.json cannot be read.
    #[error(transparent)]
    AppJson(#[from] app_json::AppJsonError),
    /// The processes are not valid.
    #[error(transparent)]
    Formation(#[from] FormationError),
    /// The image is not allowed to run.
    #[error("{0}")]
    Root(String),
    /// The Build has no image.
    #[error("Build {0} has ended without an image: ask for another build")]
    NoImage(String),
}

impl DraftError {
    /// The reason in conditions.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Formation(FormationError::Nothing) => Reason::NoProcesses,
            Self::AppJson(_) | Self::NoImage(_) | Self::Formation(_) => Reason::InvalidSpec,
            Self::Root(_) => Reason::RootRequired,
        }
    }
}

/// Name of the Secret that holds `config`.
pub fn config_secret(app: &ValidApp, config: &Config, key: &HashKey) -> String {
    let digest = config.digest(key, &app.uid);
    names::config_secret(&app.name, digest.get(..names::HASH).unwrap_or(&digest))
}

/// What an image offers for a Release.
struct Offer<'a> {
    image: ReleaseImage,
    processes: Offered<'a>,
    app_json: AppJson,
    /// The one port that it exposes, if it exposes exactly one.
    port: Option<i32>,
}

/// The next Release of the App. `shared` are names of claims that many nodes may mount at once, `site` is what an
/// administrator has set, `before` is the port of its newest Release.
pub fn draft(
    app: &ValidApp,
    origin: &Origin<'_>,
    config_secret: String,
    shared: &BTreeSet<String>,
    site: &ReleaseSite,
    before: Option<i32>,
) -> Result<Draft, DraftError> {
    let offer = match origin.image {
        Image::Built(build) => built(build)?,
        Image::External(image) => external(app, image)?,
    };
    let said = app.port.or(offer.port);
    let port = said.unwrap_or_else(|| guess(origin, before));
    let app_json = offer.app_json;
    let found = formation(&offer.processes, &app_json.formation, &app.processes)?;
    told_apart(&app.name, found.processes.keys())?;
    all_known(app, &found)?;
    let mut notes = [
        app_json.notes.clone(),
        strangers(&app_json, &found),
        found.notes,
    ]
    .concat();
    if let (None, Image::External(image)) = (said, origin.image)
        && found.processes.contains_key(WEB)
    {
        notes.push(guessed(image, port));
    }
    let processes = with_checks(app, &app_json, found.processes, port, &mut notes);
    if let Image::External(image) = origin.image
        && image.entrypoint
    {
        let each = processes.iter();
        notes.extend(each.flat_map(|(name, process)| without_entrypoint(name, process)));
    }
    let volumes = volumes(app, shared);
    notes.extend(replaced(&volumes, processes.keys()));
    let spec = ReleaseSpec {
        app: AppRef {
            name: app.name.clone(),
            uid: app.uid.clone(),
        },
        number: 0,
        cause: String::new(),
        inputs: String::new(),
        renderer: Renderer::NEWEST.version(),
        revision: origin.revision.to_owned(),
        revision_id: origin.revision_id.to_owned(),
        build: match origin.image {
            Image::Built(build) => build.metadata.name.clone(),
            Image::External(_) => None,
        },
        image: offer.image,
        config_secret,
        processes,
        port,
        volumes,
        deadlines: app.deadlines.clone(),
        pod_security: app.pod_security,
        site: Some(site.clone()),
    };
    Ok(Draft { spec, notes })
}

/// The port, if neither the App nor the exposed ports of the image determine it. An App whose Release uses the default
/// port keeps it, so that an upgrade of the operator does not change it.
fn guess(origin: &Origin<'_>, before: Option<i32>) -> i32 {
    match origin.image {
        Image::External(image) if before != Some(PORT) => image.env_port.unwrap_or(PORT),
        _ => PORT,
    }
}

/// Refuses checks and volumes of processes that the App does not have.
fn all_known(app: &ValidApp, found: &Formation) -> Result<(), DraftError> {
    let is_known =
        |name: &String| found.processes.contains_key(name) || found.left_out.contains(name);
    let known = || listed(found.processes.keys());
    for name in app.checks.keys() {
        if !is_known(name) {
            return Err(unknown("spec.checks", name, known()));
        }
    }
    for volume in &app.volumes {
        for name in &volume.processes {
            if !is_known(name) {
                let what = format!("spec.storage.{}", volume.name);
                return Err(unknown(&what, name, known()));
            }
        }
    }
    Ok(())
}

/// Notes about processes that app.json names and the App does not have. A formation entry of 0 needs no process.
fn strangers(app_json: &AppJson, found: &Formation) -> Vec<String> {
    let asked = app_json.formation.iter().filter(|(_, n)| **n > 0);
    let formation = asked.map(|(name, _)| ("formation", name));
    let checks = app_json.checks.keys().map(|name| ("healthchecks", name));
    let strange = formation
        .chain(checks)
        .filter(|(_, name)| !found.processes.contains_key(*name));
    let note = |(key, name)| {
        let known = listed(found.processes.keys());
        format!("app.json, {key}.{name}: the App has no such process; {known}")
    };
    strange.map(note).collect()
}

fn with_checks(
    app: &ValidApp,
    app_json: &AppJson,
    found: BTreeMap<String, Formed>,
    port: i32,
    notes: &mut Vec<String>,
) -> BTreeMap<String, ReleaseProcess> {
    let mut processes = BTreeMap::new();
    for (name, process) in found {
        let from_app_json = app_json.checks.get(&name).map_or(&[][..], Vec::as_slice);
        let (checks, said) = checks::resolve(&name, app.checks.get(&name), from_app_json, port);
        notes.extend(said.into_iter().map(|note| note.0));
        let process = ReleaseProcess {
            command: process.command,
            replicas: process.replicas,
            resources: process.resources,
            checks,
        };
        processes.insert(name, process);
    }
    processes
}

fn volumes(app: &ValidApp, shared: &BTreeSet<String>) -> Vec<ReleaseVolume> {
    let as_now = |volume: &ReleaseVolume| ReleaseVolume {
        single_node: volume.single_node && !shared.contains(&volume.claim),
        ..volume.clone()
    };
    app.volumes.iter().map(as_now).collect()
}

/// Refuses two processes whose Deployments would have the same name.
fn told_apart<'a>(
    app: &str,
    processes: impl Iterator<Item = &'a String>,
) -> Result<(), FormationError> {
    let mut named = BTreeMap::new();
    for process in processes {
        if let Some(first) = named.insert(names::deployment(app, process), process) {
            return Err(FormationError::Alike {
                first: first.clone(),
                second: process.clone(),
            });
        }
    }
    Ok(())
}

fn built(build: &Build) -> Result<Offer<'_>, DraftError> {
    let name = || build.metadata.name.clone().unwrap_or_default();
    let status = build
        .status
        .as_ref()
        .ok_or_else(|| DraftError::NoImage(name()))?;
    let image = status
        .image
        .as_ref()
        .ok_or_else(|| DraftError::NoImage(name()))?;
    let app_json = app_json::parse(status.app_json.as_deref().unwrap_or_default())?;
    let image = ReleaseImage {
        reference: image.to_string(),
        external: false,
        pull_secret_ref: None,
        user_id: Some(build.spec.stack.user_id),
    };
    Ok(Offer {
        image,
        processes: Offered::Build(&status.processes),
        app_json,
        port: None,
    })
}

fn external<'a>(app: &ValidApp, image: &ImageRevision) -> Result<Offer<'a>, DraftError> {
    let user = ImageUser::parse(image.user.as_deref());
    if app.pod_security == PodSecurity::Restricted
        && let Some(why) = user.refused()
    {
        return Err(DraftError::Root(format!("{}: {why}", image.reference)));
    }
    let offered = ReleaseImage {
        reference: image.resolved.clone(),
        external: true,
        pull_secret_ref: image.pull_secret_ref.clone(),
        user_id: None,
    };
    Ok(Offer {
        image: offered,
        processes: Offered::Image,
        app_json: AppJson::default(),
        port: image.port,
    })
}

fn unknown(what: &str, name: &str, known: String) -> DraftError {
    FormationError::Unknown {
        what: what.to_owned(),
        name: name.to_owned(),
        known,
    }
    .into()
}

/// Says which port `web` is probed on, if neither the App nor the exposed ports of the image determine it.
fn guessed(image: &ImageRevision, port: i32) -> String {
    let exposes = match image.exposed_ports.as_deref() {
        // Then an older operator made the Revision.
        None => "does not expose exactly one port".to_owned(),
        Some([]) => "exposes no TCP port".to_owned(),
        Some([ports @ .., last]) => {
            let ports: Vec<String> = ports.iter().map(i32::to_string).collect();
            format!("exposes {} and {last}", ports.join(", "))
        }
    };
    let (own, kept) = match image.env_port {
        None => (String::new(), ""),
        Some(own) if own == port => (format!(" and sets PORT to {own}"), ""),
        Some(own) => (
            format!(" and sets PORT to {own}"),
            ", as its last release is",
        ),
    };
    format!(
        "the image {exposes}{own}: {WEB} is asked on {port}{kept}, which it finds in $PORT; spec.port names another"
    )
}

/// Which commands of a process run without the image's entrypoint.
fn without_entrypoint(name: &str, process: &ReleaseProcess) -> Vec<String> {
    let command = process.command.is_some().then(|| {
        format!(
            "{name}: the command runs in place of the image's ENTRYPOINT; begin it with that where it needs what that does first"
        )
    });
    let checks = process.checks.iter();
    let check = checks
        .map(checks::kind)
        .any(|kind| kind == checks::Kind::Command);
    let check = check
        .then(|| format!("{name}: the command of a check runs without the image's ENTRYPOINT"));
    command.into_iter().chain(check).collect()
}

/// Notes about processes that are stopped before the next Release starts, and why.
fn replaced<'a>(
    volumes: &[ReleaseVolume],
    processes: impl Iterator<Item = &'a String>,
) -> Vec<String> {
    processes
        .filter_map(|process| {
            let volume = volumes.iter().find(|volume| {
                volume.single_node
                    && (volume.processes.is_empty() || volume.processes.contains(process))
            })?;
            Some(format!(
                "{process} is stopped before its next release starts, because one node at a time may mount storage {}",
                volume.name
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{names, told_apart};

    #[test]
    fn two_processes_never_have_one_deployment() {
        let long = "send-weekly-report-mails-to-everybody-who-has-asked-for-them".to_owned();
        let hashed = names::deployment("hello", &long);
        let other = hashed.strip_prefix("hello-").unwrap().to_owned();
        let web = "web".to_owned();
        told_apart("hello", [&web, &long].into_iter()).unwrap();
        let error = told_apart("hello", [&web, &long, &other].into_iter()).unwrap_err();
        assert!(error.to_string().contains("the same Deployment"), "{error}");
    }
}
