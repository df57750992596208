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

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt as _, core::DeserializeGuard};
use slipway_crds::{
    GROUP, names,
    v1alpha1::{App, AppRef, Artifact, Build, Release, Revision},
};

use slipway_base::text;
use slipway_core::domain::repository::Repositories;

/// Most bytes of a stranger's text that are told.
const SHOWN: usize = 200;

/// Why a record does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Strange {
    /// Nothing says whose it is.
    #[error("no App controls it")]
    NoOwner,
    /// Its owner is another App than the one that it names.
    #[error("App {owner} controls it, but it is about App {named}")]
    OwnerDiffers {
        /// Who controls it.
        owner: String,
        /// Which App it names.
        named: String,
    },
    /// It is another App's, perhaps that of an App of the same name before.
    #[error("it belongs to another App, or to one of this name that is deleted")]
    OtherApp,
    /// It names something of the registry that is not the App's.
    #[error("its {field} is {found:?}, which is not in this App's repository {own}")]
    Repository {
        /// Which field.
        field: &'static str,
        /// What it has.
        found: String,
        /// Where it would have to be.
        own: String,
    },
    /// It names an image that is kept for others.
    #[error("its {field} is {found:?}, an image that is kept for another namespace")]
    Image {
        /// Which field.
        field: &'static str,
        /// What it has.
        found: String,
    },
    /// Something in it is not as the operator writes it.
    #[error("its {field} is {found:?}, which the operator does not write")]
    Unlike {
        /// Which field.
        field: &'static str,
        /// What it has.
        found: String,
    },
}

/// A record of an App.
pub trait Record: Resource<DynamicType = ()> {
    /// The App that it is about.
    fn app(&self) -> &AppRef;
    /// What is wrong with what it names.
    fn named(&self, namespace: &str, repositories: &Repositories) -> Result<(), Strange>;
}

impl Record for Revision {
    fn app(&self) -> &AppRef {
        &self.spec.app
    }

    fn named(&self, namespace: &str, repositories: &Repositories) -> Result<(), Strange> {
        let scope = Scope::of(self, namespace, repositories);
        let status = self.status.as_ref();
        scope.own("status.artifact", status.and_then(|s| s.artifact.as_ref()))?;
        match &self.spec.image {
            Some(image) => scope.image("spec.image.resolved", &image.resolved),
            None => Ok(()),
        }
    }
}

impl Record for Build {
    fn app(&self) -> &AppRef {
        &self.spec.app
    }

    fn named(&self, namespace: &str, repositories: &Repositories) -> Result<(), Strange> {
        let scope = Scope::of(self, namespace, repositories);
        let Some(status) = &self.status else {
            return Ok(());
        };
        scope.own("status.image", status.image.as_ref())?;
        scope.own("status.source", status.source.as_ref())?;
        scope.own("status.log", status.log.as_ref())
    }
}

impl Record for Release {
    fn app(&self) -> &AppRef {
        &self.spec.app
    }

    fn named(&self, namespace: &str, repositories: &Repositories) -> Result<(), Strange> {
        let scope = Scope::of(self, namespace, repositories);
        let spec = &self.spec;
        let unlike = |field, found: &str| Strange::Unlike {
            field,
            found: shown(found),
        };
        // Its number is what tells it from others.
        let name = self.name_any();
        if name != names::release(&spec.app.name, spec.number) {
            return Err(unlike("name", &name));
        }
        let configs = names::config_secret(&spec.app.name, "");
        if !spec.config_secret.starts_with(&configs) {
            return Err(unlike("spec.configSecret", &spec.config_secret));
        }
        let image = &spec.image.reference;
        let field = "spec.image.reference";
        if spec.image.external {
            return scope.image(field, image);
        }
        let (repository, _) = image.split_once('@').unwrap_or((image, ""));
        scope.own_repository(field, repository)
    }
}

/// What a record of one App may name.
struct Scope<'a> {
    repositories: &'a Repositories,
    namespace: &'a str,
    app: &'a str,
}

impl<'a> Scope<'a> {
    fn of<K: Record>(record: &'a K, namespace: &'a str, repositories: &'a Repositories) -> Self {
        Self {
            repositories,
            namespace,
            app: &record.app().name,
        }
    }

    fn own(&self, field: &'static str, artifact: Option<&Artifact>) -> Result<(), Strange> {
        match artifact {
            Some(artifact) => self.own_repository(field, &artifact.repository),
            None => Ok(()),
        }
    }

    fn own_repository(&self, field: &'static str, found: &str) -> Result<(), Strange> {
        let Self {
            repositories,
            namespace,
            app,
        } = self;
        if repositories.is_of_app(found, namespace, app) {
            return Ok(());
        }
        Err(Strange::Repository {
            field,
            found: shown(found),
            own: shown(&repositories.of_app(namespace, app)),
        })
    }

