//! A pod that is not ready → what is wrong with it, whether that can pass by itself, and what to do. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ContainerStateTerminated, ContainerStatus, Event, Pod},
};
use kube::ResourceExt as _;
use slipway_crds::{
    conditions::Reason,
    labels,
    v1alpha1::{Check, CheckType, Release},
};

use crate::controllers::release::seen::Seen;
use slipway_core::{
    desired::PROGRAMS,
    domain::{
        app::DEPLOY,
        checks::{Kind, asked, kind},
    },
};

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Reason, as in conditions.
    pub(crate) reason: Reason,
    /// What happened, to what, and what to do.
    pub(crate) message: String,
    /// The process.
    pub(crate) process: Option<String>,
    /// Whose log may tell more.
    pub(crate) container: Option<Container>,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    /// The pod.
    pub(crate) pod: String,
    /// The container.
    pub(crate) name: String,
    /// Whether the log of its last run is meant, and not that of the present one.
    pub(crate) previous: bool,
}

/// What is found out about one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// It does not pass by itself.
    pub(crate) certain: Option<Trouble>,
    /// It may pass; said when the time is over.
    pub(crate) likely: Option<Trouble>,
}

impl Found {
    fn certainly(trouble: Trouble) -> Self {
        Self {
            likely: Some(trouble.clone()),
            certain: Some(trouble),
        }
    }

    fn perhaps(trouble: Trouble) -> Self {
        Self {
            likely: Some(trouble),
            certain: None,
        }
    }

    fn certainly_if(certain: bool, trouble: Trouble) -> Self {
        if certain {
            Self::certainly(trouble)
        } else {
            Self::perhaps(trouble)
        }
    }
}

/// For how long a registry may say that there is no such image: what was pushed a moment ago may not be everywhere yet.
/// These times run from the first complaint, not from when the pod was made. For a registry that is away, or lets nobody
/// in while its password is being changed, there is all the time that the Release has.
const MISSING_GRACE: SignedDuration = SignedDuration::from_secs(10);
/// For how long a Secret or a volume may be on its way to the node.
const CREATE_GRACE: SignedDuration = SignedDuration::from_secs(30);
/// Restarts after which it does not matter that the container runs just now.
const RESTARTS: i32 = 3;
/// Longest part of a message that somebody else wrote.
const QUOTED: usize = 400;

/// What is wrong with `pod`, if it is not ready.
pub(crate) fn of_pod(seen: &Seen<'_>, pod: &Pod) -> Found {
    let subject = Subject { seen, pod };
    if subject.is_ready() {
        return Found::default();
    }
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_deref());
    let main = status.and_then(|s| s.container_statuses.as_deref());
    // An init container that has done its work has no trouble, and no last words.
    let init = init.into_iter().flatten().filter(|c| !has_succeeded(c));
    for container in init.chain(main.into_iter().flatten()) {
        if let Some(found) = subject.of_container(container) {
            return found;
        }
    }
    subject
        .unscheduled()
        .or_else(|| subject.probe_failed())
        .or_else(|| subject.warned())
        .map(Found::perhaps)
        .unwrap_or_default()
}

/// A pod, and what is known around it.
struct Subject<'a> {
    seen: &'a Seen<'a>,
    pod: &'a Pod,
}

