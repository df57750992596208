//! Settings and command line → the parts that the operator is made from.

use std::{net::IpAddr, sync::Arc};

use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::{
    runtime::{
        error::OperatorError,
        flags::OperatorArgs,
        hash_key::Key,
        runner::{Runner, runner},
    },
    source::{Clients, git::Git},
};
use slipway_core::{domain::env::HashKey, settings::Settings};
use slipway_k8s::{clock::Clock, events::Publisher};
use slipway_remotes::{registry::Registry, web::Web};
use slipway_telemetry::meters::{BuildMeters, ControllerMeters, DeployMeters};

/// The meters of the controllers and of what they do.
pub(super) struct WorkMeters {
    /// Of reconciles.
    pub(super) controllers: ControllerMeters,
    /// Of Builds.
    pub(super) builds: BuildMeters,
    /// Of roll-outs.
    pub(super) deploys: DeployMeters,
}

/// What the operator is made from.
pub(super) struct Parts {
    pub(super) client: Client,
    pub(super) settings: Arc<Settings>,
    pub(super) clock: Clock,
    pub(super) events: Publisher,
    pub(super) meters: WorkMeters,
    pub(super) driver: Arc<Runner>,
    pub(super) hash_key: HashKey,
    pub(super) clients: Clients,
    /// Address of this replica's pod.
    pub(super) pod_address: Option<IpAddr>,
    pub(super) stop: CancellationToken,
}

impl Parts {
    /// Makes the parts. Does not connect to anything.
    pub(super) fn new(
        args: &OperatorArgs,
        settings: Settings,
        key: Key,
        client: Client,
        clock: Clock,
        meters: WorkMeters,
        stop: CancellationToken,
    ) -> Result<Self, OperatorError> {
        let web = Web::new(
            settings.outside.clone(),
            settings.build_ca.as_deref(),
            &settings.builds.env,
        )?;
        Ok(Self {
            events: Publisher::new(client.clone(), args.identity.clone(), Arc::clone(&clock)),
            driver: Arc::new(runner(&settings, key.installation)),
            clients: Clients {
                git: Git::new(&settings.builds.git, web.clone()),
                web,
                registry: Arc::new(Registry::new(&settings.registry.push)?),
            },
            pod_address: args.pod_address,
            hash_key: key.hash_key,
            settings: Arc::new(settings),
            client,
            clock,
            meters,
            stop,
        })
    }
}
