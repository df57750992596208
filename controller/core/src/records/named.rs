//! What a record may name: its own number, and in the registry its own App's repository.

use kube::{Resource, ResourceExt as _};
use slipway_base::text;
use slipway_crds::{
    names,
    v1alpha1::{AppRef, Artifact, Build, Release, Revision},
};

use crate::domain::repository::Repositories;

/// Most bytes of foreign text that are shown.
pub(super) const SHOWN: usize = 200;

/// Why a record does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Strange {
    /// No owner is set.
    #[error("no App controls it")]
    NoOwner,
    /// Its owner is another App than the one that it names.
    #[error("App {owner} controls it, but it is about App {named}")]
    OwnerDiffers {
        /// The App that controls it.
        owner: String,
        /// The App that it names.
        named: String,
    },
    /// It belongs to another App, perhaps to an earlier one of the same name.
    #[error("it belongs to another App, or to one of this name that is deleted")]
    OtherApp,
    /// It names something in the registry that is not the App's.
    #[error("its {field} is {found:?}, which is not in this App's repository {own}")]
    Repository {
        /// Which field.
        field: &'static str,
        /// The value of the field.
        found: String,
        /// The repository that it would have to be in.
        own: String,
    },
    /// It names an image that is reserved for others.
    #[error("its {field} is {found:?}, an image that is kept for another namespace")]
    Image {
        /// Which field.
        field: &'static str,
        /// The value of the field.
        found: String,
    },
    /// It has a value that the operator does not write.
    #[error("its {field} is {found:?}, which the operator does not write")]
    Unlike {
        /// Which field.
        field: &'static str,
        /// The value of the field.
        found: String,
    },
}

/// A record of an App.
pub trait Record: Resource<DynamicType = ()> {
    /// The App that it names.
    fn app(&self) -> &AppRef;
    /// What is wrong with the things that it names.
    fn named(&self, namespace: &str, repositories: &Repositories) -> Result<(), Strange>;
}

impl Record for Revision {
    fn app(&self) -> &AppRef {
        &self.spec.app
    }

    fn named(&self, namespace: &str, repositories: &Repositories) -> Result<(), Strange> {
        let scope = Scope::of(self, namespace, repositories);
        let (spec, status) = (&self.spec, self.status.as_ref());
        // The number identifies the record.
        if let Some(number) = spec.number {
            is_named(self, &names::revision(&spec.app.name, number))?;
        }
        let pushed = spec.push.as_ref().map(|push| &push.artifact);
        scope.own("spec.push.artifact", pushed)?;
        scope.own("status.artifact", status.and_then(|s| s.artifact.as_ref()))?;
        match &spec.image {
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
        let pushed = self.spec.source.push.as_ref();
        scope.own(
            "spec.source.push.artifact",
            pushed.map(|push| &push.artifact),
        )?;
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
        // The number identifies the record.
        is_named(self, &names::release(&spec.app.name, spec.number))?;
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

    /// Checks an image that is given by its full name, `host/repository@digest`.
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

fn unlike(field: &'static str, found: &str) -> Strange {
    Strange::Unlike {
        field,
        found: shown(found),
    }
}

/// Checks that a record has the name that belongs to its number.
fn is_named<K: Record>(record: &K, wanted: &str) -> Result<(), Strange> {
    let name = record.name_any();
    if name == wanted {
        return Ok(());
    }
    Err(unlike("name", &name))
}

pub(super) fn shown(text: &str) -> String {
    text::line(text, SHOWN)
}
