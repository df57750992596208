//! The build zone's way out: its own network, and the proxy between it and the network of all builds.

use bollard::query_parameters::RemoveContainerOptionsBuilder;

use crate::{
    contract::DriverError,
    docker::{
        Docker, connection, container,
        create::{self, Container},
        machine,
        network::network,
    },
};
use slipway_core::build::plan::{BuildPlan, EgressPlan, PlanImage};
use slipway_core::build::zones::ZoneState;

impl Docker {
    /// The build zone's own network with its proxy on it: the network's id. Each step is skipped if it was done before.
    pub(super) async fn way_out(
        &self,
        plan: &BuildPlan,
        egress: &EgressPlan,
    ) -> Result<String, DriverError> {
        let connection = &self.connection;
        let world = network(connection, create::network()).await?;
        let closed = network(connection, create::closed_network(plan, &self.setup.owner)).await?;
        let image = self.puller.reference(&PlanImage::Own);
        let proxy = Container::of_proxy(&plan.uid, egress, image);
        let mut state = container::observe(connection, &proxy.name).await?;
        if let ZoneState::Exited { code, .. } = state {
            return Err(self.take_away(&proxy.name, code).await);
        }
        if state == ZoneState::Absent {
            let body = self.body(plan, &proxy, world);
            container::make(connection, &proxy.name, body).await?;
            state = container::observe(connection, &proxy.name).await?;
        }
        if let ZoneState::Preparing(_) = state {
            self.begin_proxy(egress, proxy, &closed).await?;
            return Ok(closed);
        }
        if state == ZoneState::Running {
            return Ok(closed);
        }
        Err(DriverError::Troubled {
            action: format!("start the build's way out {}", proxy.name),
            message: "it was removed or has ended at once".to_owned(),
        })
    }

    /// Puts the proxy on the build's network and starts it, with the engine's own addresses among those that no build
    /// may connect to.
    async fn begin_proxy(
        &self,
        egress: &EgressPlan,
        proxy: Container,
        closed: &str,
    ) -> Result<(), DriverError> {
        let client = self.connection.client().await?;
        let name = &proxy.name;
        let own = machine::addresses(&self.connection).await?;
        let file = egress.file(own).map_err(|e| DriverError::Refused {
            action: format!("take the files of {name}"),
            message: e.to_string(),
        })?;
        let request = create::known_to_build(name);
        match client.connect_network(closed, request).await {
            // The proxy is on the network already.
            Err(e) if connection::status(&e) == Some(403) => {}
            other => other.map_err(|e| {
                let action = format!("put {name} on the build's network");
                self.connection.failure(&action, e)
            })?,
        }
        container::begin(&self.connection, &proxy.with(vec![file])).await
    }

    /// Removes a proxy that has ended, and says why there is none. Without the proxy, every download of the build would
    /// fail. The next attempt creates it anew.
    async fn take_away(&self, proxy: &str, code: i64) -> DriverError {
        let action = format!("keep the build's way out {proxy} up");
        let client = match self.connection.client().await {
            Ok(client) => client,
            Err(error) => return error,
        };
        let again = RemoveContainerOptionsBuilder::new().force(true).build();
        match client.remove_container(proxy, Some(again)).await {
            Ok(()) => DriverError::Troubled {
                action,
                message: format!("it ended with code {code}"),
            },
            Err(e) => self.connection.failure(&action, e),
        }
    }
}
