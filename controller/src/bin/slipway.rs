//! `slipway`: the operator, the zones of its builds, and the command line. See `slipway::runtime::args`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    // One TLS provider for everything. It fails only where one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    slipway::runtime::args::run(std::env::args_os().collect()).await
}