impl Subject<'_> {
    fn process(&self) -> String {
        self.pod
            .labels()
            .get(labels::PROCESS)
            .cloned()
            .unwrap_or_default()
    }

    fn condition(&self, r#type: &str) -> Option<&k8s_openapi::api::core::v1::PodCondition> {
        self.pod
            .status
            .as_ref()?
            .conditions
            .as_ref()?
            .iter()
            .find(|condition| condition.type_ == r#type)
    }

    fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|c| c.status == "True")
    }

    /// For how long the node has failed `container` so: since it first said it. Where it has not, no time is over; the
    /// deadline has the last word.
    fn lasted(&self, container: &ContainerStatus, so: impl Fn(&str) -> bool) -> SignedDuration {
        self.events_of(container, "Failed")
            .filter(|event| event.message.as_deref().is_some_and(&so))
            .filter_map(first)
            .min()
            .map_or(SignedDuration::ZERO, |since| {
                self.seen.now.duration_since(since)
            })
    }

    fn trouble(&self, reason: Reason, text: &str, container: Option<&ContainerStatus>) -> Trouble {
        Trouble {
            reason,
            message: format!("{}: {text}", self.process()),
            process: Some(self.process()),
            container: container.map(|container| Container {
                pod: self.pod.name_any(),
                name: container.name.clone(),
                previous: container.restart_count > 0 && !has_ended(container),
            }),
        }
    }

    fn of_container(&self, container: &ContainerStatus) -> Option<Found> {
        let waiting = container.state.as_ref().and_then(|s| s.waiting.as_ref());
        let why = waiting
            .and_then(|w| w.reason.as_deref())
            .unwrap_or_default();
        let said = waiting.and_then(|w| w.message.clone()).unwrap_or_default();
        match why {
            "InvalidImageName" => {
                Some(Found::certainly(self.not_pulled(container, &quoted(&said))))
            }
            "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "RegistryUnavailable" => {
                // A back-off says less than the error before it.
                let said = self
                    .last(container, "Failed", "Failed to pull")
                    .unwrap_or(said);
                let said = last_causes(&said);
                if !is_missing(&said) {
                    let trouble = self.not_pulled(container, &said);
                    return Some(Found::perhaps(Trouble {
                        reason: Reason::RegistryUnavailable,
                        ..trouble
                    }));
                }
                let lasted = self.lasted(container, |message| {
                    message.contains("Failed to pull") && is_missing(message)
                });
                Some(Found::certainly_if(
                    lasted >= MISSING_GRACE,
                    self.not_pulled(container, &said),
                ))
            }
            "CreateContainerConfigError" if said.contains("runAsNonRoot") => {
                Some(Found::certainly(self.root(&said)))
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                let text = format!("its container cannot be created: {}", quoted(&said));
                // That its image could not be pulled is said in the same way, and was another trouble.
                let lasted = self.lasted(container, |message| {
                    message.starts_with("Error: ") && !message.contains("ImagePull")
                });
                Some(Found::certainly_if(
                    lasted >= CREATE_GRACE,
                    self.trouble(Reason::ContainerFailed, &text, None),
                ))
            }
            _ => self.ended(container, why == "CrashLoopBackOff"),
        }
    }

    fn not_pulled(&self, container: &ContainerStatus, said: &str) -> Trouble {
        let image = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| {
                let init = spec.init_containers.iter().flatten();
                let mut all = spec.containers.iter().chain(init);
                all.find(|c| c.name == container.name)?.image.clone()
            })
            .unwrap_or_else(|| container.image.clone());
        let text = format!(
            "the image {image} cannot be pulled: {said}. See that it exists, that the nodes reach its registry, and that the pull secret is right"
        );
        self.trouble(Reason::ImagePullFailed, &text, None)
    }

    fn root(&self, said: &str) -> Trouble {
        let why = if said.contains("non-numeric") {
            "the image names its user by name, so that nobody can tell whether it is root"
        } else {
            "the image wants to run as root, which Pod Security \"restricted\" forbids"
        };
        let text = format!(
            "{why}: build it with a numeric USER other than 0, or allow it with spec.podSecurity: Baseline"
        );
        self.trouble(Reason::RootRequired, &text, None)
    }

    /// A container that has ended, or has been restarted.
    fn ended(&self, container: &ContainerStatus, backing_off: bool) -> Option<Found> {
        let state = container.state.as_ref();
        let last = container
            .last_state
            .as_ref()
            .and_then(|s| s.terminated.as_ref());
        let now = state.and_then(|s| s.terminated.as_ref());
        let terminated = now.or(last);
        if terminated.is_some_and(|t| t.reason.as_deref() == Some("OOMKilled")) {
            let process = self.process();
            let text = match self.memory_limit(container) {
                Some(limit) => format!(
                    "killed for want of memory: the limit is {limit}; raise spec.processes.{process}.resources.limits.memory"
                ),
                None => format!(
                    "killed for want of memory: its node has none left; tell with spec.processes.{process}.resources.requests.memory what it needs"
                ),
            };
            return Some(Found::certainly(self.trouble(
                Reason::OutOfMemory,
                &text,
                Some(container),
            )));
        }
        // The kubelet says so before it ends the container.
        if self.was_ended_for(container, CheckType::Startup) {
            return Some(Found::certainly(
                self.check_failed(CheckType::Startup, container),
            ));
        }
        let terminated = terminated?;
        if terminated.exit_code == 0 && container.name == PROGRAMS {
            return None;
        }
        let certain = backing_off || container.restart_count >= RESTARTS;
        if self.was_ended_for(container, CheckType::Liveness) {
            return Some(Found::certainly_if(
                certain,
                self.check_failed(CheckType::Liveness, container),
            ));
        }
        let text = if container.name == PROGRAMS {
            format!(
                "the programs that run its checks and commands cannot be put into the pod: {}",
                self.how(terminated)
            )
        } else {
            format!(
                "its container {}{}; a process has to stay",
                self.how(terminated),
                if certain {
                    ", and again when it was started anew"
                } else {
                    ""
                }
            )
        };
        Some(Found::certainly_if(
            certain,
            self.trouble(Reason::CrashLoop, &text, Some(container)),
        ))
    }

    /// The last probe that failed, of a container that runs.
    fn probe_failed(&self) -> Option<Trouble> {
        let process = self.process();
        let mut containers = self
            .pod
            .status
            .as_ref()?
            .container_statuses
            .iter()
            .flatten();
        let container = containers.find(|container| container.name == process)?;
        [
            CheckType::Startup,
            CheckType::Readiness,
            CheckType::Liveness,
        ]
        .into_iter()
        .find(|r#type| self.came_back(*r#type, container).is_some())
        .map(|r#type| self.check_failed(r#type, container))
    }

    /// The limit under which it was killed, if it had one.
    fn memory_limit(&self, container: &ContainerStatus) -> Option<String> {
        let mut containers = self.pod.spec.as_ref()?.containers.iter();
        let of_it = containers.find(|c| c.name == container.name)?;
        let limits = of_it.resources.as_ref()?.limits.as_ref()?;
        limits.get("memory").map(|limit| limit.0.clone())
    }

    fn was_ended_for(&self, container: &ContainerStatus, r#type: CheckType) -> bool {
        let why = format!("failed {} probe", word(r#type));
        self.last(container, "Killing", &why).is_some()
    }

    fn check_failed(&self, r#type: CheckType, container: &ContainerStatus) -> Trouble {
        let of = |r#type| checks(self.seen.release, &self.process(), r#type);
        let (checks, failed) = match of(r#type) {
            // Without a startup check, a process has started once its liveness checks pass.
            none if none.is_empty() && r#type == CheckType::Startup => (
                of(CheckType::Liveness),
                "its liveness check has not passed once since it was started".to_owned(),
            ),
            checks => (checks, format!("its {} check failed", word(r#type))),
        };
        let asked: Vec<String> = checks.iter().map(|check| asked(check)).collect();
        let answer = self
            .came_back(r#type, container)
            .unwrap_or_else(|| "no answer that the node recorded".to_owned());
        let release = self.seen.release;
        let listens = checks.iter().any(|check| kind(check) == Kind::Listening);
        let advice = if listens && release.spec.image.external {
            format!(
                ". Name the port that the image listens on in spec.port: {} is asked now, on 0.0.0.0",
                release.spec.port
            )
        } else if listens {
            ". Listen on 0.0.0.0, at the port in $PORT".to_owned()
        } else {
            String::new()
        };
        let text = format!(
            "{failed}. Asked for: {}. Came back: {answer}{advice}",
            asked.join(", and ")
        );
        self.trouble(Reason::ChecksFailed, &text, Some(container))
    }

    fn came_back(&self, r#type: CheckType, container: &ContainerStatus) -> Option<String> {
        let begin = match r#type {
            CheckType::Startup => "Startup probe",
            CheckType::Readiness => "Readiness probe",
            CheckType::Liveness => "Liveness probe",
        };
        let said = self.last(container, "Unhealthy", begin)?;
        let answer = said
            .split_once(": ")
            .map_or(said.as_str(), |(_, answer)| answer);
        Some(self.words(answer)).filter(|answer| !answer.is_empty())
    }

    fn how(&self, terminated: &ContainerStateTerminated) -> String {
        let said = terminated
            .message
            .as_deref()
            .map(|message| format!(" ({})", self.words(message)))
            .unwrap_or_default();
        match terminated.signal {
            Some(signal) if signal > 0 => format!("was ended by signal {signal}{said}"),
            _ => format!("ended with code {}{said}", terminated.exit_code),
        }
    }

    /// One line of what the App said, without secrets.
    fn words(&self, text: &str) -> String {
        match self.seen.secrets.taken_out(text) {
            Some(text) => quoted(&text),
            None => {
                "not shown, for the Secret that tells what is confidential in it is gone".to_owned()
            }
        }
    }

    fn unscheduled(&self) -> Option<Trouble> {
        let condition = self
            .condition("PodScheduled")
            .filter(|c| c.status == "False")?;
        let said = quoted(condition.message.as_deref().unwrap_or_default());
        let (reason, text) = if said.contains("PersistentVolumeClaim") {
            (
                Reason::StoragePending,
                format!("its volume is not there: {said}. See `kubectl describe pvc`"),
            )
        } else {
            (
                Reason::Unschedulable,
                format!("no node can take it: {said}. Ask for less, or add a node"),
            )
        };
        Some(self.trouble(reason, &text, None))
    }

    /// Whatever else the node complains of, such as a volume that cannot be mounted.
    fn warned(&self) -> Option<Trouble> {
        let event = self
            .events()
            .filter(|event| event.type_.as_deref() == Some("Warning"))
            .filter(|event| event.reason.as_deref() != Some("Unhealthy"))
            .max_by_key(|event| at(event))?;
        let text = format!(
            "its container cannot be created: {}: {}",
            event.reason.as_deref().unwrap_or_default(),
            quoted(event.message.as_deref().unwrap_or_default())
        );
        Some(self.trouble(Reason::ContainerFailed, &text, None))
    }

    fn events(&self) -> impl Iterator<Item = &Event> {
        self.seen
            .events
            .iter()
            .filter(|event| event.involved_object.uid == self.pod.metadata.uid)
    }

    /// Those of a reason about `container`.
    fn events_of(&self, container: &ContainerStatus, reason: &str) -> impl Iterator<Item = &Event> {
        let place = format!("{{{}}}", container.name);
        self.events()
            .filter(move |event| event.reason.as_deref() == Some(reason))
            .filter(move |event| {
                let path = event.involved_object.field_path.as_deref();
                path.is_some_and(|path| path.ends_with(&place))
            })
    }

    /// The newest message of a reason that has `part` in it.
    fn last(&self, container: &ContainerStatus, reason: &str, part: &str) -> Option<String> {
        self.events_of(container, reason)
            .filter(|event| event.message.as_deref().is_some_and(|m| m.contains(part)))
            .max_by_key(|event| at(event))
            .and_then(|event| event.message.clone())
    }
}

const fn word(r#type: CheckType) -> &'static str {
    match r#type {
        CheckType::Startup => "startup",
        CheckType::Readiness => "readiness",
        CheckType::Liveness => "liveness",
    }
}

fn has_succeeded(container: &ContainerStatus) -> bool {
    let terminated = container
        .state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    terminated.is_some_and(|terminated| terminated.exit_code == 0)
}

fn has_ended(container: &ContainerStatus) -> bool {
    container
        .state
        .as_ref()
        .is_some_and(|state| state.terminated.is_some())
}

fn checks<'a>(release: &'a Release, process: &str, r#type: CheckType) -> Vec<&'a Check> {
    release
        .spec
        .processes
        .get(process)
        .into_iter()
        .flat_map(|process| &process.checks)
        .filter(|check| check.r#type == r#type && kind(check) != Kind::Uptime)
        .collect()
}

fn first(event: &Event) -> Option<Timestamp> {
    let first = event.first_timestamp.as_ref().map(|time| time.0);
    first.or_else(|| event.event_time.as_ref().map(|time| time.0))
}

fn at(event: &Event) -> Option<Timestamp> {
    let series = event
        .series
        .as_ref()
        .and_then(|s| s.last_observed_time.as_ref());
    series
        .map(|time| time.0)
        .or_else(|| event.last_timestamp.as_ref().map(|time| time.0))
        .or_else(|| event.event_time.as_ref().map(|time| time.0))
}

/// The end of a chain of causes, which says what happened; what is before it repeats the image's name.
fn last_causes(said: &str) -> String {
    let causes: Vec<&str> = said.split(": ").collect();
    let last = causes
        .get(causes.len().saturating_sub(2)..)
        .unwrap_or_default();
    quoted(&last.join(": "))
}

/// Whether a registry knows no such image. A runtime says "does not exist or may require authorization" of a registry
/// that did not let it in, which is another thing.
fn is_missing(said: &str) -> bool {
    let said = said.to_lowercase();
    ["not found", "manifest unknown", "name unknown"]
        .iter()
        .any(|word| said.contains(word))
}

/// One line of somebody else's text, not too long.
fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    slipway_k8s::conditions::bounded(line, QUOTED)
}

/// Pods that the API server will never let in.
pub(crate) fn refused(deployment: &Deployment) -> Option<Trouble> {
    not_created(deployment)
        .filter(|trouble| trouble.message.contains("violates PodSecurity"))
        .map(|trouble| Trouble {
            message: format!(
                "{}. The namespace does not allow what spec.podSecurity asks for",
                trouble.message
            ),
            ..trouble
        })
}

/// Pods that were not made.
pub(crate) fn not_created(deployment: &Deployment) -> Option<Trouble> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions
        .iter()
        .find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    let process = deployment.labels().get(labels::PROCESS).cloned();
    Some(Trouble {
        reason: Reason::ContainerFailed,
        message: format!(
            "{}: its pods cannot be made: {}",
            process.clone().unwrap_or_default(),
            quoted(failure.message.as_deref().unwrap_or_default())
        ),
        process,
        container: None,
    })
}

/// What is said when the time is over.
pub(crate) fn at_the_deadline(
    release: &Release,
    explained: Option<Trouble>,
    progress: &str,
) -> Trouble {
    let limit = release.spec.deadlines.deploy.unwrap_or(DEPLOY);
    match explained {
        Some(trouble) => Trouble {
            message: format!("{} (given up after {limit})", trouble.message),
            ..trouble
        },
        None => Trouble {
            reason: Reason::DeadlineExceeded,
            message: format!(
                "only {progress} after {limit}: give it longer with spec.deadlines.deploy, or see why it is slow with `kubectl logs`"
            ),
            process: None,
            container: None,
        },
    }
}
