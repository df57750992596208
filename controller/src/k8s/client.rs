//! Cluster configuration → client. Every request has a time limit except a watch, which has its own.

use std::time::Duration;

use kube::{Client, Config};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither in a cluster nor with a kubeconfig.
    #[error(
        "no Kubernetes cluster is configured: run inside a cluster, or set KUBECONFIG to a kubeconfig file"
    )]
    Config(#[source] kube::config::InferConfigError),
    /// The configuration cannot be used.
    #[error("the Kubernetes configuration cannot be used")]
    Client(#[source] kube::Error),
}

/// Longest time to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence while an answer is read. A watch is never silent for as long: it ends after 290 seconds.
const READ: Duration = Duration::from_secs(295);
/// Longest time to send a request.
const WRITE: Duration = Duration::from_secs(30);

/// A client by the environment: in the cluster, else by kubeconfig.
pub async fn client() -> Result<Client, ClientError> {
    with_timeouts(Config::infer().await.map_err(ClientError::Config)?)
}

/// A client by a configuration.
pub fn with_timeouts(mut config: Config) -> Result<Client, ClientError> {
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    config.write_timeout = Some(WRITE);
    Client::try_from(config).map_err(ClientError::Client)
}
