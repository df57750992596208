//! Whether a registry asks who is there.

use http::{Method, header};
use reqwest::StatusCode;

use crate::registry::{Registry, RegistryError, account::Account, wire::Ask};
use slipway_base::zone::input::RegistryAccess;

/// What a registry lets anybody do who gives no account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Nothing.
    No,
    /// To read.
    Read,
    /// To read and write.
    Write,
}

impl Registry {
    /// Finds out, without the account; nothing is left behind in `repository`.
    pub async fn open(access: &RegistryAccess, repository: &str) -> Result<Open, RegistryError> {
        let registry = Self::trusted(access, Account::Anonymous)?;
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

    /// Whether an upload may begin. It is given up at once.
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
            // Registries drop what nobody finishes.
            let _ = self.wire.send(&doing, ask).await;
        }
        Ok(true)
    }

    /// Whether it answers before it knows who asks.
    async fn answers(&self) -> Result<bool, RegistryError> {
        let doing = self.doing("", "read", "");
        let ask = Ask::new(Method::GET, self.wire.url(&[""]), &[]);
        Ok(self.wire.send(&doing, ask).await?.status().is_success())
    }
}
