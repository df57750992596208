//! Revisions, Builds and Releases as they were found → those that count. Pure.
//!
//! ```text
//! found ─┬─▶ records      an App of that name and UID controls them, and they name nothing of anybody else
//!        ├─▶ strange      somebody else made or changed them: nothing is done for them, and this is reported
//!        └─▶ unreadable   a newer operator's, or damaged: reported, and the others are processed
//! ```
//!
//! Whoever may create records in a namespace can write anything into them, with the operator's labels. The operator's
//! account of the registry can read everybody's images, so a record is trusted only for its own App's repository.

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

/// Whether a record is controlled by the App that it names.
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

/// The App whose records are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Name of the App.
    pub name: &'a str,
    /// UID of the App.
    pub uid: &'a str,
    /// The repositories that its records may name.
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

    /// Sorts the records of one kind. Those that are being deleted are left out.
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

/// The records of one kind, sorted.
#[derive(Clone, Debug)]
pub struct Sorted<K> {
    /// Records that count.
    pub records: Vec<K>,
    /// Why records are ignored, a sentence each.
    pub strange: Vec<String>,
    /// Why records of the App cannot be read, a sentence each.
    pub unreadable: Vec<String>,
    /// Names of records that count and of which only the state is known.
    pub partial: BTreeSet<String>,
}

impl<K> Sorted<K> {
    /// Appends what was found later.
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

/// What is reported about a record that does not count.
pub fn ignored(kind: &str, name: &str, why: &Strange) -> String {
    format!(
        "{kind} {name} is ignored: {why}; the operator did not make it as it is, and it can be deleted"
    )
}

/// What is reported about an object that cannot be read.
pub fn unreadable(kind: &str, name: &str, error: &str) -> String {
    let error = text::line(error, SHOWN);
    format!(
        "{kind} {name} cannot be read by this operator: {error}. Was it made by a newer version? Install that version again, or delete the {kind}"
    )
}