    /// An image by its whole name, `host/repository@digest`.
    fn image(&self, field: &'static str, found: &str) -> Result<(), Strange> {
        let (host, rest) = found.split_once('/').unwrap_or(("", found));
        let repository = rest.split_once(['@', ':']).map_or(rest, |(name, _)| name);
        if self
            .repositories
            .is_foreign(host, repository, self.namespace)
        {
            return Err(Strange::Image {
                field,
                found: shown(found),
            });
        }
        Ok(())
    }
}

fn shown(text: &str) -> String {
    text::line(text, SHOWN)
}

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

#[cfg(test)]
mod tests {
    use super::{Owner, Record, Sorted};
    use kube::core::DeserializeGuard;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};
    use slipway_core::domain::repository::Repositories;
    use slipway_crds::v1alpha1::{Build, Release, Revision};

    fn digest() -> String {
        format!("sha256:{}", "a".repeat(64))
    }

    /// A record as the operator makes it.
    fn made(kind: &str) -> Value {
        let artifact = |repository: &str| json!({"repository": repository, "digest": digest()});
        let own = artifact("slipway/team/hello");
        let app = json!({"name": "hello", "uid": "u-1"});
        let stack = artifact("slipway/slipway.dev/stacks/standard/run");
        let git = json!({"url": "https://example.com/hello.git", "commit": "a".repeat(40)});
        let (name, spec, status) = match kind {
            "Revision" => (
                "hello-1",
                json!({"app": app, "by": "Poll", "git": git}),
                json!({"artifact": own}),
            ),
            "Build" => (
                "hello-2",
                json!({"app": app, "revision": "hello-1", "cause": "x", "timeout": "30m", "source": {"git": git},
                    "stack": {"name": "s", "stackName": "s", "userId": 1, "buildImage": stack, "runImage": stack}}),
                json!({"phase": "Succeeded", "image": own, "source": own, "log": own}),
            ),
            _ => (
                "hello-v3",
                json!({"app": app, "number": 3, "cause": "x", "inputs": "x", "renderer": 1, "revision": "hello-1",
                    "revisionId": "a", "configSecret": "hello-config-0123456789", "port": 5000, "processes": {},
                    "image": {"reference": format!("slipway/team/hello@{}", digest())},
                    "deadlines": {}, "podSecurity": "Restricted"}),
                json!({"phase": "Serving"}),
            ),
        };
        json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": kind, "spec": spec, "status": status,
            "metadata": {"name": name, "namespace": "team", "uid": "r-1", "ownerReferences": [{
                "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "hello", "uid": "u-1",
                "controller": true, "blockOwnerDeletion": true,
            }]},
        })
    }

    fn sorted<K: Record + DeserializeOwned>(object: &Value) -> Sorted<K> {
        let repositories = Repositories::new("slipway", ["registry.local:5000"]);
        let owner = Owner {
            namespace: "team",
            name: "hello",
            uid: "u-1",
            repositories: &repositories,
        };
        let found: DeserializeGuard<K> = serde_json::from_value(object.clone()).unwrap();
        owner.sort([found])
    }

    /// How many count, and what is told of the rest.
    fn told(object: &Value) -> (usize, String) {
        fn of<K>(sorted: Sorted<K>) -> (usize, String) {
            let told = sorted.strange.into_iter().chain(sorted.unreadable);
            (sorted.records.len(), told.collect())
        }
        match object["kind"].as_str().unwrap() {
            "Revision" => of(sorted::<Revision>(object)),
            "Build" => of(sorted::<Build>(object)),
            _ => of(sorted::<Release>(object)),
        }
    }

    const KINDS: [&str; 3] = ["Revision", "Build", "Release"];

    #[test]
    fn what_the_operator_made_counts() {
        for kind in KINDS {
            assert_eq!(told(&made(kind)), (1, String::new()), "{kind}");
        }
        // Before there is a status, and of an image of another registry.
        let mut build = made("Build");
        build["status"] = Value::Null;
        assert_eq!(told(&build).0, 1);
        for image in [
            "ghcr.io/other/app",
            "registry.local:5000/slipway/team/other",
            "registry.local:5000/elsewhere/app",
        ] {
            let image = format!("{image}@{}", digest());
            let mut release = made("Release");
            release["spec"]["image"] = json!({"reference": image, "external": true});
            assert_eq!(told(&release), (1, String::new()), "{image}");
            let mut revision = made("Revision");
            revision["spec"]["git"] = Value::Null;
            revision["spec"]["image"] = json!({"reference": "x", "resolved": image});
            assert_eq!(told(&revision), (1, String::new()), "{image}");
        }
    }

    #[test]
    fn a_record_counts_only_if_the_app_of_that_name_and_uid_controls_it() {
        for kind in KINDS {
            let owner = |change: Value| {
                let mut object = made(kind);
                let owners = &mut object["metadata"]["ownerReferences"];
                for (key, value) in change.as_object().unwrap() {
                    owners[0][key.as_str()] = value.clone();
                }
                object
            };
            let mut no_owner = made(kind);
            no_owner["metadata"]["ownerReferences"] = json!([]);
            let mut another = owner(json!({"name": "other", "uid": "u-2"}));
            another["spec"]["app"] = json!({"name": "other", "uid": "u-2"});
            let mut elsewhere = made(kind);
            elsewhere["metadata"]["namespace"] = json!("other");
            for (forged, wanted) in [
                (no_owner, "no App controls it"),
                (owner(json!({"controller": false})), "no App controls it"),
                (owner(json!({"kind": "Deployment"})), "no App controls it"),
                (
                    owner(json!({"apiVersion": "example.com/v1"})),
                    "no App controls it",
                ),
                (
                    owner(json!({"uid": "u-2"})),
                    "App hello controls it, but it is about App hello",
                ),
                (
                    owner(json!({"name": "other"})),
                    "App other controls it, but it is about App hello",
                ),
                (another, "it belongs to another App"),
                (elsewhere, "it belongs to another App"),
            ] {
                let (count, said) = told(&forged);
                assert_eq!(count, 0, "{forged}");
                assert!(said.contains(wanted), "{kind}: {said}");
                assert!(said.starts_with(&format!("{kind} hello-")), "{said}");
            }
        }
    }

    #[test]
    fn a_record_that_names_what_is_anothers_does_not_count() {
        let artifact = |repository: &str| json!({"repository": repository, "digest": digest()});
        let image = |name: &str| json!(format!("{name}@{}", digest()));
        for (kind, at, value, wanted) in [
            (
                "Revision",
                "/status/artifact",
                artifact("slipway/other/hello"),
                "status.artifact",
            ),
            (
                "Build",
                "/status/image",
                artifact("slipway/other/hello"),
                "status.image",
            ),
            (
                "Build",
                "/status/source",
                artifact("slipway/team/other"),
                "status.source",
            ),
            (
                "Build",
                "/status/log",
                artifact("slipway/slipway.dev/packs/x"),
                "status.log",
            ),
            (
                "Release",
                "/spec/image/reference",
                image("slipway/other/hello"),
                "slipway/team/hello",
            ),
            (
                "Release",
                "/spec/image/reference",
                image("ghcr.io/x/y"),
                "spec.image",
            ),
            (
                "Release",
                "/spec/configSecret",
                json!("db-password"),
                "spec.configSecret",
            ),
            ("Release", "/metadata/name", json!("hello-v4"), "name"),
        ] {
            let mut forged = made(kind);
            *forged.pointer_mut(at).unwrap() = value;
            let (count, said) = told(&forged);
            assert_eq!(count, 0, "{at}");
            assert!(said.contains(wanted), "{at}: {said}");
        }
        let foreign = format!("Registry.local:5000/slipway/other/hello@{}", digest());
        let mut release = made("Release");
        release["spec"]["image"] = json!({"reference": foreign, "external": true});
        let mut revision = made("Revision");
        revision["spec"]["git"] = Value::Null;
        revision["spec"]["image"] = json!({"reference": "x", "resolved": foreign});
        for forged in [release, revision] {
            let (count, said) = told(&forged);
            assert_eq!(count, 0);
            assert!(said.contains("another namespace"), "{said}");
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_no_apps() {
        let mut build = made("Build");
        let name = "../other/app";
        build["metadata"]["ownerReferences"][0]["name"] = json!(name);
        build["spec"]["app"]["name"] = json!(name);
        build["status"]["image"]["repository"] = json!("slipway/team/../other/app");
        assert_eq!(told(&build).0, 0);
    }

    #[test]
    fn what_cannot_be_read_is_told_by_name_and_hides_nothing() {
        for (kind, at) in [
            ("Build", "/status/phase"),
            ("Release", "/status/phase"),
            ("Revision", "/spec/by"),
        ] {
            let mut object = made(kind);
            *object.pointer_mut(at).unwrap() = json!("Hibernated");
            let (count, said) = told(&object);
            assert_eq!(count, 0);
            let name = object["metadata"]["name"].as_str().unwrap();
            assert!(
                said.starts_with(&format!(
                    "{kind} {name} cannot be read by this operator: Unknown variant Hibernated"
                )),
                "{said}"
            );
            assert!(said.contains("newer version"), "{said}");
            // Somebody else's says nothing of this App.
            object["metadata"]["ownerReferences"] = json!([]);
            assert!(told(&object).1.contains("no App controls it"));
        }
    }

    #[test]
    fn a_strangers_text_is_told_short_and_in_one_line() {
        let mut build = made("Build");
        build["status"]["image"]["repository"] = json!(format!("x\u{1b}[2J\n{}", "y".repeat(900)));
        let (_, said) = told(&build);
        assert!(
            said.len() < 500 && !said.contains(['\n', '\u{1b}']),
            "{said}"
        );
    }
}
