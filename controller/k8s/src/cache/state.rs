//! The kept objects, by name and by App, and what has changed about each. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    ops::Bound,
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{
    FieldManager,
    cache::{Key, pack::Packed},
};

/// How many deletions are remembered. The answer to a write arrives before there are so many more.
const GONE: usize = 4096;

/// What has changed about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is asked of it, in contrast to its status: its spec, labels, annotations, finalizers, owners, or its
    /// deletion. For a kind without `metadata.generation`, every change.
    pub asked: bool,
    /// Its status, as far as others than `Rules::judge` wrote it.
    pub told: bool,
}

impl Change {
    /// The object no longer exists.
    pub(super) const GONE: Self = Self {
        asked: true,
        told: true,
    };

    /// Every change counts.
    pub const fn any(_: Self) -> bool {
        true
    }

    /// Only [`Change::asked`] counts.
    pub const fn asked(self) -> bool {
        self.asked
    }

    /// All changes but those that `Rules::judge` wrote to the status.
    pub const fn by_others(self) -> bool {
        self.asked || self.told
    }
}

/// An object.
#[derive(Debug)]
pub(super) struct Entry {
    uid: u64,
    version: u64,
    asked: u64,
    told: u64,
    pub(super) whole: bool,
    pub(super) rare: Option<Box<Rare>>,
    pub(super) text: Packed,
}

/// What few objects have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// What it refers to.
    pub(super) refers: Vec<String>,
    /// Why the object cannot be read. The text is then its metadata alone.
    pub(super) error: Option<String>,
}

impl Entry {
    /// An entry without its text.
    pub(super) fn of(meta: &ObjectMeta, judge: Option<FieldManager>) -> Self {
        Self {
            uid: uid(meta),
            version: version(meta),
            asked: asked(meta),
            told: judge.map_or(0, |judge| told_by_others(meta, judge)),
            whole: true,
            rare: None,
            text: Packed::default(),
        }
    }

    fn change(&self, before: Option<&Self>) -> Change {
        Change {
            asked: before.is_none_or(|before| before.asked != self.asked),
            told: before.is_none_or(|before| before.told != self.told),
        }
    }
}

/// Hash of what is asked of an object ([`Change::asked`]).
fn asked(meta: &ObjectMeta) -> u64 {
    let uncounted = meta.generation.is_none().then_some(&meta.resource_version);
    let going = meta.deletion_timestamp.as_ref().map(|at| at.0);
    let owners = meta.owner_references.iter().flatten();
    let owners: Vec<_> = owners.map(|owner| (&owner.uid, owner.controller)).collect();
    let mut hasher = DefaultHasher::new();
    (meta.generation, uncounted, going).hash(&mut hasher);
    (&meta.labels, &meta.annotations, &meta.finalizers, owners).hash(&mut hasher);
    hasher.finish()
}

