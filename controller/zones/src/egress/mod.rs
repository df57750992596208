//! The build zone's only way out: an HTTP proxy that runs beside it, in the operator's own image.
//!
//! ```text
//! build ──(a network with no way out)──▶ egress ──▶ package registries, mirrors
//! ```
//!
//! Buildpacks run what a stranger wrote, on a machine that reaches more than its author can. Every name is resolved
//! here, every address held to [`slipway_base::outside`], and the connection goes to an address that was checked. Where the
//! administrator has set a proxy for builds, it is what this one passes on to, and its password stays here.

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

/// Most connections at once of one build. Package managers open some dozens.
const MOST: usize = 512;

/// Serves until SIGTERM: the container goes with its Build.
pub async fn run(input: &EgressInput, console: &Console) -> io::Result<()> {
    let mut policy = input.outside.clone();
    policy.own.extend(local::networks());
    let way = Arc::new(Way::new(policy, &input.process_env));
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, layout::EGRESS_PORT)).await {
        Ok(listener) => listener,
        // A machine that was started without IPv6.
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
                // One that ended before it was taken, or too many open files: the next one may do better.
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
