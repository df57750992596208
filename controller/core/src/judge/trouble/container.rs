//! A container that waits, has ended, or was restarted → what is wrong with it.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus};
use slipway_crds::{conditions::Reason, v1alpha1::CheckType};

use crate::{
    desired::PROGRAMS,
    judge::trouble::{
        found::{Found, Trouble, quoted},
        subject::Subject,
    },
};

/// How long a registry may say that an image does not exist: an image that was just pushed may not be everywhere yet.
/// These times count from the first complaint, not from the pod's creation. A registry that is unavailable, or refuses
/// access while its password is being changed, gets all the time that the Release has.
const MISSING_GRACE: SignedDuration = SignedDuration::from_secs(10);
/// How long a Secret or a volume may take to reach the node.
const CREATE_GRACE: SignedDuration = SignedDuration::from_secs(30);
/// Restarts after which it does not matter that the container is running at the moment.
const RESTARTS: i32 = 3;
impl Subject<'_> {
    pub(super) fn of_container(&self, container: &ContainerStatus) -> Option<Found> {
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
                // The message of a back-off says less than the error before it.
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
                // The node words a failed pull the same way, but that is another trouble.
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
            return Some(Found::certainly(self.out_of_memory(container)));
        }
        // The kubelet emits this Event before it ends the container.
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

    fn out_of_memory(&self, container: &ContainerStatus) -> Trouble {
        let process = self.process();
        let text = match self.memory_limit(container) {
            Some(limit) => format!(
                "killed for want of memory: the limit is {limit}; raise spec.processes.{process}.resources.limits.memory"
            ),
            None => format!(
                "killed for want of memory: its node has none left; tell with spec.processes.{process}.resources.requests.memory what it needs"
            ),
        };
        self.trouble(Reason::OutOfMemory, &text, Some(container))
    }

    /// The memory limit of a container that was killed for want of memory, if it had one.
    fn memory_limit(&self, container: &ContainerStatus) -> Option<String> {
        let mut containers = self.pod.spec.as_ref()?.containers.iter();
        let of_it = containers.find(|c| c.name == container.name)?;
        let limits = of_it.resources.as_ref()?.limits.as_ref()?;
        limits.get("memory").map(|limit| limit.0.clone())
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
}

/// The end of a chain of causes, which says what happened; the part before it repeats the image's name.
fn last_causes(said: &str) -> String {
    let causes: Vec<&str> = said.split(": ").collect();
    let last = causes
        .get(causes.len().saturating_sub(2)..)
        .unwrap_or_default();
    quoted(&last.join(": "))
}

/// Whether the registry says that the image does not exist. "does not exist or may require authorization" is another
/// case: a runtime says so if the registry refused access.
fn is_missing(said: &str) -> bool {
    let said = said.to_lowercase();
    ["not found", "manifest unknown", "name unknown"]
        .iter()
        .any(|word| said.contains(word))
}
