//! An App's source and its Revisions → which of them match the spec, and which one has to be made. Pure.
//!
//! A Revision is one state of the source. Each change of the state makes a new one, even if the source returns to an
//! earlier state: the newest Revision is always what was found last.

use slipway_crds::v1alpha1::{
    AppRef, AppStatus, BuildGit, BuildSource, GitRevision, ImageRevision, LocalRef, Revision,
    RevisionBy, RevisionSpec,
};

use crate::{
    domain::app::{GitTarget, ValidGit, ValidSource},
    order,
};

/// The Revision of a commit, without its number.
pub fn of_commit(
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
        by,
        ..RevisionSpec::default()
    }
}

/// The Revision of an image, without its number.
pub fn of_image(app: AppRef, image: ImageRevision) -> RevisionSpec {
    RevisionSpec {
        app,
        image: Some(image),
        by: RevisionBy::Spec,
        ..RevisionSpec::default()
    }
}

/// Whether an App with this source may run a Revision. Only one of look-up and push decides: if the spec asks for
/// look-ups, pushed Revisions are ignored, and hide none that was looked up.
pub fn counts(source: &ValidSource, revision: &RevisionSpec) -> bool {
    match source {
        ValidSource::Git(_) | ValidSource::Image(_) => revision.push.is_none(),
    }
}

/// The state of a source without a look-up: the commit that the spec names, otherwise what is known.
pub fn unasked(
    app: AppRef,
    source: &ValidSource,
    known: Option<&RevisionSpec>,
) -> Option<RevisionSpec> {
    if let ValidSource::Git(git) = source
        && let GitTarget::Commit(commit) = &git.target
    {
        return Some(of_commit(app, git, commit.clone(), None, RevisionBy::Spec));
    }
    known.cloned()
}

/// What a Revision's Build builds, for an App with this source; `None` if nothing is built.
pub fn build_source(source: &ValidSource, revision: &RevisionSpec) -> Option<BuildSource> {
    let RevisionSpec { git, push, .. } = revision;
    match (source, git, push) {
        (ValidSource::Git(git), Some(found), _) => Some(BuildSource {
            git: Some(BuildGit {
                url: git.url.clone(),
                r#ref: found.r#ref.clone(),
                commit: found.commit.clone(),
                secret_ref: git.secret.clone().map(|name| LocalRef { name }),
            }),
            push: None,
            sub_path: git.sub_path.clone(),
        }),
        (_, None, Some(push)) => Some(BuildSource {
            push: Some(push.clone()),
            ..BuildSource::default()
        }),
        _ => None,
    }
}

/// Whether a Revision is of the source that the spec names now, whatever commit or digest was found.
fn matches(source: &ValidSource, revision: &RevisionSpec) -> bool {
    if !counts(source, revision) {
        return false;
    }
    match (source, &revision.git, &revision.image) {
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

/// Whether two Revisions of an App are the same state of its source. Other properties of an image, such as its ports,
/// are not compared: those of the first Revision count.
pub fn is_same(one: &RevisionSpec, other: &RevisionSpec) -> bool {
    let image = |spec: &RevisionSpec| {
        let image = spec.image.as_ref()?;
        Some((
            image.reference.clone(),
            image.resolved.clone(),
            image.pull_secret_ref.clone(),
        ))
    };
    one.app.uid == other.app.uid
        && (&one.git, &one.push) == (&other.git, &other.push)
        && image(one) == image(other)
}

/// What is known of a source without a look-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known<'a> {
    /// The Revision that counts.
    pub revision: &'a Revision,
    /// Whether the App's status names the newest Revision: then the result of the last look-up was recorded completely.
    pub told: bool,
}

/// The Revision that was found last for the present spec. It is the newest, except if an older operator, which gave no
/// numbers, ran last: then it is the one that the status names, because that operator made no second Revision of a
/// state.
pub fn known<'a>(
    source: &ValidSource,
    status: Option<&AppStatus>,
    revisions: &'a [Revision],
) -> Option<Known<'a>> {
    let of = || revisions.iter().filter(|r| matches(source, &r.spec));
    let newest = order::newest(of())?;
    let latest = status.and_then(|s| s.latest.as_ref()?.revision.as_deref());
    let named = of().find(|r| latest.is_some() && r.metadata.name.as_deref() == latest);
    let made = |r: &Revision| r.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let counts = |named: &&Revision| newest.spec.number.is_none() || made(named) > made(newest);
    Some(Known {
        revision: named.filter(counts).unwrap_or(newest),
        told: named == Some(newest),
    })
}

