//! A client of an OCI registry, which stores everything large by digest.
//!
//! Blobs are streamed between files and the network and never held in memory; everything else has a limit. All received
//! content is checked against its digest before it is used. Failures that may pass are tried again a limited number of
//! times. Errors name the registry and what to check.

mod account;
mod artifact;
mod doing;
mod error;
pub mod manifest;
mod open;
mod resolve;
mod transfer;
mod wire;

use std::{future::Future, sync::Arc, time::Duration};

use reqwest::Url;

pub use artifact::{Content, Layer};
pub use doing::last_causes;
pub use error::RegistryError;
pub use manifest::{Descriptor, ImageManifest, Manifest, config::RunConfig};
pub use open::Open;
pub use resolve::{Image, ImageAccess, Resolved, Whose, resolve, server};

use crate::web::Web;
use account::Account;
use doing::Doing;
use slipway_base::zone::input::RegistryAccess;
use wire::Wire;

/// Most bytes of a manifest or config when a user's image is looked up.
const BRIEF: u64 = 1024 * 1024;

/// A registry and the account for it.
#[derive(Clone)]
pub struct Registry {
    wire: Arc<Wire>,
    address: String,
    attempts: u32,
}

impl Registry {
    /// Sets up the client of a registry that an administrator has named. Sends nothing yet.
    pub fn new(access: &RegistryAccess) -> Result<Self, RegistryError> {
        let account = match (&access.username, &access.password) {
            (Some(username), Some(password)) => Account::Named {
                username: username.clone(),
                password: password.0.clone(),
            },
            _ => Account::Anonymous,
        };
        let scheme = if access.insecure { "http" } else { "https" };
        let base = base(scheme, &access.address)?;
        let wire = Wire::trusted(base, account, access.ca_pem.as_deref());
        let wire = wire.map_err(|error| setup(&access.address, error.to_string()))?;
        Ok(Self::by(&access.address, wire))
    }

    /// The same registry for another account: a client is costly to set up, as it reads the system's certificates.
    fn with_account(&self, account: Account) -> Self {
        Self::by(&self.address, self.wire.with_account(account))
    }

    /// A registry that a tenant has named; only over TLS.
    fn outside(address: &str, account: Account, web: &Web) -> Result<Self, RegistryError> {
        let base = base("https", address)?;
        Ok(Self::by(address, Wire::outside(base, account, web.clone())))
    }

    fn by(address: &str, wire: Wire) -> Self {
        Self {
            wire: Arc::new(wire),
            address: address.to_owned(),
            attempts: 3,
        }
    }

    /// Tries again for about a minute: for zones, which nobody starts a second time.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.attempts = 8;
        self
    }

    /// Limits documents to the size that those of images have: for images that tenants name, many of which are looked
    /// up at once.
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

    /// Repeats the attempt after failures that may pass.
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

/// The base address of the registry's API.
fn base(scheme: &str, address: &str) -> Result<Url, RegistryError> {
    Url::parse(&format!("{scheme}://{address}/"))
        .ok()
        .filter(|url| url.path() == "/" && url.query().is_none() && url.username().is_empty())
        .ok_or_else(|| setup(address, "its address is not host:port".to_owned()))
}

fn setup(address: &str, message: String) -> RegistryError {
    RegistryError::Setup {
        registry: address.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests;
