//! The registry: everything big is there, by digest.
//!
//! Blobs stream between files and network and are never held in memory; whatever comes in is checked against its
//! digest before anybody reads it. Failures that may pass are tried again within a bound, and errors say which
//! registry, and what to check.

mod artifact;
mod error;
pub mod manifest;
mod resolve;
mod transfer;

use std::{future::Future, time::Duration};

use oci_client::{
    Client, Reference,
    client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol},
    secrets::RegistryAuth,
};

pub use artifact::{Content, Layer};
pub use error::RegistryError;
pub(crate) use error::chain;
pub use manifest::{Descriptor, ImageManifest, Manifest, RunConfig};
pub use resolve::{ImageAccess, Resolved, resolve};

use crate::zone::input::RegistryAccess;
use error::Doing;

/// Longest wait for a connection, and for the next bytes of an answer.
const CONNECT: Duration = Duration::from_secs(10);
const READ: Duration = Duration::from_mins(1);

/// A registry, with an account.
#[derive(Clone)]
pub struct Registry {
    client: Client,
    /// For blobs on their way up: the wait for an answer counts from the request's begin, and there is none before the
    /// last byte has gone. Each upload has a bound of its own instead.
    uploads: Client,
    address: String,
    auth: RegistryAuth,
    attempts: u32,
}

impl Registry {
    /// Sets up the client; nothing is asked yet.
    pub fn new(access: &RegistryAccess) -> Result<Self, RegistryError> {
        let auth = match (&access.username, &access.password) {
            (Some(username), Some(password)) => {
                RegistryAuth::Basic(username.clone(), password.0.clone())
            }
            _ => RegistryAuth::Anonymous,
        };
        Self::with(
            &access.address,
            auth,
            access.ca_pem.as_deref(),
            access.insecure,
        )
    }

    fn with(
        address: &str,
        auth: RegistryAuth,
        ca_pem: Option<&str>,
        insecure: bool,
    ) -> Result<Self, RegistryError> {
        let client = |read_timeout| {
            let config = ClientConfig {
                protocol: if insecure {
                    ClientProtocol::Http
                } else {
                    ClientProtocol::Https
                },
                use_monolithic_push: true,
                extra_root_certificates: ca_pem
                    .map(certificates)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|data| Certificate {
                        encoding: CertificateEncoding::Pem,
                        data,
                    })
                    .collect(),
                connect_timeout: Some(CONNECT),
                read_timeout,
                user_agent: "slipway",
                ..ClientConfig::default()
            };
            Client::try_from(config).map_err(|error| RegistryError::Setup {
                registry: address.to_owned(),
                message: error.to_string(),
            })
        };
        Ok(Self {
            client: client(Some(READ))?,
            uploads: client(None)?,
            address: address.to_owned(),
            auth,
            attempts: 3,
        })
    }

    /// Goes on trying for about a minute: for zones, which nobody starts again.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.attempts = 8;
        self
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn doing<'a>(&'a self, repository: &'a str, action: &'static str, what: &'a str) -> Doing<'a> {
        Doing {
            registry: &self.address,
            repository,
            action,
            what,
        }
    }

    fn tagged(&self, repository: &str, tag: &str) -> Reference {
        let (registry, repository) = (self.address.clone(), repository.to_owned());
        if tag.starts_with("sha256:") {
            Reference::with_digest(registry, repository, tag.to_owned())
        } else {
            Reference::with_tag(registry, repository, tag.to_owned())
        }
    }

    /// A reference to the repository as a whole, with the account known to the clients.
    async fn repository(&self, repository: &str) -> Reference {
        for client in [&self.client, &self.uploads] {
            client.store_auth_if_needed(&self.address, &self.auth).await;
        }
        self.tagged(repository, "none")
    }

    /// Tries again what may pass by itself.
    async fn retry<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, RegistryError>>,
    {
        let mut delay = Duration::from_millis(250);
        let mut left = self.attempts;
        loop {
            left = left.saturating_sub(1);
            match attempt().await {
                Err(error) if left > 0 && error.is_transient() => {
                    tracing::debug!(%error, "trying the registry again");
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(Duration::from_secs(16));
                }
                done => return done,
            }
        }
    }
}

/// A bundle as single certificates: the client takes one at a time.
fn certificates(bundle: &str) -> Vec<Vec<u8>> {
    const END: &str = "-----END CERTIFICATE-----";
    bundle
        .split_inclusive(END)
        .filter(|part| part.contains("-----BEGIN CERTIFICATE-----") && part.contains(END))
        .map(|part| part.trim().as_bytes().to_vec())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::certificates;

    #[test]
    fn a_bundle_is_taken_apart() {
        let one = "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----";
        let bundle = format!("# first\n{one}\n\n{one}\ntrailing");
        assert_eq!(certificates(&bundle).len(), 2);
        assert!(certificates("").is_empty());
        assert!(certificates("-----BEGIN CERTIFICATE-----\nAA").is_empty());
    }
}
