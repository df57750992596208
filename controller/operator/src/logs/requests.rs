//! A request of the API server → a log, or a document that says which logs there are.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::StreamExt as _;
use kube::{Api, Client};
use serde::Deserialize;
use slipway_crds::v1alpha1::Build;

use crate::logs::{
    GROUP, VERSION, discovery,
    front_proxy::FrontProxy,
    pace::Pace,
    refusal::Refusal,
    review::authorize,
    seats::{Full, Seats},
    source::Source,
};
use slipway_k8s::classify::chain;

/// What a request's handler needs.
pub(super) struct Desk<S> {
    pub(super) client: Client,
    pub(super) source: Arc<S>,
    pub(super) seats: Arc<Seats>,
}

impl<S> Clone for Desk<S> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            source: Arc::clone(&self.source),
            seats: Arc::clone(&self.seats),
        }
    }
}

/// The caller of a connection.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) certificate: Arc<[u8]>,
    pub(super) proxy: Arc<FrontProxy>,
    pub(super) pace: Pace,
}

pub(super) fn router<S: Source>(desk: Desk<S>) -> Router {
    Router::new()
        .route(
            "/apis",
            get(async |Extension(caller): Extension<Caller>| {
                document(&caller, discovery::groups())
            }),
        )
        .route(
            &format!("/apis/{GROUP}"),
            get(async |Extension(caller): Extension<Caller>| document(&caller, discovery::group())),
        )
        .route(
            &format!("/apis/{GROUP}/{VERSION}"),
            get(async |Extension(caller): Extension<Caller>| {
                document(&caller, discovery::resources())
            }),
        )
        .route(
            &format!("/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/builds/{{build}}/log"),
            get(log::<S>),
        )
        .fallback(|| async { Refusal::NotFound("there is nothing at this path".to_owned()) })
        .with_state(desk)
}

fn document(caller: &Caller, document: serde_json::Value) -> Response {
    match caller.proxy.check(&caller.certificate) {
        Ok(()) => Json(document).into_response(),
        Err(error) => Refusal::Unauthorized(error.to_string()).into_response(),
    }
}

/// What a request may ask for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wish {
    /// Whether to follow the log until the Build is over.
    follow: bool,
    /// How many bytes to leave out at the start.
    skip_bytes: u64,
}

async fn log<S: Source>(
    State(desk): State<Desk<S>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
    Query(wish): Query<Wish>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let user = caller
        .proxy
        .user(&caller.certificate, &headers)
        .map_err(|error| Refusal::Unauthorized(error.to_string()))?;
    let too_many = |full: Full| Refusal::TooMany(full.to_string());
    let reader = desk.seats.ask(&user.name).map_err(too_many)?;
    authorize(&desk.client, &user, &namespace, &name).await?;
    let seat = reader.sit(&namespace).map_err(too_many)?;
    let builds: Api<Build> = Api::namespaced(desk.client, &namespace);
    let build = builds.get_opt(&name).await.map_err(|error| {
        tracing::warn!(%error, namespace, name, "cannot read a Build for its log");
        Refusal::Unavailable("the Build cannot be read just now".to_owned())
    })?;
    let Some(build) = build else {
        return Err(Refusal::NotFound(format!(
            "builds.slipway.dev {name:?} not found"
        )));
    };
    let pieces = desk
        .source
        .open(build, wish.follow, wish.skip_bytes)
        .await
        .map_err(|error| Refusal::Unavailable(chain(&error)))?
        .ok_or_else(|| {
            Refusal::NotFound(format!(
                "no log is kept of Build {name:?}: it ended before it wrote one"
            ))
        })?;
    let body = caller.pace.watch(pieces).map(move |piece| {
        // The seat is given back when the answer ends, however it ends.
        let _held = &seat;
        piece.map_err(|error| chain(&error))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}