/// The existing Revision of the wanted state; if there is none, one has to be made. Only the newest that counts is
/// considered, because a source that returned to an earlier state has changed. Among Revisions without numbers any is
/// considered: the operator that made them reused the earlier one, and an upgrade must make no Revision.
pub fn standing<'a>(
    source: &ValidSource,
    wanted: &RevisionSpec,
    revisions: &'a [Revision],
) -> Option<&'a Revision> {
    let counting = || revisions.iter().filter(|r| counts(source, &r.spec));
    let newest = order::newest(counting())?;
    let is_wanted = |r: &&Revision| is_same(&r.spec, wanted);
    if newest.spec.number.is_none() {
        return counting().find(is_wanted);
    }
    Some(newest).filter(is_wanted)
}

/// The number of the next Revision. `last` is the highest that the App's status records, even if that Revision no longer
/// exists.
pub fn next(revisions: &[Revision], last: Option<i64>) -> i64 {
    let numbers = revisions.iter().map(|r| r.spec.number);
    let highest = numbers.max().flatten().max(last);
    highest.unwrap_or_default().saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::{build_source, known, next, of_commit, standing};
    use crate::domain::app::{GitTarget, ValidGit, ValidSource};
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::ResourceExt as _;
    use slipway_crds::v1alpha1::{
        AppRef, AppStatus, Artifact, LatestStatus, PushRevision, Revision, RevisionBy, RevisionSpec,
    };
    use std::time::Duration;

    fn git() -> ValidGit {
        ValidGit {
            url: "https://example.com/hello.git".into(),
            target: GitTarget::Default,
            sub_path: None,
            secret: None,
            interval: Duration::from_mins(1),
        }
    }

    fn commit(digit: &str) -> RevisionSpec {
        let app = AppRef {
            name: "hello".into(),
            uid: "u-1".into(),
        };
        let head = Some("HEAD".to_owned());
        of_commit(app, &git(), digit.repeat(40), head, RevisionBy::Poll)
    }

    /// `name commit second`, with a number if the name has one; a name that ends in `p` is that of a pushed Revision.
    fn revisions(texts: &[&str]) -> Vec<Revision> {
        let revision = |text: &&str| {
            let mut parts = text.split(' ');
            let name = parts.next().unwrap();
            let pushed = name.strip_suffix('p');
            let number = pushed.unwrap_or(name).strip_prefix('r');
            let mut spec = commit(parts.next().unwrap());
            spec.number = number.map(|number| number.parse().unwrap());
            if pushed.is_some() {
                spec.push = spec.git.take().map(|git| PushRevision {
                    commit: git.commit,
                    r#ref: "HEAD".into(),
                    artifact: Artifact::default(),
                });
            }
            let mut revision = Revision::new(name, spec);
            let second = parts.next().unwrap().parse().unwrap();
            let made = Timestamp::from_second(second).unwrap();
            revision.metadata.creation_timestamp = Some(Time(made));
            revision
        };
        texts.iter().map(revision).collect()
    }

    #[test]
    fn which_revision_is_known_and_which_one_stands_for_what_is_found() {
        // The Revisions, the one that the status names, the known one and whether it was told; then the commit that is
        // found, the Revision of that state, and the next number.
        type Row<'a> = (
            &'a [&'a str],
            &'a str,
            &'a str,
            &'a str,
            Option<&'a str>,
            i64,
        );
        let rows: &[Row<'_>] = &[
            (&[], "", "", "1", None, 1),
            (&["r1 1 1"], "", "r1", "1", Some("r1"), 2),
            (&["r1 1 1"], "r1", "r1 told", "1", Some("r1"), 2),
            (&["r1 1 1"], "r1", "r1 told", "2", None, 2),
            // Two Revisions of the same second.
            (
                &["r9 1 1", "r10 2 1"],
                "r10",
                "r10 told",
                "2",
                Some("r10"),
                11,
            ),
            // The operator was stopped before it wrote the status.
            (&["r1 1 1", "r2 2 2"], "r1", "r2", "2", Some("r2"), 3),
            // The branch is back where it was: that is another change.
            (&["r1 1 1", "r2 2 2"], "r2", "r2 told", "1", None, 3),
            // An upgrade makes nothing, even if the branch had returned to an earlier commit.
            (&["a 1 1"], "a", "a told", "1", Some("a"), 1),
            (&["a 1 1", "b 2 2"], "b", "b told", "2", Some("b"), 1),
            (&["a 1 1", "b 2 2"], "a", "a", "1", Some("a"), 1),
            (&["a 1 1"], "a", "a told", "2", None, 1),
            // The first Revision with a number comes after all that have none.
            (&["a 1 1", "r1 2 1"], "r1", "r1 told", "2", Some("r1"), 2),
            (&["a 1 1", "r1 2 1"], "r1", "r1 told", "1", None, 2),
            // A pushed Revision is ignored and hides nothing, but its number is used up.
            (&["r1 1 1", "r2p 2 2"], "r1", "r1 told", "1", Some("r1"), 3),
            (&["r1 1 1", "r2p 2 2"], "r1", "r1 told", "2", None, 3),
            (&["r1p 1 1"], "", "", "1", None, 2),
            // An older operator ran in between.
            (&["r1 1 1", "a 2 2"], "a", "a", "2", None, 2),
        ];
        let source = ValidSource::Git(git());
        for (there, latest, wanted, found, stands, number) in rows {
            let there = revisions(there);
            let status = AppStatus {
                latest: Some(LatestStatus {
                    revision: Some((*latest).to_owned()).filter(|name| !name.is_empty()),
                    ..LatestStatus::default()
                }),
                ..AppStatus::default()
            };
            let known = known(&source, Some(&status), &there).map_or_else(String::new, |known| {
                let told = if known.told { " told" } else { "" };
                known.revision.name_any() + told
            });
            assert_eq!(known, *wanted, "{there:?}");
            let standing = standing(&source, &commit(found), &there).map(Revision::name_any);
            assert_eq!(standing.as_deref(), *stands, "{there:?}");
            assert_eq!(next(&there, None), *number, "{there:?}");
        }
    }

    #[test]
    fn the_number_of_a_deleted_revision_is_not_used_again() {
        let there = revisions(&["r1 1 1"]);
        assert_eq!(next(&there, Some(7)), 8);
        assert_eq!(next(&[], Some(7)), 8);
        assert_eq!(next(&there, Some(1)), 2);
    }

    #[test]
    fn what_was_pushed_is_built_from_the_push_and_the_rest_from_where_the_spec_says() {
        let there = revisions(&["r1 1 1", "r2p 2 2"]);
        let git = ValidGit {
            secret: Some("login".into()),
            sub_path: Some("web".into()),
            ..git()
        };
        let source = ValidSource::Git(git);
        let of = |revision: &Revision| build_source(&source, &revision.spec).unwrap();
        let (looked_up, pushed) = (of(&there[0]), of(&there[1]));
        let fetched = looked_up.git.as_ref().unwrap();
        let secret = fetched
            .secret_ref
            .as_ref()
            .map(|secret| secret.name.as_str());
        assert_eq!(
            (secret, looked_up.sub_path.as_deref()),
            (Some("login"), Some("web"))
        );
        assert_eq!(
            (pushed.git.as_ref(), pushed.push),
            (None, there[1].spec.push.clone())
        );
        assert_eq!(build_source(&source, &RevisionSpec::default()), None);
    }

    #[test]
    fn what_the_spec_says_no_more_is_not_known() {
        let there = revisions(&["r1 1 1", "r2 2 2"]);
        let of = |git: ValidGit| known(&ValidSource::Git(git), None, &there).is_some();
        assert!(of(git()));
        let named = |target| ValidGit { target, ..git() };
        assert!(!of(named(GitTarget::Named("main".into()))));
        assert!(of(named(GitTarget::Commit("1".repeat(40)))));
        assert!(!of(named(GitTarget::Commit("3".repeat(40)))));
        let url = "https://example.com/other.git".to_owned();
        assert!(!of(ValidGit { url, ..git() }));
    }
}