/// Hash of who, except `judge`, owns fields of an object's status, and when each last wrote.
fn told_by_others(meta: &ObjectMeta, judge: FieldManager) -> u64 {
    let mut hasher = DefaultHasher::new();
    for entry in meta.managed_fields.iter().flatten() {
        let of_status = entry.subresource.as_deref() == Some("status");
        if of_status && entry.manager.as_deref() != Some(judge.as_str()) {
            (&entry.manager, entry.time.as_ref().map(|time| time.0)).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The API server guarantees that versions can be compared as numbers.
fn version(meta: &ObjectMeta) -> u64 {
    let version = meta.resource_version.as_deref();
    version.and_then(|v| v.parse().ok()).unwrap_or_default()
}

pub(super) fn uid(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    hasher.finish()
}

/// Objects of a namespace.
#[derive(Debug, Default)]
struct Namespace {
    by_name: BTreeMap<Arc<str>, (Arc<str>, Arc<Entry>)>,
    /// App, and name of an object that concerns it.
    by_app: BTreeSet<(Arc<str>, Arc<str>)>,
}

/// All objects.
#[derive(Debug, Default)]
pub(super) struct State {
    namespaces: BTreeMap<Arc<str>, Namespace>,
    gone: Gone,
}

/// Objects that are gone, and the last known version of each.
#[derive(Debug, Default)]
struct Gone {
    versions: BTreeMap<u64, u64>,
    order: VecDeque<u64>,
}

impl Gone {
    fn remember(&mut self, uid: u64, version: u64) {
        if self.versions.insert(uid, version).is_none() {
            self.order.push_back(uid);
        }
        if self.order.len() > GONE
            && let Some(first) = self.order.pop_front()
        {
            self.versions.remove(&first);
        }
    }

    /// Whether `entry` is no newer than the version in which its object was deleted or lost our labels.
    fn is_before(&self, entry: &Entry) -> bool {
        let version = self.versions.get(&entry.uid);
        version.is_some_and(|version| entry.version <= *version)
    }
}

impl State {
    /// Puts an object in, unless a version as new is kept. Returns the Apps that the change concerns.
    pub(super) fn put(
        &mut self,
        namespace: &str,
        name: &str,
        app: &str,
        entry: Entry,
    ) -> Vec<(Key, Change)> {
        if self.gone.is_before(&entry) {
            return Vec::new();
        }
        let known = self.namespaces.get_key_value(namespace);
        let space = known.map_or_else(|| namespace.into(), |(space, _)| Arc::clone(space));
        let of = self.namespaces.entry(Arc::clone(&space)).or_default();
        let mut seen = Vec::new();
        let before = of.by_name.get_key_value(name);
        let (name, app) = match before {
            Some((_, (_, before))) if before.version >= entry.version && entry.version > 0 => {
                return seen;
            }
            Some((known, (was, _))) if **was == *app => (Arc::clone(known), Arc::clone(was)),
            Some((known, (was, _))) => {
                seen.push(((Arc::clone(&space), Arc::clone(was)), Change::GONE));
                of.by_app.remove(&(Arc::clone(was), Arc::clone(known)));
                (Arc::clone(known), app.into())
            }
            // One shared string, if they are the same.
            None if name == app => {
                let name: Arc<str> = name.into();
                (Arc::clone(&name), name)
            }
            None => (name.into(), app.into()),
        };
        let before = before.map(|(_, (_, entry))| Arc::clone(entry));
        let before = before.filter(|before| before.uid == entry.uid);
        let change = entry.change(before.as_deref());
        of.by_app.insert((Arc::clone(&app), Arc::clone(&name)));
        of.by_name.insert(name, (Arc::clone(&app), Arc::new(entry)));
        seen.push(((space, app), change));
        seen
    }

    /// Removes the object, unless the kept one has another UID or is newer. Returns the App that it concerned.
    pub(super) fn remove(&mut self, namespace: &str, name: &str, last: &Entry) -> Option<Key> {
        self.gone.remember(last.uid, last.version);
        let (space, _) = self.namespaces.get_key_value(namespace)?;
        let space = Arc::clone(space);
        let of = self.namespaces.get_mut(namespace)?;
        let is_it = |there: &Entry| there.uid == last.uid && there.version <= last.version;
        of.by_name.get(name).filter(|(_, there)| is_it(there))?;
        let (name, (app, _)) = of.by_name.remove_entry(name)?;
        of.by_app.remove(&(Arc::clone(&app), name));
        Some((space, app))
    }

    /// Removes the objects that a list of one namespace, or of all, did not have, unless they are newer than the list.
    /// Returns the namespace and name of each, and the App that it concerned.
    pub(super) fn keep_only(
        &mut self,
        within: Option<&str>,
        listed: &BTreeSet<u64>,
        version: &str,
    ) -> Vec<(ObjectMeta, Key)> {
        let version: u64 = version.parse().unwrap_or(u64::MAX);
        let mut lost = Vec::new();
        for (space, of) in &mut self.namespaces {
            if within.is_some_and(|within| within != &**space) {
                continue;
            }
            let by_app = &mut of.by_app;
            of.by_name.retain(|name, (app, entry)| {
                let stays = listed.contains(&entry.uid) || entry.version > version;
                if !stays {
                    by_app.remove(&(Arc::clone(app), Arc::clone(name)));
                    let meta = ObjectMeta {
                        namespace: Some(space.to_string()),
                        name: Some(name.to_string()),
                        ..ObjectMeta::default()
                    };
                    lost.push((meta, (Arc::clone(space), Arc::clone(app))));
                }
                stays
            });
        }
        lost
    }

    /// Whether exactly this version of the object is kept.
    pub(super) fn has(&self, namespace: &str, name: &str, meta: &ObjectMeta) -> bool {
        let kept = self.namespaces.get(namespace);
        let kept = kept.and_then(|of| of.by_name.get(name));
        let version = version(meta);
        kept.is_some_and(|(_, entry)| entry.version == version && version > 0)
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        let (_, entry) = self.namespaces.get(namespace)?.by_name.get(name)?;
        Some(Arc::clone(entry))
    }

    pub(super) fn of_app(&self, namespace: &str, app: &str) -> Vec<Arc<Entry>> {
        let Some(of) = self.namespaces.get(namespace) else {
            return Vec::new();
        };
        let app: Arc<str> = app.into();
        let from = (Arc::clone(&app), Arc::from(""));
        of.by_app
            .range((Bound::Included(from), Bound::Unbounded))
            .take_while(|(of, _)| *of == app)
            .filter_map(|(_, name)| of.by_name.get(name))
            .map(|(_, entry)| Arc::clone(entry))
            .collect()
    }

    /// The objects, in one namespace or in all, that refer to this.
    pub(super) fn referring(&self, namespace: Option<&str>, reference: &str) -> Vec<Key> {
        let is_here = |space: &Arc<str>| namespace.is_none_or(|namespace| *namespace == **space);
        let refers = |entry: &Entry| {
            let rare = entry.rare.as_ref();
            rare.is_some_and(|rare| rare.refers.iter().any(|to| *to == reference))
        };
        let spaces = self.namespaces.iter().filter(|(space, _)| is_here(space));
        let objects = spaces.flat_map(|(space, of)| of.by_name.iter().map(move |it| (space, it)));
        objects
            .filter(|(_, (_, (_, entry)))| refers(entry))
            .map(|(space, (name, _))| (Arc::clone(space), Arc::clone(name)))
            .collect()
    }

    pub(super) fn names(&self) -> Vec<Key> {
        let spaces = self.namespaces.iter();
        let names = spaces.flat_map(|(space, of)| of.by_name.keys().map(move |name| (space, name)));
        names
            .map(|(space, name)| (Arc::clone(space), Arc::clone(name)))
            .collect()
    }

    /// How many bytes of text are kept.
    pub(super) fn bytes(&self) -> usize {
        let entries = self.namespaces.values().flat_map(|of| of.by_name.values());
        entries.map(|(_, entry)| entry.text.bytes()).sum()
    }
}
