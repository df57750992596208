//! An image of the cluster's engine → the cluster's registry, under the name that pods use.

use anyhow::{Context, Result};

use crate::command::run;
use crate::facts::Facts;
use crate::layout::Layout;

/// Pushes an image of the cluster's engine to the cluster's registry. Returns its names there.
pub fn load(layout: &Layout, image: &str) -> Result<Loaded> {
    let facts = Facts::read(layout)?;
    let name = name_in_registry(image, &facts.registry.engine);
    let target = format!("{}/{name}", facts.registry.engine);
    let (socket, config) = (
        format!("unix://{}", facts.engine.socket),
        layout.at("docker-config"),
    );
    let docker = |words: &[&str]| {
        run(&[&["docker", "--config", &config, "--host", &socket], words].concat())
    };
    docker(&["tag", image, &target])?;
    let said = docker(&["push", &target])?;
    let digest = pushed(&said)
        .with_context(|| format!("the engine named no digest after pushing {target}:\n{said}"))?;
    let repository = name
        .rsplit_once(':')
        .map_or(&*name, |(repository, _)| repository);
    Ok(Loaded {
        pull: format!("{}/{repository}@{digest}", facts.registry.pull),
        tag: format!("{}/{name}", facts.registry.pull),
        digest: digest.to_owned(),
    })
}

/// The digest that `docker push` names.
pub fn pushed(said: &str) -> Option<&str> {
    said.lines()
        .rev()
        .find_map(|line| line.split("digest: ").nth(1)?.split_whitespace().next())
}

/// The names of a pushed image.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Loaded {
    /// For a pod's image, by digest.
    pub pull: String,
    /// For a pod's image, by tag.
    pub tag: String,
    pub digest: String,
}

/// The repository and tag of `image`, without the registry if it names one, and with `latest` if it names no tag.
fn name_in_registry(image: &str, registry: &str) -> String {
    let name = image.strip_prefix(&format!("{registry}/")).unwrap_or(image);
    let name = match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => name,
    };
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    if name
        .rsplit('/')
        .next()
        .is_some_and(|last| last.contains(':'))
    {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_keeps_its_repository_and_tag_in_the_registry() {
        let cases = [
            ("hello", "hello:latest"),
            ("hello:1", "hello:1"),
            ("team/hello:1", "team/hello:1"),
            ("docker.io/library/x:2", "library/x:2"),
            ("10.98.0.1:5000/x", "x:latest"),
            ("localhost/x:1", "x:1"),
        ];
        for (image, name) in cases {
            assert_eq!(name_in_registry(image, "10.98.0.1:5000"), name, "{image}");
        }
    }
}
