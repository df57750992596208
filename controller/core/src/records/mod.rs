//! Revisions, Builds and Releases as they are found → those that count. Pure.
//!
//! ```text
//! found ─┬─▶ records      an App of that name and UID controls them, and they name nothing of anybody else
//!        ├─▶ strange      somebody else made or changed them: nothing is done for them, and it is told
//!        └─▶ unreadable   a newer operator's, or damaged: told, and the others are gone on with
//! ```
//!
//! Whoever may create records in a namespace can write anything into them, with the operator's labels. The operator has
//! an account of the registry that reads everybody's images, so a record is believed no further than its own App's
//! repository.

mod named;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource as _, ResourceExt as _, core::DeserializeGuard};
use slipway_base::text;
use slipway_crds::{GROUP, v1alpha1::App};

pub use named::{Record, Strange};

use crate::{
    domain::repository::Repositories,
    records::named::{SHOWN, shown},
};

/// Name and UID of the App that controls an object.
pub fn owner(meta: &ObjectMeta) -> Option<(&str, &str)> {
    let controller = meta.owner_references.iter().flatten();
    controller
        .filter(|owner| owner.controller == Some(true) && owner.kind == App::kind(&()))
        .filter(|owner| {
            let group = owner.api_version.split_once('/').map(|(group, _)| group);
            group == Some(GROUP)
        })
        .map(|owner| (owner.name.as_str(), owner.uid.as_str()))
        .next()
}

/// Whether the App that a record is about controls it.
pub fn owned<K: Record>(record: &K) -> Result<(), Strange> {
    let (name, uid) = owner(record.meta()).ok_or(Strange::NoOwner)?;
    let named = record.app();
    if (name, uid) == (named.name.as_str(), named.uid.as_str()) {
        return Ok(());
    }
    Err(Strange::OwnerDiffers {
        owner: shown(name),
        named: shown(&named.name),
    })
}

/// Whose records are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Name of the App.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// What its records may name.
    pub repositories: &'a Repositories,
}

impl Owner<'_> {
    /// Whether a record is this App's, and names nothing of anybody else.
    pub fn counts<K: Record>(&self, record: &K) -> Result<(), Strange> {
        owned(record)?;
        let app = record.app();
        let here = record.meta().namespace.as_deref() == Some(self.namespace);
        if !here || app.name != self.name || app.uid != self.uid {
            return Err(Strange::OtherApp);
        }
        record.named(self.namespace, self.repositories)
    }

    /// What is found of a kind, sorted. What is being deleted counts no more.
    pub fn sort<K: Record>(
        &self,
        found: impl IntoIterator<Item = DeserializeGuard<K>>,
    ) -> Sorted<K> {
        let mut sorted = Sorted::default();
        let kind = K::kind(&());
        for object in found {
            if object.meta().deletion_timestamp.is_some() {
                continue;
            }
            let name = object.name_any();
            match object.0 {
                Ok(record) => match self.counts(&record) {
                    Ok(()) => sorted.records.push(record),
                    Err(why) => sorted.strange.push(ignored(&kind, &name, &why)),
                },
                Err(invalid) if owner(&invalid.metadata) == Some((self.name, self.uid)) => {
                    sorted
                        .unreadable
                        .push(unreadable(&kind, &name, &invalid.error));
                }
                Err(_) => sorted
                    .strange
                    .push(ignored(&kind, &name, &Strange::NoOwner)),
            }
        }
        sorted
    }
}

/// What was found of a kind.
#[derive(Clone, Debug)]
pub struct Sorted<K> {
    /// What counts.
    pub records: Vec<K>,
    /// What is ignored, and why, a sentence each.
    pub strange: Vec<String>,
    /// What is the App's and cannot be read, and why, a sentence each.
    pub unreadable: Vec<String>,
    /// Names of those that count of which no more is known than how they stand.
    pub partial: BTreeSet<String>,
}

impl<K> Sorted<K> {
    /// Puts what was found after it with it.
    pub fn add(&mut self, more: Self) {
        self.records.extend(more.records);
        self.strange.extend(more.strange);
        self.unreadable.extend(more.unreadable);
        self.partial.extend(more.partial);
    }
}

impl<K> Default for Sorted<K> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            strange: Vec::new(),
            unreadable: Vec::new(),
            partial: BTreeSet::new(),
        }
    }
}

/// What is told of a record that does not count.
pub fn ignored(kind: &str, name: &str, why: &Strange) -> String {
    format!(
        "{kind} {name} is ignored: {why}; the operator did not make it as it is, and it can be deleted"
    )
}

/// What is told of an object that cannot be read.
pub fn unreadable(kind: &str, name: &str, error: &str) -> String {
    let error = text::line(error, SHOWN);
    format!(
        "{kind} {name} cannot be read by this operator: {error}. Was it made by a newer version? Install that version again, or delete the {kind}"
    )
}
