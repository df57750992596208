//! Finds images by digest on the engine, or pulls them with the registry's account.

use std::time::Duration;

use bollard::{auth::DockerCredentials, query_parameters::CreateImageOptionsBuilder};
use futures::TryStreamExt as _;
use tokio::time::timeout;

use crate::{
    contract::DriverError,
    docker::connection::{self, Connection},
};
use slipway_base::zone::input::Secret;
use slipway_core::{build::plan::PlanImage, settings::RegistrySettings};

/// How long a pull may make no progress. Engines report the download and the unpacking of each layer.
const SILENCE: Duration = Duration::from_mins(5);

/// Pulls images to the engine.
#[derive(Debug)]
pub(super) struct Puller {
    /// Reference of the operator's own image.
    own: String,
    /// Slipway's registry as the engine reaches it.
    address: String,
    account: Option<(String, Secret)>,
}

impl Puller {
    /// `own` is the reference of the operator's own image.
    pub(super) fn new(own: String, registry: &RegistrySettings) -> Self {
        let account = registry
            .push
            .username
            .clone()
            .map(|name| (name, registry.push.password.clone().unwrap_or_default()));
        Self {
            own,
            address: registry.engine_address.clone(),
            account,
        }
    }

    /// A plan's image, as the engine pulls it.
    pub(super) fn reference(&self, image: &PlanImage) -> String {
        match image {
            PlanImage::Own => self.own.clone(),
            PlanImage::Ours(artifact) => format!(
                "{}/{}@{}",
                self.address, artifact.repository, artifact.digest
            ),
        }
    }

    /// Whether the image is in Slipway's own registry.
    fn is_ours(&self, image: &str) -> bool {
        let rest = image.strip_prefix(&self.address);
        rest.is_some_and(|rest| rest.starts_with('/'))
    }

    /// The account, only for images in Slipway's own registry.
    fn credentials(&self, image: &str) -> Option<DockerCredentials> {
        let (username, password) = self.account.as_ref().filter(|_| self.is_ours(image))?;
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
                Ok(Err(e)) => {
                    return Err(verdict(connection.failure(&action, e), self.is_ours(image)));
                }
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

/// Messages of registries and engines that mean: there is no such image.
const MISSING: [&str; 2] = ["manifest unknown", "not found"];

/// Messages that mean: this account may not pull the image.
const DENIED: [&str; 3] = ["unauthorized", "denied", "no basic auth credentials"];

/// Decides whether a failed pull is final. Engines report any failure of a pull as an error of their own or as a
/// refusal. It is final if trying again cannot help: for a missing image, and if another registry refuses the account.
/// If Slipway's own registry refuses it, its password may just be being changed.
fn verdict(error: DriverError, ours: bool) -> DriverError {
    let (action, message, refused) = match error {
        DriverError::Troubled { action, message } => (action, message, false),
        DriverError::Refused { action, message } => (action, message, true),
        other @ DriverError::Unreachable { .. } => return other,
    };
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let denied = says(&DENIED);
    if says(&MISSING) || (denied && !ours) || (refused && !denied) {
        DriverError::Refused { action, message }
    } else {
        DriverError::Troubled { action, message }
    }
}

#[cfg(test)]
mod tests {
    use super::{Puller, verdict};
    use crate::contract::DriverError;
    use slipway_base::zone::input::{Artifact, Secret};
    use slipway_core::build::plan::PlanImage;

    fn puller() -> Puller {
        Puller {
            own: "elsewhere:5000/operator:1".to_owned(),
            address: "registry:5000".to_owned(),
            account: Some(("slipway".to_owned(), Secret("s3cret".to_owned()))),
        }
    }

    #[test]
    fn an_image_is_named_as_the_engine_reaches_it() {
        let ours = PlanImage::Ours(Artifact {
            repository: "slipway/x".to_owned(),
            digest: "sha256:1".to_owned(),
        });
        let references = [PlanImage::Own, ours].map(|image| puller().reference(&image));
        assert_eq!(
            references,
            [
                "elsewhere:5000/operator:1",
                "registry:5000/slipway/x@sha256:1"
            ]
        );
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
        let (troubled, refused) = (false, true);
        for (ours, by, message, is_final) in [
            (true, troubled, "manifest unknown: x", true),
            (true, refused, "r:5000/x@sha256:1: not found", true),
            (true, troubled, "dial tcp: connection refused", false),
            (true, refused, "invalid reference format", true),
            // A proxy answers for a registry that does not run.
            (true, troubled, "unexpected status: 404 Not Found", false),
            // A password that is just being changed.
            (
                true,
                troubled,
                "unauthorized: authentication required",
                false,
            ),
            (
                true,
                refused,
                "unauthorized: authentication required",
                false,
            ),
            (true, refused, "denied: requested access is denied", false),
            (true, troubled, "no basic auth credentials", false),
            (
                false,
                troubled,
                "unauthorized: authentication required",
                true,
            ),
            (false, troubled, "denied: requested access is denied", true),
            (false, troubled, "no basic auth credentials", true),
            (false, troubled, "dial tcp: connection refused", false),
        ] {
            let (action, message) = ("pull it".to_owned(), message.to_owned());
            let said = if by == refused {
                DriverError::Refused { action, message }
            } else {
                DriverError::Troubled { action, message }
            };
            let error = verdict(said, ours);
            let refused = matches!(error, DriverError::Refused { .. });
            assert_eq!(refused, is_final, "{ours} {error}");
        }
    }
}
