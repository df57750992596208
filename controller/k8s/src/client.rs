//! Cluster configuration → client. Every request has a time limit; a watch has one of its own. The operator's client
//! ([`counted`]) removes oversized `managedFields` from answers: see [`super::managed_fields`].

use std::{
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, TryFutureExt as _, future::BoxFuture};
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, combinators::MapFrame};
use hyper::body::Frame;
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use tower::{Service, layer::layer_fn};

use crate::managed_fields::Filter;
use slipway_telemetry::meters::ClientMeters;

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

/// A client configured by the kubeconfig, or else, inside a cluster, by the pod's ServiceAccount.
pub async fn client() -> Result<Client, ClientError> {
    let builder = ClientBuilder::try_from(config().await?).map_err(ClientError::Client)?;
    Ok(builder.build())
}

/// The same, with requests counted and oversized `managedFields` removed from answers.
pub async fn counted(meters: ClientMeters) -> Result<Client, ClientError> {
    let builder = ClientBuilder::try_from(config().await?).map_err(ClientError::Client)?;
    let counted = layer_fn(|inner| Counted {
        inner,
        meters: meters.clone(),
    });
    let filtered = layer_fn(|inner| Filtered { inner });
    Ok(builder.with_layer(&counted).with_layer(&filtered).build())
}

async fn config() -> Result<Config, ClientError> {
    let mut config = Config::infer().await.map_err(ClientError::Config)?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    config.write_timeout = Some(WRITE);
    // The client does not repeat a refused request by itself, which could take minutes: its caller gives up its turn
    // and tries again later.
    config.default_retry = false;
    Ok(config)
}

/// Counts requests.
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

/// Removes oversized `managedFields` from answers.
struct Filtered<S> {
    inner: S,
}

type Passes = Box<dyn FnMut(Frame<Bytes>) -> Frame<Bytes> + Send>;

impl<S, B> Service<Request<Body>> for Filtered<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: hyper::body::Body<Data = Bytes> + 'static,
{
    type Response = Response<MapFrame<B, Passes>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.inner.call(request).map_ok(filtered).boxed()
    }
}

fn filtered<B: hyper::body::Body<Data = Bytes>>(
    response: Response<B>,
) -> Response<MapFrame<B, Passes>> {
    let kind = response.headers().get(CONTENT_TYPE);
    // A pod's log is text, and is passed on as it is.
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let mut filter = Filter::default();
    let passes: Passes = if is_json {
        Box::new(move |frame| frame.map_data(|piece| filter.pass(&piece)))
    } else {
        Box::new(|frame| frame)
    };
    response.map(|body| body.map_frame(passes))
}

#[cfg(test)]
mod tests {
    use super::filtered;
    use bytes::Bytes;
    use http::{Response, header::CONTENT_TYPE};
    use http_body_util::{BodyExt as _, Full};

    #[tokio::test]
    async fn objects_are_filtered_and_logs_are_not() {
        let fields = "x".repeat(1 << 20);
        let text = format!(r#"{{"metadata":{{"managedFields":["{fields}"]}}}}"#);
        for (kind, wanted) in [
            ("application/json", r#"{"metadata":{"managedFields":null}}"#),
            (
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                r#"{"metadata":{"managedFields":null}}"#,
            ),
            ("text/plain", text.as_str()),
        ] {
            let body = Full::new(Bytes::from(text.clone()));
            let response = Response::builder().header(CONTENT_TYPE, kind);
            let answer = filtered(response.body(body).unwrap()).into_body();
            let read = answer.collect().await.unwrap().to_bytes();
            assert_eq!(read, wanted.as_bytes(), "{kind}");
        }
    }
}
