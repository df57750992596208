//! Why a look-up failed, in words. Pure.

use slipway_crds::{conditions::Reason, labels};

use crate::{
    controllers::{
        app::{referred::Data, report::Step},
        chain,
    },
    source::{git::GitError, image},
};
use slipway_base::{
    error::{Class, Classify as _},
    zone::input::GitCredentials,
};
use slipway_core::domain::app::ValidImage;
use slipway_remotes::registry::RegistryError;
use slipway_zones::credentials;

pub(super) fn git_trouble(error: &GitError) -> Step {
    let message = error.to_string();
    match error {
        GitError::NoSuchRef { .. } | GitError::NoSuchRepository { .. } => {
            Step::Failed(Reason::SourceNotFound, message)
        }
        GitError::Refused { .. } | GitError::Credentials { .. } | GitError::Forbidden { .. } => {
            Step::Failed(Reason::SourceUnavailable, message)
        }
        GitError::Unreachable { .. } => Step::Retrying(Reason::SourceUnavailable, message),
    }
}

pub(super) fn git_credentials(name: &str, secret: Option<&Data>) -> Result<GitCredentials, Step> {
    let missing = |message: String| Step::Failed(Reason::ReferenceMissing, message);
    let Some(secret) = secret else {
        return Err(missing(format!(
            "Secret {name}, which source.git.secretRef names, does not exist: create it with {}",
            credentials::KEYS
        )));
    };
    credentials::git(secret.values()).ok_or_else(|| {
        missing(format!(
            "Secret {name}, which source.git.secretRef names, needs the keys {}",
            credentials::KEYS
        ))
    })
}

pub(super) fn image_trouble(error: &RegistryError, wanted: &ValidImage) -> Step {
    use RegistryError as E;
    let message = format!("{}: {}", wanted.written, chain(error));
    let advice = match &wanted.pull_secret {
        Some(name) => format!("; the pull secret is {name}"),
        None => "; no pullSecretRef is given".to_owned(),
    };
    match (error, error.class()) {
        (E::NotFound { .. }, _) => Step::Failed(Reason::SourceNotFound, message + &advice),
        (E::Unauthorised { .. }, _) => Step::Failed(Reason::SourceUnavailable, message + &advice),
        (E::OtherPlatform { .. }, _) => Step::Failed(
            Reason::PlatformMismatch,
            format!(
                "{message}; the annotation {} has it looked at again",
                labels::RECONCILE_REQUESTED_AT
            ),
        ),
        (_, Class::Stalled) => Step::Failed(Reason::SourceUnavailable, message),
        _ => Step::Retrying(Reason::SourceUnavailable, message),
    }
}

pub(super) fn docker_config<'a>(name: &str, secret: Option<&'a Data>) -> Result<&'a [u8], Step> {
    let Some(secret) = secret else {
        return Err(Step::Failed(
            Reason::ReferenceMissing,
            format!("Secret {name}, which source.image.pullSecretRef names, does not exist"),
        ));
    };
    let content = secret.values().get(image::DOCKER_CONFIG);
    content.map(Vec::as_slice).ok_or_else(|| {
        Step::Failed(
            Reason::ReferenceMissing,
            format!(
                "Secret {name}, which source.image.pullSecretRef names, is not of type kubernetes.io/dockerconfigjson: it has no key {}",
                image::DOCKER_CONFIG
            ),
        )
    })
}
