//! The build zone's only way out: an HTTP proxy in a container beside it, from the operator's own image.
//!
//! ```text
//! build ──(a network with no way out)──▶ egress ──▶ package registries, mirrors
//! ```
//!
//! Buildpacks run untrusted code on a machine that can reach more than the code's author can. So this proxy resolves
//! every name, checks every address against [`slipway_base::outside`], and connects only to an address that it has
//! checked. If the administrator has set a proxy for builds, requests are passed on to that one, and its password never
//! reaches the build.

mod local;
mod proxy;
mod way;

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use crate::{console::Console, egress::way::Way};
use slipway_base::zone::{input::EgressInput, layout};

/// Most connections of one build at once. Package managers open some dozens.
const MOST: usize = 512;

/// Serves until SIGTERM; the container is removed with its Build.
pub async fn run(input: &EgressInput, console: &Console) -> io::Result<()> {
    let mut policy = input.outside.clone();
    policy.own.extend(local::networks());
    let way = Arc::new(Way::new(policy, &input.process_env));
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, layout::EGRESS_PORT)).await {
        Ok(listener) => listener,
        // The machine was started without IPv6.
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, layout::EGRESS_PORT)).await?,
    };
    let mut stop = signal(SignalKind::terminate())?;
    console.heading("Ready");
    tokio::select! {
        () = serve(listener, way, console.clone()) => {}
        _ = stop.recv() => {}
    }
    Ok(())
}

async fn serve(listener: TcpListener, way: Arc<Way>, console: Console) {
    let mut connections = JoinSet::new();
    loop {
        let full = connections.len() >= MOST;
        tokio::select! {
            _ = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if !full => {
                // The connection ended before it was accepted, or too many files are open: accept the next one.
                let Ok((stream, _)) = accepted else {
                    tokio::task::yield_now().await;
                    continue;
                };
                connections.spawn(proxy::connection(stream, Arc::clone(&way), console.clone()));
            }
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "servers of a test end with its runtime"
)]
mod tests;
