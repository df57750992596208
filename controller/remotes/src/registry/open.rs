//! Whether a registry can be used without an account.

use http::{Method, header};
use reqwest::StatusCode;

use crate::registry::{Registry, RegistryError, account::Account, wire::Ask};
use slipway_base::zone::input::RegistryAccess;

/// What a registry allows without an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Nothing.
    No,
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

impl Registry {
    /// Tries requests without an account. Leaves nothing behind in `repository`.
    pub async fn open(access: &RegistryAccess, repository: &str) -> Result<Open, RegistryError> {
        let registry = Self::new(access)?.with_account(Account::Anonymous);
        for (open, done) in [
            (Open::Write, registry.takes(repository).await),
            (Open::Read, registry.answers().await),
        ] {
            match done {
                Ok(true) => return Ok(open),
                Err(error)
                    if error.is_transient() || matches!(error, RegistryError::Tls { .. }) =>
                {
                    return Err(error);
                }
                Ok(false) | Err(_) => {}
            }
        }
        Ok(Open::No)
    }

    /// Whether the registry lets an upload begin. The upload is cancelled at once.
    async fn takes(&self, repository: &str) -> Result<bool, RegistryError> {
        let doing = self.doing(repository, "write", "");
        let scopes = [format!("repository:{repository}:pull,push")];
        let url = self.wire.url(&[repository, "blobs", "uploads", ""]);
        let begun = self
            .wire
            .send(&doing, Ask::new(Method::POST, url, &scopes))
            .await?;
        if begun.status() != StatusCode::ACCEPTED {
            return match begun.status() {
                status if status.is_server_error() => Err(self.wire.trouble(&doing, begun).await),
                _ => Ok(false),
            };
        }
        let to = begun.headers().get(header::LOCATION);
        if let Ok(url) = self.wire.led(&doing, begun.url(), to) {
            let ask = Ask::new(Method::DELETE, url, &scopes);
            // If this request fails, the registry removes the unfinished upload by itself.
            let _ = self.wire.send(&doing, ask).await;
        }
        Ok(true)
    }

    /// Whether the registry answers without an account.
    async fn answers(&self) -> Result<bool, RegistryError> {
        let doing = self.doing("", "read", "");
        let ask = Ask::new(Method::GET, self.wire.url(&[""]), &[]);
        Ok(self.wire.send(&doing, ask).await?.status().is_success())
    }
}
