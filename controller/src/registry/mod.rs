//! The registry: everything big is there, by digest.
//!
//! Blobs stream between files and network and are never held in memory, and nothing else is without a bound; whatever
//! comes in is checked against its digest before anybody reads it. Failures that may pass are tried again within a bound, and errors say which
//! registry, and what to check.

mod account;
mod artifact;
mod error;
pub mod manifest;
mod open;
mod resolve;
mod transfer;
mod wire;

use std::{future::Future, sync::Arc, time::Duration};

use reqwest::Url;

pub use artifact::{Content, Layer};
pub use error::RegistryError;
pub(crate) use error::chain;
pub use manifest::{Descriptor, ImageManifest, Manifest, RunConfig};
pub use open::Open;
pub use resolve::{Image, ImageAccess, Resolved, resolve, server};

use crate::{outside::policy::Policy, zone::input::RegistryAccess};
use account::Account;
use error::Doing;
use wire::Wire;

/// Most bytes of a manifest or config that a look-up takes.
const BRIEF: u64 = 1024 * 1024;

/// A registry, with an account.
#[derive(Clone)]
pub struct Registry {
    wire: Arc<Wire>,
    address: String,
    attempts: u32,
}

impl Registry {
    /// Sets up the client of a registry that an administrator has named; nothing is asked yet.
    pub fn new(access: &RegistryAccess) -> Result<Self, RegistryError> {
        let account = match (&access.username, &access.password) {
            (Some(username), Some(password)) => Account::Named {
                username: username.clone(),
                password: password.0.clone(),
            },
            _ => Account::Anonymous,
        };
        let ca_pem = access.ca_pem.as_deref();
        Self::with(&access.address, account, ca_pem, access.insecure, None)
    }

    /// A registry that a tenant has named has a policy: where connections may go.
    fn with(
        address: &str,
        account: Account,
        ca_pem: Option<&str>,
        insecure: bool,
        policy: Option<Arc<Policy>>,
    ) -> Result<Self, RegistryError> {
        let wrong = |message| RegistryError::Setup {
            registry: address.to_owned(),
            message,
        };
        let scheme = if insecure { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{address}/"))
            .ok()
            .filter(|url| url.path() == "/" && url.query().is_none() && url.username().is_empty())
            .ok_or_else(|| wrong("its address is not host:port".to_owned()))?;
        Ok(Self {
            wire: Arc::new(Wire::new(base, account, ca_pem, policy).map_err(wrong)?),
            address: address.to_owned(),
            attempts: 3,
        })
    }

    /// Goes on trying for about a minute: for zones, which nobody starts again.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.attempts = 8;
        self
    }

    /// Takes no longer documents than images have: for what strangers name, many of which are looked up at once.
    #[must_use]
    fn brief(mut self) -> Self {
        if let Some(wire) = Arc::get_mut(&mut self.wire) {
            wire.bounds.document = BRIEF;
        }
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

#[cfg(test)]
mod tests;
