//! Images by digest: on the engine already, or pulled with the registry's account.

use std::time::Duration;

use bollard::{auth::DockerCredentials, query_parameters::CreateImageOptionsBuilder};
use futures::TryStreamExt as _;
use tokio::time::timeout;

use crate::{
    build::{
        docker::connection::{self, Connection},
        driver::DriverError,
    },
    settings::RegistrySettings,
    zone::input::Secret,
};

/// How long a pull may make no progress. Engines tell of each piece, and of each that they unpack.
const SILENCE: Duration = Duration::from_mins(5);

/// Brings images to the engine.
#[derive(Debug)]
pub(super) struct Puller {
    address: String,
    account: Option<(String, Secret)>,
}

impl Puller {
    pub(super) fn new(registry: &RegistrySettings) -> Self {
        let account = registry
            .push
            .username
            .clone()
            .map(|name| (name, registry.push.password.clone().unwrap_or_default()));
        Self {
            address: registry.engine_address.clone(),
            account,
        }
    }

    /// The account, for images of our own registry only.
    fn credentials(&self, image: &str) -> Option<DockerCredentials> {
        let (username, password) = self.account.as_ref()?;
        image
            .strip_prefix(&self.address)
            .filter(|rest| rest.starts_with('/'))?;
        Some(DockerCredentials {
            username: Some(username.clone()),
            password: Some(password.0.clone()),
            serveraddress: Some(self.address.clone()),
            ..DockerCredentials::default()
        })
    }

    /// Pulls the image.
    pub(super) async fn pull(
        &self,
        connection: &Connection,
        image: &str,
    ) -> Result<(), DriverError> {
        let client = connection.client().await?;
        let action = format!("pull {image}");
        let options = CreateImageOptionsBuilder::new().from_image(image).build();
        let mut progress = client.create_image(Some(options), None, self.credentials(image));
        loop {
            match timeout(SILENCE, progress.try_next()).await {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(e)) => return Err(verdict(connection.failure(&action, e))),
                Err(_) => {
                    let message = format!("it came no further for {} s", SILENCE.as_secs());
                    return Err(DriverError::Troubled { action, message });
                }
            }
        }
    }
}

/// Whether the engine has the image.
pub(super) async fn is_there(connection: &Connection, image: &str) -> Result<bool, DriverError> {
    let client = connection.client().await?;
    match client.inspect_image(image).await {
        Ok(_) => Ok(true),
        Err(e) if connection::status(&e) == Some(404) => Ok(false),
        Err(e) => Err(connection.failure(&format!("look for {image}"), e)),
    }
}

/// Words with which registries and engines say that asking again will not help.
const FINAL: [&str; 5] = [
    "manifest unknown",
    "not found",
    "unauthorized",
    "denied",
    "no basic auth credentials",
];

/// Engines report whatever happens during a pull as trouble of their own.
fn verdict(error: DriverError) -> DriverError {
    match error {
        DriverError::Troubled { action, message }
            if FINAL.iter().any(|word| message.contains(word)) =>
        {
            DriverError::Refused { action, message }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{Puller, verdict};
    use crate::{build::driver::DriverError, zone::input::Secret};

    fn puller() -> Puller {
        Puller {
            address: "registry:5000".to_owned(),
            account: Some(("slipway".to_owned(), Secret("s3cret".to_owned()))),
        }
    }

    #[test]
    fn the_account_goes_to_our_registry_only() {
        assert!(
            puller()
                .credentials("registry:5000/slipway/x@sha256:1")
                .is_some()
        );
        assert!(puller().credentials("registry:50001/x").is_none());
        assert!(puller().credentials("docker.io/library/debian").is_none());
    }

    #[test]
    fn the_password_is_not_printed() {
        assert!(!format!("{:?}", puller()).contains("s3cret"));
    }

    #[test]
    fn a_missing_image_is_final_and_a_lost_connection_is_not() {
        let said = |message: &str| {
            verdict(DriverError::Troubled {
                action: "pull it".to_owned(),
                message: message.to_owned(),
            })
        };
        assert!(matches!(
            said("manifest unknown: x"),
            DriverError::Refused { .. }
        ));
        assert!(matches!(
            said("dial tcp: connection refused"),
            DriverError::Troubled { .. }
        ));
    }
}
