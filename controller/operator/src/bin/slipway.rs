//! `slipway`: the operator, the zones of its builds, and the command line. See `slipway::runtime::args`.

use std::{io::Write as _, process::ExitCode};

fn main() -> ExitCode {
    // One TLS provider for everything. It fails only where one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(slipway::runtime::args::run(std::env::args_os().collect()));
    // A thread that still unpacks something does so for nobody: a zone that gave up is not to wait for it.
    runtime.shutdown_background();
    code
}
