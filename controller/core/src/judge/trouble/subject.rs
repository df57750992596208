//! A pod with its context: its conditions, and the nodes' Events about it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod, PodCondition};
use kube::ResourceExt as _;
use slipway_crds::{conditions::Reason, labels};

use crate::judge::{
    seen::Seen,
    trouble::found::{Container, Trouble, quoted},
};

/// A pod with its context.
pub(super) struct Subject<'a> {
    pub(super) seen: &'a Seen<'a>,
    pub(super) pod: &'a Pod,
}

impl Subject<'_> {
    pub(super) fn process(&self) -> String {
        self.pod
            .labels()
            .get(labels::PROCESS)
            .cloned()
            .unwrap_or_default()
    }

    pub(super) fn condition(&self, r#type: &str) -> Option<&PodCondition> {
        self.pod
            .status
            .as_ref()?
            .conditions
            .as_ref()?
            .iter()
            .find(|condition| condition.type_ == r#type)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|c| c.status == "True")
    }

    /// How long the node has reported a failure of `container` for which `so` is true: since the first such Event.
    /// Without one, zero; then only the deadline ends the wait.
    pub(super) fn lasted(
        &self,
        container: &ContainerStatus,
        so: impl Fn(&str) -> bool,
    ) -> SignedDuration {
        self.events_of(container, "Failed")
            .filter(|event| event.message.as_deref().is_some_and(&so))
            .filter_map(first)
            .min()
            .map_or(SignedDuration::ZERO, |since| {
                self.seen.now.duration_since(since)
            })
    }

    pub(super) fn trouble(
        &self,
        reason: Reason,
        text: &str,
        container: Option<&ContainerStatus>,
    ) -> Trouble {
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

    /// One line of the App's output, without secrets.
    pub(super) fn words(&self, text: &str) -> String {
        match self.seen.secrets.taken_out(text) {
            Some(text) => quoted(&text),
            None => {
                "not shown, for the Secret that tells what is confidential in it is gone".to_owned()
            }
        }
    }

    pub(super) fn unscheduled(&self) -> Option<Trouble> {
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

    /// Any other warning of the node, such as a volume that cannot be mounted.
    pub(super) fn warned(&self) -> Option<Trouble> {
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

    /// Events with a reason about `container`.
    pub(super) fn events_of(
        &self,
        container: &ContainerStatus,
        reason: &str,
    ) -> impl Iterator<Item = &Event> {
        let place = format!("{{{}}}", container.name);
        self.events()
            .filter(move |event| event.reason.as_deref() == Some(reason))
            .filter(move |event| {
                let path = event.involved_object.field_path.as_deref();
                path.is_some_and(|path| path.ends_with(&place))
            })
    }

    /// The newest message of a reason that contains `part`.
    pub(super) fn last(
        &self,
        container: &ContainerStatus,
        reason: &str,
        part: &str,
    ) -> Option<String> {
        self.events_of(container, reason)
            .filter(|event| event.message.as_deref().is_some_and(|m| m.contains(part)))
            .max_by_key(|event| at(event))
            .and_then(|event| event.message.clone())
    }
}

fn has_ended(container: &ContainerStatus) -> bool {
    container
        .state
        .as_ref()
        .is_some_and(|state| state.terminated.is_some())
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
