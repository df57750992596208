//! `slipway`: the operator, the zones of its builds, and the command line. See `slipway::runtime::args`.

use std::{io::Write as _, process::ExitCode};

fn main() -> ExitCode {
    // One TLS provider for everything. Installing it fails only if one is installed already, which does no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(slipway::runtime::args::run(std::env::args_os().collect()));
    // Do not wait for blocking threads: after a zone has given up, nobody needs what such a thread still unpacks.
    runtime.shutdown_background();
    code
}
