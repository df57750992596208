//! A request to a registry, and what came of it → the error that names both.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use crate::registry::{error::RegistryError, manifest::Platform};
use slipway_base::text;

/// Most bytes of a registry's message that are shown.
const SAID: usize = 300;

/// The request that an error belongs to.
#[derive(Clone, Copy)]
pub(super) struct Doing<'a> {
    pub(super) registry: &'a str,
    pub(super) repository: &'a str,
    pub(super) action: &'static str,
    pub(super) what: &'a str,
}

impl Doing<'_> {
    fn not_found(&self) -> RegistryError {
        RegistryError::NotFound {
            registry: self.registry.to_owned(),
            what: format!("{} {}", self.repository, self.what)
                .trim()
                .to_owned(),
        }
    }

    fn unauthorised(&self, said: &str) -> RegistryError {
        RegistryError::Unauthorised {
            registry: self.registry.to_owned(),
            repository: self.repository.to_owned(),
            action: self.action,
            said: if said.is_empty() {
                String::new()
            } else {
                format!(" ({said})")
            },
        }
    }

    pub(super) fn unreachable(&self, message: String) -> RegistryError {
        RegistryError::Unreachable {
            registry: self.registry.to_owned(),
            message,
        }
    }

    /// The registry did not answer, or not completely, within `wait`.
    pub(super) fn silent(&self, wait: Duration) -> RegistryError {
        self.unreachable(format!("no whole answer in {} s", wait.as_secs()))
    }

    pub(super) fn misled(&self, wherever: &'static str) -> RegistryError {
        RegistryError::Misled {
            registry: self.registry.to_owned(),
            wherever,
        }
    }

    /// The error for an answer with an error status. Of its body only messages in the registries' own format are shown:
    /// the address may belong to any server, whose answers the person who wrote the address must not see.
    pub(super) fn status(&self, status: StatusCode, body: &[u8]) -> RegistryError {
        let errors = serde_json::from_slice::<Envelope>(body).unwrap_or_default();
        let first = errors.errors.into_iter().next().unwrap_or_default();
        let said = text::line(&first.message, SAID);
        match (status.as_u16(), first.code.as_str()) {
            (401 | 403, _) | (_, "UNAUTHORIZED" | "DENIED") => self.unauthorised(&said),
            (404, _) | (_, "MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "BLOB_UNKNOWN" | "NOT_FOUND") => {
                self.not_found()
            }
            (code, named) => RegistryError::Refused {
                registry: self.registry.to_owned(),
                repository: self.repository.to_owned(),
                action: self.action,
                message: if said.is_empty() {
                    status.to_string()
                } else {
                    format!("{status}: {said}")
                },
                transient: code >= 500 || code == 429 || code == 408 || named == "TOOMANYREQUESTS",
            },
        }
    }

    /// The error for a request without a complete answer.
    pub(super) fn request(&self, error: reqwest::Error) -> RegistryError {
        let chain = last_causes(&error.without_url());
        let registry = self.registry.to_owned();
        // The TLS library hides its error type in an I/O error, so only the text can be searched.
        if chain.contains("certificate") || chain.contains("CertNotValid") {
            RegistryError::Tls {
                registry,
                message: chain,
            }
        } else {
            RegistryError::Unreachable {
                registry,
                message: chain,
            }
        }
    }

    /// The received bytes do not have the requested digest.
    pub(super) fn damaged(&self) -> RegistryError {
        RegistryError::Damaged {
            registry: self.registry.to_owned(),
            repository: self.repository.to_owned(),
            digest: self.what.to_owned(),
        }
    }

    /// The pushed object is not there.
    pub(super) fn vanished(&self, what: &str) -> RegistryError {
        RegistryError::Vanished {
            registry: self.registry.to_owned(),
            repository: self.repository.to_owned(),
            what: what.to_owned(),
        }
    }

    /// The image is for other platforms.
    pub(super) fn other_platform(&self, has: &str) -> RegistryError {
        let between = if self.what.starts_with("sha256:") {
            '@'
        } else {
            ':'
        };
        RegistryError::OtherPlatform {
            registry: self.registry.to_owned(),
            image: format!("image {}{between}{}", self.repository, self.what),
            has: text::line(has, SAID),
            wanted: Platform::ours().to_string(),
        }
    }

    /// The received object is of another kind. `what` and `message` may quote from it, so both are
    /// cut to one line of limited length.
    pub(super) fn invalid(
        &self,
        expected: &'static str,
        message: impl std::fmt::Display,
    ) -> RegistryError {
        let what = format!("{} {}", self.repository, self.what);
        RegistryError::Invalid {
            registry: self.registry.to_owned(),
            what: text::line(what.trim(), SAID),
            expected,
            message: text::line(&message.to_string(), SAID),
        }
    }
}

/// The last causes of an error, which say most. They leave out the address that reqwest puts in front, because the
/// reader knows it.
pub fn last_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts = vec![];
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
        next = error.source();
    }
    let from = texts.len().saturating_sub(2);
    text::line(&texts.split_off(from).join(": "), SAID)
}

/// The registries' own format for errors.
#[derive(Default, Deserialize)]
struct Envelope {
    #[serde(default)]
    errors: Vec<Said>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    code: String,
    message: String,
}
