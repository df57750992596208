//! A branch or tag of a git repository → the commit that it names now.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use slipway_base::{
    text::{self, public_url},
    zone::input::{GitCredentials, GitLimits},
};
use slipway_core::domain::app::GitTarget;
use slipway_remotes::{
    git::{
        Credentials,
        client::{Client, ClientError},
    },
    web::Web,
};

/// Longest time of a look-up, in seconds: it is a small request, so if it takes longer, the server hangs.
const SECONDS: u64 = 15;
/// Most refs of a kind that a message names.
const NAMED: usize = 12;
/// A commit, and the ref that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The whole commit id.
    pub commit: String,
    /// The branch or tag, or `HEAD` for the default branch.
    pub r#ref: String,
}

/// Why there is no commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// No such branch or tag.
    #[error("{url} has no branch or tag {name:?}: {known}")]
    NoSuchRef {
        /// Address.
        url: String,
        /// What was looked for.
        name: String,
        /// The branches and tags that the repository has.
        known: String,
    },
    /// No such repository, or none that these credentials may see.
    #[error(
        "{url}: the server knows no such repository, or shows it to nobody without the right credentials ({credentials}): check the address"
    )]
    NoSuchRepository {
        /// Address.
        url: String,
        /// Which credentials were used.
        credentials: String,
    },
    /// The server wants other credentials.
    #[error("{url}: the server refused access ({credentials}): {advice}")]
    Refused {
        /// Address.
        url: String,
        /// Which credentials were used.
        credentials: String,
        /// What to do.
        advice: String,
    },
    /// Credentials that cannot be sent.
    #[error("user name or password of Secret {secret} has a line break in it: remove it")]
    Credentials {
        /// Name of the Secret.
        secret: String,
    },
    /// No usable answer.
    #[error("{url} cannot be looked up: {message}")]
    Unreachable {
        /// Address.
        url: String,
        /// What went wrong.
        message: String,
    },
    /// An address that may not be connected to, or to which no credentials may be sent.
    #[error("{url} is not looked up: {message}")]
    Forbidden {
        /// Address.
        url: String,
        /// Why not.
        message: String,
    },
}

/// Credentials, and where they come from.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// Name of the Secret.
    pub secret: &'a str,
    /// What it holds.
    pub credentials: &'a GitCredentials,
}

/// Looks up branches and tags.
#[derive(Clone, Debug)]
pub struct Git(Client);

impl Git {
    /// With the protocols and the time limit that are allowed.
    pub fn new(limits: &GitLimits, web: Web) -> Self {
        let seconds = limits.timeout_seconds.clamp(1, SECONDS);
        Self(Client::new(
            web,
            limits.protocols.clone(),
            Duration::from_secs(seconds),
        ))
    }

    /// The commit that `target` names now.
    pub async fn resolve(
        &self,
        url: &str,
        target: &GitTarget,
        access: Option<Access<'_>>,
    ) -> Result<Found, GitError> {
        let name = match target {
            GitTarget::Commit(commit) => {
                return Ok(Found {
                    commit: commit.clone(),
                    r#ref: commit.clone(),
                });
            }
            GitTarget::Default => "HEAD",
            GitTarget::Named(name) => name,
        };
        let credentials = access.map(|access| Credentials {
            username: &access.credentials.username,
            password: &access.credentials.password.0,
        });
        if let Some(access) = access
            && credentials.is_some_and(|c| !c.fit())
        {
            return Err(GitError::Credentials {
                secret: access.secret.to_owned(),
            });
        }
        let wrong = |error| wrong(url, access, error);
        let wanted = wanted(name);
        let mut refs = BTreeMap::new();
        let mut see = |commit: &str, name: &str| {
            if wanted.iter().any(|wanted| wanted == name) {
                refs.insert(name.to_owned(), commit.to_owned());
            }
        };
        self.0
            .refs(url, credentials, &asked(name), &mut see)
            .await
            .map_err(wrong)?;
        if let Some(commit) = wanted.iter().find_map(|name| refs.remove(name)) {
            return Ok(Found {
                commit,
                r#ref: name.to_owned(),
            });
        }
        let mut there = There::default();
        let prefixes = ["refs/heads/", "refs/tags/"].map(str::to_owned);
        self.0
            .refs(url, credentials, &prefixes, &mut |_, name| there.see(name))
            .await
            .map_err(wrong)?;
        Err(GitError::NoSuchRef {
            url: public_url(url),
            name: name.to_owned(),
            known: there.words(name),
        })
    }
}

