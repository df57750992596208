//! The local cluster: its facts, a client, and HTTP requests to Services through the API server.

use std::time::Duration;

use anyhow::{Context as _, Result};
use http::Request;
use kube::{Client, Config, config::KubeConfigOptions, config::Kubeconfig};
use slipway_cluster::{facts::Facts, layout::Layout};

/// Namespace of the operator.
pub const NAMESPACE: &str = "slipway-system";
/// Name of its Deployment, Service and ServiceAccount.
pub const OPERATOR: &str = "slipway";

/// A cluster that is up.
#[derive(Clone)]
pub struct Cluster {
    /// Its addresses and files.
    pub facts: Facts,
    /// A client with the admin's rights.
    pub client: Client,
}

/// What a Service answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: String,
}

impl Cluster {
    /// Connects to the cluster that is up. If there is none, the error says what to do.
    pub async fn connect() -> Result<Self> {
        let facts = facts()?;
        let client = client(&facts, None).await?;
        Ok(Self { facts, client })
    }

    /// A client for the same cluster as another user. It does not retry refused requests.
    pub async fn as_user(&self, user: &str) -> Result<Client> {
        client(&self.facts, Some(user)).await
    }

    /// GET of a Service's port 80 through the API server's proxy.
    pub async fn get(&self, namespace: &str, service: &str, path: &str) -> Result<Answer> {
        let path = path.trim_start_matches('/');
        let uri = format!("/api/v1/namespaces/{namespace}/services/{service}:80/proxy/{path}");
        request(&self.client, &uri).await
    }
}

/// GET of any path of the API server.
pub async fn request(client: &Client, uri: &str) -> Result<Answer> {
    let request = Request::get(uri).body(kube::client::Body::empty())?;
    let response = client.send(request).await.context(uri.to_owned())?;
    let status = response.status().as_u16();
    let body = response.into_body().collect_bytes().await?;
    Ok(Answer {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// The facts of the cluster that is up.
pub fn facts() -> Result<Facts> {
    Facts::read(&layout()?)
}

/// The folders of the local cluster, as `slipway-cluster` uses them for root. Its cache is not needed here.
pub fn layout() -> Result<Layout> {
    Layout::new("/var/lib/slipway-cluster", "/nonexistent")
}

async fn client(facts: &Facts, user: Option<&str>) -> Result<Client> {
    // Names the provider, in case two are compiled in one day. A second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(&facts.kubeconfig)
        .with_context(|| format!("reading {}", facts.kubeconfig))?;
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(Duration::from_secs(10));
    config.default_retry = user.is_none();
    config.auth_info.impersonate = user.map(str::to_owned);
    Ok(Client::try_from(config)?)
}
