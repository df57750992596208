//! `spec.source`: a git repository or an image.

use std::time::Duration;

use slipway_base::reference::{RULE, is_reference};
use slipway_crds::v1alpha1::{App, Duration as Written, GitSource, ImageSource};

use crate::domain::{
    app::{Defaults, error::Errors},
    image::ImageRef,
};

/// The source of an App.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidSource {
    /// A git repository.
    Git(ValidGit),
    /// An image.
    Image(ValidImage),
}

impl ValidSource {
    /// Name of the Secret with the credentials for looking it up.
    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::Git(git) => git.secret.as_deref(),
            Self::Image(image) => image.pull_secret.as_deref(),
        }
    }

    /// Whether something is built of it.
    pub const fn is_built(&self) -> bool {
        match self {
            Self::Git(_) => true,
            Self::Image(_) => false,
        }
    }

    /// What a server is asked for; `None` if it needs none, because the spec names the commit.
    pub fn look_up(&self) -> Option<LookUp> {
        match self {
            Self::Git(git) if matches!(git.target, GitTarget::Commit(_)) => None,
            Self::Git(git) => Some(LookUp::Git(git.clone())),
            Self::Image(image) => Some(LookUp::Image(image.clone())),
        }
    }
}

/// What the operator asks a server for, to learn what a source is now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LookUp {
    /// The branch or tag of a repository.
    Git(ValidGit),
    /// The digest of an image.
    Image(ValidImage),
}

/// A git repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ValidGit {
    /// Address.
    pub url: String,
    /// The branch, tag or commit.
    pub target: GitTarget,
    /// Directory within it.
    pub sub_path: Option<String>,
    /// Secret with credentials.
    pub secret: Option<String>,
    /// How often the operator looks the branch or tag up.
    pub interval: Duration,
}

/// The branch, tag or commit of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GitTarget {
    /// Its default branch.
    Default,
    /// A branch or tag.
    Named(String),
    /// A commit, which is never looked up.
    Commit(String),
}

impl GitTarget {
    /// The value for `ref` of a Revision.
    pub fn named(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::Default | Self::Commit(_) => None,
        }
    }
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ValidImage {
    /// As the author wrote it.
    pub written: String,
    /// The parsed reference.
    pub reference: ImageRef,
    /// Secret with the credentials for looking it up and pulling it.
    pub pull_secret: Option<String>,
}

pub(super) fn source(
    app: &App,
    defaults: &Defaults,
    namespace: &str,
    errors: &mut Errors,
) -> Option<ValidSource> {
    match (&app.spec.source.git, &app.spec.source.image) {
        (Some(git), None) => git_source(git, defaults, errors).map(ValidSource::Git),
        (None, Some(image)) => {
            image_source(image, defaults, namespace, errors).map(ValidSource::Image)
        }
        _ => {
            errors.add("spec.source", "is one of git and image");
            None
        }
    }
}

fn git_source(git: &GitSource, defaults: &Defaults, errors: &mut Errors) -> Option<ValidGit> {
    let field = "spec.source.git.url";
    let Some((protocol, rest)) = git.url.split_once("://") else {
        errors.add(
            field,
            "has to begin with https://, http:// or git://; SSH addresses are not supported",
        );
        return None;
    };
    if !defaults.protocols.iter().any(|p| p == protocol) {
        errors.add(
            field,
            format!(
                "this operator does not allow {protocol}:// addresses, only {}",
                defaults.protocols.join(", ")
            ),
        );
    }
    if rest.split('/').next().unwrap_or_default().contains('@') {
        errors.add(
            field,
            "has a user name or password in it: put those into a Secret and name it in secretRef",
        );
    }
    if git.url.chars().any(|c| c.is_control() || c == ' ') {
        errors.add(field, "has a space or control character in it");
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // The host becomes part of a git setting: `credential.https://HOST.helper=…`.
    let of_host = |c: char| c.is_alphanumeric() || "-._:[]@".contains(c);
    if host.is_empty() || !host.chars().all(of_host) {
        errors.add(field, "has no name or address of a server behind ://");
    }
    if git.secret_ref.is_some() && protocol == "git" {
        errors.add(
            "spec.source.git.secretRef",
            "git:// addresses know no credentials: use https://",
        );
    }
    Some(ValidGit {
        url: git.url.clone(),
        target: git_target(git.r#ref.as_deref(), errors),
        sub_path: git
            .sub_path
            .as_deref()
            .map(|p| p.trim_end_matches('/').to_owned())
            .filter(|p| !p.is_empty() && p != "."),
        secret: git.secret_ref.as_ref().map(|s| s.name.clone()),
        interval: git.interval.map_or(defaults.interval, Written::get),
    })
}

/// The branch, tag or commit of `spec.source.git.ref`.
fn git_target(reference: Option<&str>, errors: &mut Errors) -> GitTarget {
    match reference {
        None => GitTarget::Default,
        Some(commit)
            if matches!(commit.len(), 40 | 64) && commit.chars().all(|c| c.is_ascii_hexdigit()) =>
        {
            GitTarget::Commit(commit.to_ascii_lowercase())
        }
        Some(name) => {
            if !is_reference(name) {
                let what = format!("is no name of a branch, tag or commit: {RULE}");
                errors.add("spec.source.git.ref", what);
            }
            GitTarget::Named(name.to_owned())
        }
    }
}

fn image_source(
    image: &ImageSource,
    defaults: &Defaults,
    namespace: &str,
    errors: &mut Errors,
) -> Option<ValidImage> {
    let field = "spec.source.image.reference";
    let reference = match ImageRef::parse(&image.reference) {
        Ok(reference) => reference,
        Err(error) => {
            errors.add(field, error.to_string());
            return None;
        }
    };
    let ours = &defaults.repositories;
    if ours.is_foreign(&reference.registry, &reference.repository, namespace) {
        let prefix = ours.prefix();
        errors.add(
            field,
            format!(
                "is an image that belongs to another namespace; of this registry's {prefix}/ an App may use what is below {prefix}/{namespace}/"
            ),
        );
    }
    Some(ValidImage {
        written: image.reference.clone(),
        reference,
        pull_secret: image.pull_secret_ref.as_ref().map(|s| s.name.clone()),
    })
}
