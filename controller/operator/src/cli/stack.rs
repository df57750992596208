//! `slipway stack publish`: two images and a folder of buildpacks → artifacts in the registry, and the Stack that names
//! them by digest. The same folder gives the same digest, and what the registry has is not sent again.

mod image;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use kube::{Api, api::ObjectMeta};
use serde::Deserialize;
use slipway_crds::{
    GROUP, labels,
    v1alpha1::{Artifact, Stack, StackPack, StackSpec},
};

use slipway_base::zone::input::{self, RegistryAccess, Secret};
use slipway_k8s::{FieldManager, apply::apply_if_changed, client};
use slipway_remotes::registry::{Content, Layer, Registry};
use slipway_zones::{
    archive::{Dir, Modes, Owner, TreeOptions, write_blob},
    console::Console,
};

/// Media types of a published buildpack and its layer.
const PACK_TYPE: &str = "application/vnd.slipway.buildpack.v1";
const PACK_LAYER_TYPE: &str = "application/vnd.slipway.buildpack.v1.tar+gzip";

/// What `slipway stack` can do.
#[derive(Clone, Debug, Subcommand)]
pub enum StackCommand {
    /// Publish the stack's images and buildpacks, and write or apply the Stack
    Publish(PublishArgs),
}

/// Arguments of `slipway stack publish`.
#[derive(Clone, Debug, Args)]
pub struct PublishArgs {
    /// File that lists the stack's buildpacks; their folders are beside it
    #[arg(long, default_value = "controller/buildpacks/stack.yaml")]
    pub stack_file: PathBuf,
    /// Name of the Stack object. Apps that name none use the one that builds.defaultStack in the chart's values names
    #[arg(long, default_value = "default")]
    pub name: String,
    /// Address of the registry, host:port
    #[arg(long, env = "SLIPWAY_REGISTRY")]
    pub registry: String,
    /// First part of every repository's name
    #[arg(long, default_value = "slipway")]
    pub prefix: String,
    /// User name for the registry
    #[arg(long, env = "SLIPWAY_REGISTRY_USERNAME")]
    pub username: Option<String>,
    /// Password for the registry; better in the environment
    #[arg(long, env = "SLIPWAY_REGISTRY_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// PEM file with CAs to trust besides the system's
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// Speak plain HTTP with the registry
    #[arg(long)]
    pub insecure: bool,
    /// Docker Engine with the images that are not in the registry
    #[arg(
        long,
        default_value = "unix:///var/run/docker.sock",
        env = "DOCKER_HOST"
    )]
    pub docker: String,
    /// Build image: an image of the engine, or REPOSITORY@DIGEST in the registry. Default: slipway-stack-build:NAME
    #[arg(long)]
    pub build_image: Option<String>,
    /// Run image: an image of the engine, or REPOSITORY@DIGEST in the registry. Default: slipway-stack-run:NAME
    #[arg(long)]
    pub run_image: Option<String>,
    /// ID of the user that builds and apps run as. Default: 32767
    #[arg(long)]
    pub user_id: Option<i64>,
    /// Apply the Stack to the cluster of KUBECONFIG
    #[arg(long)]
    pub apply: bool,
    /// How to print the Stack
    #[arg(long, value_enum)]
    pub output: Option<Output>,
}

/// How to print the Stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// As YAML
    Yaml,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StackFile {
    name: String,
    packs: Vec<String>,
}

/// Publishes. Returns the Stack as YAML if `--output` asks for it.
pub async fn publish(args: &PublishArgs, console: &Console) -> anyhow::Result<Option<String>> {
    let file = read(&args.stack_file)?;
    let registry = Registry::new(&access(args)?)?.patient();
    console.heading(&format!(
        "Publishing stack {} to {}",
        file.name, args.registry
    ));
    let publisher = Publisher {
        args,
        registry,
        console,
        stack: &file.name,
    };
    let build_image = publisher
        .image("build", args.build_image.as_deref())
        .await?;
    let run_image = publisher.image("run", args.run_image.as_deref()).await?;
    let mut packs = vec![];
    for name in &file.packs {
        packs.push(publisher.pack(name).await?);
    }
    let spec = StackSpec {
        stack_name: Some(file.name),
        build_image,
        run_image,
        user_id: args.user_id,
        packs,
    };
    let stack = stack(&args.name, spec);
    if args.apply {
        apply(&stack, console).await?;
    }
    match args.output {
        None => Ok(None),
        Some(Output::Yaml) => Ok(Some(serde_yaml::to_string(&stack)?)),
    }
}

/// Publishes the parts of one stack.
struct Publisher<'a> {
    args: &'a PublishArgs,
    registry: Registry,
    console: &'a Console,
    /// Name of the stack, from its file.
    stack: &'a str,
}

