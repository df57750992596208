//! Text → an image reference, and the user of an image's configuration → who it runs as. Pure.

use std::fmt;

/// An image reference with all defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageRef {
    /// `host` or `host:port`.
    pub registry: String,
    /// Repository.
    pub repository: String,
    /// Tag, if the reference has one.
    pub tag: Option<String>,
    /// Digest, if the reference has one. Then the tag is ignored.
    pub digest: Option<String>,
}

/// A text that is no image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image reference such as registry.example.com/team/app:1.2: {why}")]
pub struct ImageRefError {
    text: String,
    why: &'static str,
}

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library";

impl ImageRef {
    /// Reads a reference as Docker does.
    pub fn parse(text: &str) -> Result<Self, ImageRefError> {
        let wrong = |why| ImageRefError {
            text: text.to_owned(),
            why,
        };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest
            && !is_digest(digest)
        {
            return Err(wrong("a digest is sha256: and 64 hexadecimal digits"));
        }
        let (registry, rest) = match name.split_once('/') {
            Some((host, rest))
                if host.contains(['.', ':']) || host == "localhost" || has_upper(host) =>
            {
                (host, rest)
            }
            _ => (DEFAULT_REGISTRY, name),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if !is_host(registry) {
            return Err(wrong(
                "the registry is no host name, with or without a port",
            ));
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(wrong(
                "a tag has at most 128 letters, digits, '_', '.' and '-'",
            ));
        }
        if repository.len() > 255 || !repository.split('/').all(is_component) {
            return Err(wrong(
                "a repository has lower-case letters, digits, '.', '_', '-' and '/'",
            ));
        }
        let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
            format!("{DEFAULT_NAMESPACE}/{repository}")
        } else {
            repository.to_owned()
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// What to ask the registry for: the digest, else the tag, else `latest`.
    pub fn asked(&self) -> &str {
        self.digest
            .as_deref()
            .or(self.tag.as_deref())
            .unwrap_or("latest")
    }

    /// The same image, by digest.
    pub fn at(&self, digest: &str) -> String {
        format!("{}/{}@{digest}", self.registry, self.repository)
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = if self.digest.is_some() { '@' } else { ':' };
        write!(
            f,
            "{}/{}{between}{}",
            self.registry,
            self.repository,
            self.asked()
        )
    }
}

fn has_upper(text: &str) -> bool {
    text.chars().any(|c| c.is_ascii_uppercase())
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .chars()
                .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
    })
}

fn is_host(text: &str) -> bool {
    let (host, port) = text
        .split_once(':')
        .map_or((text, None), |(h, p)| (h, Some(p)));
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    host.split('.').all(label) && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

fn is_tag(text: &str) -> bool {
    text.len() <= 128
        && text
            .chars()
            .next()
            .is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn is_component(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(inner)
        && text.ends_with(inner)
        && text
            .chars()
            .all(|c| inner(c) || matches!(c, '.' | '_' | '-'))
}

/// The user that an image runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageUser {
    /// Root, or no user, which means root.
    Root,
    /// A user by number.
    Numeric(i64),
    /// A user by name. The kubelet cannot tell whether that is root.
    Named(String),
}

impl ImageUser {
    /// Reads the `User` of an image's configuration: `user`, `user:group`, or nothing.
    pub fn parse(text: Option<&str>) -> Self {
        let user = text
            .unwrap_or_default()
            .split(':')
            .next()
            .unwrap_or_default();
        match (user, user.parse::<i64>()) {
            ("" | "root", _) | (_, Ok(0)) => Self::Root,
            (_, Ok(id)) if id > 0 => Self::Numeric(id),
            _ => Self::Named(user.to_owned()),
        }
    }

    /// Why an image with this user does not run if root is forbidden; `None` if it does.
    pub fn refused(&self) -> Option<String> {
        match self {
            Self::Numeric(_) => None,
            Self::Root => Some(
                "the image runs as root; give it a numeric user (USER 1000 in its Dockerfile), or set spec.podSecurity to Baseline where the namespace allows that"
                    .to_owned(),
            ),
            Self::Named(name) => Some(format!(
                "the image runs as user {name:?}, and a node cannot tell whether that is root; give it a numeric user (USER 1000 in its Dockerfile), or set spec.podSecurity to Baseline where the namespace allows that"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ImageRef, ImageUser};
    use proptest::prelude::*;

    #[test]
    fn references_are_read_as_engines_read_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, wanted) in [
            (
                "nginx".to_owned(),
                "docker.io/library/nginx:latest".to_owned(),
            ),
            ("team/app:1.2".into(), "docker.io/team/app:1.2".into()),
            ("localhost/app".into(), "localhost/app:latest".into()),
            ("host:5000/a/b".into(), "host:5000/a/b:latest".into()),
            (
                format!("ghcr.io/a/b:1@{digest}"),
                format!("ghcr.io/a/b@{digest}"),
            ),
        ] {
            assert_eq!(
                ImageRef::parse(&text).unwrap().to_string(),
                wanted,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_none_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "repository"),
            ("a//b", "repository"),
            ("app:", "tag"),
            ("app@sha256:12", "digest"),
            ("host:99999/app", "registry"),
            ("-x.y/app", "registry"),
            ("Team/app", "repository"),
        ] {
            let error = ImageRef::parse(text);
            if text == "Team/app" {
                assert!(error.is_ok(), "a host may have upper-case letters");
                continue;
            }
            assert!(error.unwrap_err().to_string().contains(why), "{text}");
        }
    }

    #[test]
    fn users_by_number_pass_where_root_is_forbidden() {
        for (text, user, passes) in [
            (None, ImageUser::Root, false),
            (Some(""), ImageUser::Root, false),
            (Some("0:0"), ImageUser::Root, false),
            (Some("root"), ImageUser::Root, false),
            (Some("1000:1000"), ImageUser::Numeric(1000), true),
            (Some("node"), ImageUser::Named("node".into()), false),
            (Some("-5"), ImageUser::Named("-5".into()), false),
        ] {
            let parsed = ImageUser::parse(text);
            assert_eq!(parsed, user, "{text:?}");
            assert_eq!(parsed.refused().is_none(), passes, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_what_was_written_gives_the_same(
            host in "[a-z]{1,8}\\.[a-z]{2,3}(:[1-9][0-9]{1,3})?",
            repository in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}",
            tag in "[a-z0-9_][a-zA-Z0-9_.-]{0,20}",
        ) {
            let text = format!("{host}/{repository}:{tag}");
            let parsed = ImageRef::parse(&text).unwrap();
            prop_assert_eq!(parsed.to_string(), text);
        }

        #[test]
        fn no_text_makes_it_fall_over(text in "\\PC{0,80}") {
            let _ = ImageRef::parse(&text);
        }
    }
}
