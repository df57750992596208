//! What was found → the Revision of it: its content, its name, and whether it is of what an App says now. Pure.

use sha2::{Digest as _, Sha256};
use slipway_crds::{
    names,
    v1alpha1::{AppRef, GitRevision, ImageRevision, RevisionBy, RevisionSpec},
};

use slipway_core::domain::app::{GitTarget, ValidApp, ValidGit, ValidSource};

/// Name of a Revision: a hash of what it is.
pub(in crate::controllers::app) fn revision_name(app: &ValidApp, spec: &RevisionSpec) -> String {
    let what = match (&spec.git, &spec.image) {
        (Some(git), _) => serde_json::json!([app.uid, git.url, git.r#ref, git.commit]),
        (None, Some(image)) => {
            serde_json::json!([
                app.uid,
                image.reference,
                image.resolved,
                image.pull_secret_ref
            ])
        }
        (None, None) => serde_json::json!([app.uid]),
    };
    let hash = hex::encode(Sha256::digest(what.to_string()));
    names::hashed(&app.name, hash.get(..names::HASH).unwrap_or(&hash))
}

/// Whether a Revision is of what the spec says now.
pub(super) fn matches(app: &ValidApp, revision: &RevisionSpec) -> bool {
    match (&app.source, &revision.git, &revision.image) {
        (ValidSource::Git(git), Some(found), _) => {
            found.url == git.url
                && match &git.target {
                    GitTarget::Commit(commit) => found.commit == *commit,
                    target => found.r#ref.as_deref() == Some(target.named().unwrap_or("HEAD")),
                }
        }
        (ValidSource::Image(image), None, Some(found)) => {
            found.reference == image.written
                && found.pull_secret_ref.as_ref().map(|s| &s.name) == image.pull_secret.as_ref()
        }
        _ => false,
    }
}

/// The Revision of a commit.
pub(super) fn of_commit(
    app: AppRef,
    git: &ValidGit,
    commit: String,
    r#ref: Option<String>,
    by: RevisionBy,
) -> RevisionSpec {
    RevisionSpec {
        app,
        git: Some(GitRevision {
            url: git.url.clone(),
            r#ref,
            commit,
        }),
        image: None,
        by,
    }
}

/// The Revision of an image.
pub(super) fn of_image(app: AppRef, image: ImageRevision) -> RevisionSpec {
    RevisionSpec {
        app,
        git: None,
        image: Some(image),
        by: RevisionBy::Spec,
    }
}