impl Publisher<'_> {
    async fn image(&self, kind: &str, given: Option<&str>) -> anyhow::Result<Artifact> {
        let default = || format!("slipway-stack-{kind}:{}", self.stack);
        let name = given.map_or_else(default, str::to_owned);
        let repository = format!("{}/stacks/{}/{kind}", shared(self.args), self.stack);
        let docker = &self.args.docker;
        image::publish(&self.registry, docker, &name, &repository, self.console)
            .await
            .with_context(|| format!("the {kind} image {name}"))
    }

    async fn pack(&self, name: &str) -> anyhow::Result<StackPack> {
        let folder = self.args.stack_file.parent().unwrap_or(Path::new("."));
        let repository = format!("{}/packs/{name}", shared(self.args));
        let artifact = pack(&self.registry, &folder.join(name), &repository)
            .await
            .with_context(|| format!("buildpack {name}"))?;
        let said = format!("buildpack {name}: {}", artifact.digest);
        self.console.detail(&said);
        Ok(StackPack {
            name: name.to_owned(),
            artifact,
        })
    }
}

fn stack(name: &str, spec: StackSpec) -> Stack {
    let managed = (labels::MANAGED_BY.to_owned(), labels::SLIPWAY.to_owned());
    Stack {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            // With this label, a later publish may apply over it; a Stack without the label is somebody else's.
            labels: Some(BTreeMap::from([managed])),
            ..ObjectMeta::default()
        },
        spec,
    }
}

/// Prefix of the repositories that all namespaces share. It has a dot, which no namespace's name has, so it is no
/// App's.
fn shared(args: &PublishArgs) -> String {
    format!("{}/{GROUP}", args.prefix)
}

fn read(path: &Path) -> anyhow::Result<StackFile> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file: StackFile = serde_yaml::from_str(&text).with_context(|| {
        format!(
            "{} is not a stack file (with name and packs)",
            path.display()
        )
    })?;
    let mut seen = BTreeSet::new();
    for name in &file.packs {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || !name.chars().all(plain) {
            bail!(
                "{}: {name:?} is not a buildpack's name: use lower-case letters, digits and -",
                path.display()
            );
        }
        if !seen.insert(name) {
            bail!("{}: buildpack {name} is listed twice", path.display());
        }
    }
    Ok(file)
}

fn access(args: &PublishArgs) -> anyhow::Result<RegistryAccess> {
    let ca_pem = args
        .ca
        .as_ref()
        .map(|path| {
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        })
        .transpose()?;
    Ok(RegistryAccess {
        address: args.registry.clone(),
        username: args.username.clone(),
        password: args.password.clone().map(Secret),
        ca_pem,
        insecure: args.insecure,
    })
}

/// The tag that keeps the content from the registry's garbage collection.
fn tag(digest: &str) -> String {
    digest
        .trim_start_matches("sha256:")
        .chars()
        .take(16)
        .collect()
}

async fn pack(registry: &Registry, folder: &Path, repository: &str) -> anyhow::Result<Artifact> {
    for name in ["bin/detect", "bin/compile"] {
        if !folder.join(name).is_file() {
            bail!("{} has no {name}", folder.display());
        }
    }
    let options = TreeOptions {
        owner: Owner::default(),
        time: 0,
        modes: Modes::Normal,
        max_bytes: 256 * 1024 * 1024,
        max_entries: 10_000,
    };
    let dir = Dir::open(folder)?;
    let blob = write_blob(options, |writer| {
        writer.tree(&dir, Path::new(""), &|name| name == ".git")
    })?;
    let tag = tag(&blob.digest);
    let layer = Layer {
        media_type: PACK_LAYER_TYPE.to_owned(),
        content: Content::from(&blob),
        annotations: BTreeMap::new(),
    };
    let artifact = registry
        .push_artifact(repository, &tag, PACK_TYPE, &[layer], BTreeMap::new())
        .await?;
    Ok(published(artifact))
}

fn published(artifact: input::Artifact) -> Artifact {
    Artifact {
        repository: artifact.repository,
        digest: artifact.digest,
    }
}

async fn apply(stack: &Stack, console: &Console) -> anyhow::Result<()> {
    let api: Api<Stack> = Api::all(client::client().await?);
    let name = stack.metadata.name.as_deref().unwrap_or_default();
    let live = api
        .get_opt(name)
        .await
        .context("cannot read the Stack: are Slipway's kinds installed?")?;
    let applied = apply_if_changed(&api, FieldManager::Stack, stack, live.as_ref()).await?;
    console.detail(&if applied.wrote {
        format!("stack.slipway.dev/{name} applied")
    } else {
        format!("stack.slipway.dev/{name} unchanged")
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::read;

    #[test]
    fn the_bundled_stack_file_is_one() {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../buildpacks/stack.yaml");
        let file = read(&path).unwrap();
        for name in &file.packs {
            let compile = path.parent().unwrap().join(name).join("bin/compile");
            assert!(compile.is_file(), "{}", compile.display());
        }
    }

    #[test]
    fn a_stack_file_that_is_none_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stack.yaml");
        for (text, expected) in [
            ("packs: []", "not a stack file"),
            ("name: a\npacks: [../x]", "not a buildpack's name"),
            ("name: a\npacks: [x, x]", "twice"),
        ] {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
