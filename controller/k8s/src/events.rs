//! What a user has to know → Events. The process has one publisher.
//!
//! The same note about the same object is written at most once in ten minutes. An Event that cannot be written is
//! logged and never fails a reconcile.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use slipway_crds::conditions::Reason;

use crate::answer;
use crate::clock::Clock;
use slipway_base::text::{self, bounded};

pub use kube::runtime::events::EventType;

/// `reportingController` of each Event.
const REPORTER: &str = "slipway.dev/operator";
/// Most bytes of a note; the API server accepts 1024.
const NOTE: usize = 1000;
/// For how long the same Event is not written again.
const QUIET: SignedDuration = SignedDuration::from_mins(10);
/// Longest time to write an Event.
const DEADLINE: Duration = Duration::from_secs(5);

/// Writes Events. Clones share the record of Events already written.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    instance: String,
    clock: Clock,
    written: Arc<Mutex<Written>>,
}

/// The Events written in the last [`QUIET`], by [`key`], and the order in which they were written.
#[derive(Debug, Default)]
struct Written {
    keys: HashSet<u64>,
    order: VecDeque<(Timestamp, u64)>,
}

impl Written {
    /// Notes an Event. Returns whether it is news.
    fn add(&mut self, key: u64, now: Timestamp) -> bool {
        while let Some((at, old)) = self.order.front().copied()
            && now.duration_since(at) >= QUIET
        {
            self.order.pop_front();
            self.keys.remove(&old);
        }
        let is_news = self.keys.insert(key);
        if is_news {
            self.order.push_back((now, key));
        }
        is_news
    }

    /// It was not written after all.
    fn take_back(&mut self, key: u64) {
        if self.keys.remove(&key) {
            self.order.retain(|(_, other)| *other != key);
        }
    }
}

impl Publisher {
    /// `instance` tells the operator's replicas apart.
    pub fn new(client: Client, instance: String, clock: Clock) -> Self {
        Self {
            client,
            instance,
            clock,
            written: Arc::default(),
        }
    }

    /// Writes an Event about `object`, unless the same was written a short while ago.
    pub async fn publish(
        &self,
        object: &ObjectReference,
        kind: EventType,
        reason: Reason,
        action: &str,
        note: &str,
    ) {
        let now = (self.clock)();
        let event = event(object, kind, reason, action, note, &self.instance, now);
        let key = key(&event);
        if !self.lock().add(key, now) {
            return;
        }
        let namespace = object.namespace.as_deref().unwrap_or("default");
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams::default();
        let written =
            tokio::time::timeout(DEADLINE, answer::create(&events, &params, &event)).await;
        let problem = match written {
            Ok(Ok(_)) => return,
            Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.lock().take_back(key);
        tracing::warn!(reason = reason.as_str(), problem, "cannot write an Event");
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event(
    object: &ObjectReference,
    kind: EventType,
    reason: Reason,
    action: &str,
    note: &str,
    instance: &str,
    now: Timestamp,
) -> Event {
    let name = object.name.as_deref().unwrap_or("slipway");
    let kind = match kind {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    };
    let mut event = Event {
        action: Some(bounded(action.to_owned(), 128)),
        reason: Some(reason.as_str().to_owned()),
        type_: Some(kind.to_owned()),
        note: Some(text::lines(note, NOTE)),
        regarding: Some(ObjectReference {
            resource_version: None,
            ..object.clone()
        }),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(bounded(instance.to_owned(), 128)),
        event_time: Some(MicroTime(now)),
        ..Event::default()
    };
    let content = key(&event);
    event.metadata = ObjectMeta {
        // The hash distinguishes Events of the same moment.
        name: Some(format!(
            "{name}.{:x}{:06x}",
            now.as_nanosecond(),
            content & 0xff_ffff
        )),
        namespace: Some(
            object
                .namespace
                .clone()
                .unwrap_or_else(|| "default".to_owned()),
        ),
        ..ObjectMeta::default()
    };
    event
}

/// Two Events with the same key count as the same.
fn key(event: &Event) -> u64 {
    let mut hasher = DefaultHasher::new();
    let about = event.regarding.as_ref();
    about
        .map(|object| (&object.kind, &object.namespace, &object.name, &object.uid))
        .hash(&mut hasher);
    (&event.type_, &event.reason, &event.action, &event.note).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::{EventType, QUIET, Written, event, key};
    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::ObjectReference;
    use slipway_crds::conditions::Reason;

    fn about(version: &str, note: &str, second: i64) -> k8s_openapi::api::events::v1::Event {
        let object = ObjectReference {
            name: Some("hello".into()),
            namespace: Some("n".into()),
            uid: Some("u".into()),
            resource_version: Some(version.into()),
            ..ObjectReference::default()
        };
        let now = Timestamp::from_second(second).unwrap();
        event(
            &object,
            EventType::Warning,
            Reason::BuildFailed,
            "Build",
            note,
            "pod-1",
            now,
        )
    }

    #[test]
    fn the_same_words_are_the_same_event_whatever_the_version_and_time() {
        assert_eq!(key(&about("1", "a", 1)), key(&about("2", "a", 2)));
        assert_ne!(key(&about("1", "a", 1)), key(&about("1", "b", 1)));
    }

    #[test]
    fn what_was_written_is_news_again_after_a_while_or_if_it_failed() {
        let (mut written, begin) = (Written::default(), Timestamp::UNIX_EPOCH);
        let end = begin + QUIET;
        for (key, at, wanted) in [
            (1, begin, true),
            (2, begin, true),
            (1, begin, false),
            (1, end, true),
            (1, end, false),
        ] {
            assert_eq!(written.add(key, at), wanted, "{key} {at}");
        }
        assert_eq!(written.order.len(), 1);
        written.take_back(1);
        assert!(written.add(1, end) && written.add(2, end));
    }

    #[test]
    fn a_long_note_is_cut_and_names_differ() {
        let long = about("1", &"é".repeat(2000), 1);
        assert!(long.note.as_ref().unwrap().len() <= 1024);
        assert_ne!(long.metadata.name, about("1", "b", 1).metadata.name);
        assert_eq!(long.metadata.namespace.as_deref(), Some("n"));
    }
}
