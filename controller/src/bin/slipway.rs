//! `slipway`: the operator, its zones, and what an administrator does by hand. See `slipway::cli`.

use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use anyhow::anyhow;
use clap::{Parser, Subcommand};
use slipway::{
    cli::{
        stack::{self, StackCommand},
        zone::{self, ZoneArgs},
    },
    zone::{console::Console, report::exit},
};

/// Builds and runs apps from source on Kubernetes.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a zone of a build, inside its container
    #[command(hide = true)]
    Zone(ZoneArgs),
    /// Publish what builds and runs apps
    #[command(subcommand)]
    Stack(Box<StackCommand>),
}

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            Console::new(stderr()).error(&format!("{error:#}"));
            ExitCode::from(exit::INTERNAL)
        }
    }
}

#[tokio::main]
async fn start(cli: Cli) -> anyhow::Result<u8> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("TLS was set up twice"))?;
    match cli.command {
        Command::Zone(args) => zone::run(&args, &Console::new(stdout())).await,
        Command::Stack(command) => {
            let StackCommand::Publish(args) = *command;
            let yaml = stack::publish(&args, &Console::new(stderr())).await?;
            if let Some(yaml) = yaml {
                stdout().write_all(yaml.as_bytes())?;
            }
            Ok(exit::OK)
        }
    }
}
