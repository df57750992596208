//! An image reference → its digest, and the ports, user and entrypoint from its configuration. The request uses only
//! the App's own pull secret, never the operator's account, so that an App gets no image that it may not pull.

use slipway_crds::v1alpha1::{ImageRevision, LocalRef};

use slipway_core::{domain::app::ValidImage, settings::RegistrySettings};
use slipway_remotes::registry::{Image, ImageAccess, RegistryError, Whose, resolve as ask, server};

use crate::source::Clients;

/// Key of a Secret of type kubernetes.io/dockerconfigjson.
pub const DOCKER_CONFIG: &str = ".dockerconfigjson";

/// Asks the image's registry for the digest that the reference names now. `registry` says which one is ours;
/// `docker_config` is the content of the pull secret.
pub async fn resolve(
    image: &ValidImage,
    docker_config: Option<&[u8]>,
    registry: &RegistrySettings,
    clients: &Clients,
) -> Result<ImageRevision, RegistryError> {
    let ours = &registry.push;
    let reference = &image.reference;
    // Nodes may know our registry by another name than the operator.
    let at_ours = [&ours.address, &registry.pull_address]
        .iter()
        .any(|address| server(address) == server(&reference.registry));
    let access = ImageAccess {
        docker_config,
        registry: if at_ours {
            Whose::Ours(&clients.registry)
        } else {
            Whose::Outside(&clients.web)
        },
    };
    let wanted = Image {
        registry: &reference.registry,
        repository: &reference.repository,
        wanted: reference.asked(),
    };
    let found = ask(wanted, &access).await?;
    let ports: Vec<i32> = found.config.ports.into_iter().map(i32::from).collect();
    Ok(ImageRevision {
        reference: image.written.clone(),
        resolved: image.reference.at(&found.digest),
        pull_secret_ref: image
            .pull_secret
            .as_ref()
            .map(|name| LocalRef { name: name.clone() }),
        port: match ports.as_slice() {
            [only] => Some(*only),
            _ => None,
        },
        exposed_ports: Some(ports),
        env_port: found.config.port.map(i32::from),
        user: Some(found.config.user).filter(|user| !user.is_empty() && user.len() <= 255),
        entrypoint: found.config.entrypoint,
    })
}