/// Prefixes of the refs that the server is asked for, so that it lists few others.
fn asked(name: &str) -> Vec<String> {
    if name == "HEAD" || name.starts_with("refs/") {
        return vec![name.to_owned()];
    }
    vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")]
}

/// The refs that `name` can mean, the first that exists counts: a branch before a tag of the same name, and a tag's
/// commit before the tag object.
fn wanted(name: &str) -> [String; 5] {
    [
        format!("{name}^{{}}"),
        name.to_owned(),
        format!("refs/heads/{name}"),
        format!("refs/tags/{name}^{{}}"),
        format!("refs/tags/{name}"),
    ]
}

/// The refs of a repository: the first [`NAMED`] names of each kind, and how many more there are.
#[derive(Debug, Default)]
struct There {
    branches: Names,
    tags: Names,
}

#[derive(Debug, Default)]
struct Names {
    first: Vec<String>,
    more: usize,
}

impl There {
    fn see(&mut self, name: &str) {
        if name.ends_with("^{}") {
            return;
        }
        if let Some(branch) = name.strip_prefix("refs/heads/") {
            self.branches.see(branch);
        } else if let Some(tag) = name.strip_prefix("refs/tags/") {
            self.tags.see(tag);
        }
    }

    /// Describes what the repository has instead of `name`.
    fn words(&self, name: &str) -> String {
        let mut text = String::new();
        for (what, Names { first, more }) in [("branches", &self.branches), ("tags", &self.tags)] {
            if first.is_empty() {
                continue;
            }
            let separator = if text.is_empty() { "" } else { "; " };
            // Writing into a String does not fail.
            let _ = write!(text, "{separator}its {what} are {}", first.join(", "));
            if *more > 0 {
                let _ = write!(text, " and {more} more");
            }
        }
        if text.is_empty() {
            text.push_str("it is empty");
        }
        if (4..40).contains(&name.len()) && name.chars().all(|c| c.is_ascii_hexdigit()) {
            text.push_str(" (a commit is written whole, with its 40 digits)");
        }
        text
    }
}

impl Names {
    fn see(&mut self, name: &str) {
        if self.first.len() < NAMED {
            self.first.push(text::line(name, 80));
        } else {
            self.more += 1;
        }
    }
}

/// The client's error → an error that says what to do.
fn wrong(url: &str, access: Option<Access<'_>>, error: ClientError) -> GitError {
    let credentials = access.map_or_else(
        || "no credentials were given".to_owned(),
        |a| format!("with the credentials of Secret {}", a.secret),
    );
    let url = public_url(url);
    match error {
        ClientError::Denied => GitError::Refused {
            url,
            credentials,
            advice: access.map_or_else(
                || {
                    "name a Secret with username and password, or token, in source.git.secretRef"
                        .to_owned()
                },
                |a| {
                    format!(
                        "check username and password, or token, in Secret {}, and what they may read",
                        a.secret
                    )
                },
            ),
        },
        ClientError::NoRepository => GitError::NoSuchRepository { url, credentials },
        ClientError::Readable | ClientError::Refused(_) => GitError::Forbidden {
            url,
            message: error.to_string(),
        },
        ClientError::Away(message) | ClientError::Other(message) => {
            GitError::Unreachable { url, message }
        }
    }
}

#[cfg(test)]
mod tests;
