//! An image reference → its digest, and what its configuration says of port and user. Only with the App's own pull
//! secret: the operator's account in its registry never opens somebody's image.

use slipway_crds::v1alpha1::{ImageRevision, LocalRef};

use crate::{
    domain::app::ValidImage,
    outside::web::Web,
    registry::{Image, ImageAccess, RegistryError, Whose, resolve as ask, server},
    settings::RegistrySettings,
};

/// Key of a Secret of type kubernetes.io/dockerconfigjson.
pub const DOCKER_CONFIG: &str = ".dockerconfigjson";

/// Asks the image's registry what the reference means now: ours as an administrator has set it, any other by `web`.
/// `docker_config` is the content of the pull secret.
pub async fn resolve(
    image: &ValidImage,
    docker_config: Option<&[u8]>,
    registry: &RegistrySettings,
    web: &Web,
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
            Whose::Ours(ours)
        } else {
            Whose::Outside(web)
        },
    };
    let wanted = Image {
        registry: &reference.registry,
        repository: &reference.repository,
        wanted: reference.asked(),
    };
    let found = ask(wanted, &access).await?;
    Ok(ImageRevision {
        reference: image.written.clone(),
        resolved: image.reference.at(&found.digest),
        pull_secret_ref: image
            .pull_secret
            .as_ref()
            .map(|name| LocalRef { name: name.clone() }),
        port: single_port(found.config.exposed_ports.iter().map(String::as_str)),
        user: Some(found.config.user).filter(|user| !user.is_empty() && user.len() <= 255),
        entrypoint: found.config.has_entrypoint,
    })
}

/// The TCP port of `EXPOSE`, where there is exactly one.
fn single_port<'a>(exposed: impl Iterator<Item = &'a str>) -> Option<i32> {
    let mut ports = exposed.filter_map(|port| {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let number: i32 = number.parse().ok()?;
        (protocol == "tcp" && (1..=65535).contains(&number)).then_some(number)
    });
    ports.next().filter(|_| ports.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::single_port;

    #[test]
    fn one_exposed_port_is_the_port() {
        for (exposed, port) in [
            (vec![], None),
            (vec!["8080/tcp"], Some(8080)),
            (vec!["8080"], Some(8080)),
            (vec!["8080/tcp", "9090/tcp"], None),
            (vec!["8080/tcp", "53/udp"], Some(8080)),
            (vec!["70000/tcp"], None),
        ] {
            assert_eq!(single_port(exposed.into_iter()), port);
        }
    }
}
