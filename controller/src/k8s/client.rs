//! Cluster configuration → client. Every request has a time limit except a watch, which has its own.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use tower::{Service, layer::layer_fn};

use crate::telemetry::meters::ClientMeters;

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
    let builder = ClientBuilder::try_from(config().await?).map_err(ClientError::Client)?;
    Ok(builder.build())
}

/// The same, and its requests are counted.
pub async fn counted(meters: ClientMeters) -> Result<Client, ClientError> {
    let builder = ClientBuilder::try_from(config().await?).map_err(ClientError::Client)?;
    let counted = layer_fn(|inner| Counted {
        inner,
        meters: meters.clone(),
    });
    Ok(builder.with_layer(&counted).build())
}

async fn config() -> Result<Config, ClientError> {
    let mut config = Config::infer().await.map_err(ClientError::Config)?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    config.write_timeout = Some(WRITE);
    Ok(config)
}

/// Counts what goes through it.
struct Counted<S> {
    inner: S,
    meters: ClientMeters,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (method, meters) = (request.method().clone(), self.meters.clone());
        self.inner
            .call(request)
            .inspect(move |answer| {
                let code = answer.as_ref().ok().map(Response::status);
                meters.answered(&method, code);
            })
            .boxed()
    }
}
