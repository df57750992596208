//! Command line and environment → the command that runs, then its exit code.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    cli::{
        logs::{self, LogsArgs},
        stack::{self, StackCommand},
        zone::{self, ZoneArgs},
    },
    runtime::{flags::OperatorArgs, operator},
};
use slipway_base::zone::report::exit;
use slipway_k8s::classify::chain;
use slipway_telemetry::trace;
use slipway_zones::console::Console;

/// Builds apps from source and runs them on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "slipway", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controllers, until SIGTERM
    Operator(OperatorArgs),
    /// Show the log of a build
    #[command(subcommand)]
    Logs(LogsArgs),
    /// Publish the images and buildpacks that build and run apps
    #[command(subcommand)]
    Stack(Box<StackCommand>),
    /// Run a zone of a build, inside its container
    #[command(hide = true)]
    Zone(ZoneArgs),
}

/// Runs the command.
pub async fn run(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors, and go to standard output.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match cli.command {
        Command::Operator(args) => Box::pin(operator(args)).await,
        Command::Logs(args) => {
            let terminal = io::stdout().is_terminal();
            let code = logs::run(args, &mut io::stdout(), terminal, &mut io::stderr()).await;
            ExitCode::from(code)
        }
        Command::Stack(command) => by_hand(publish(*command).await),
        Command::Zone(args) => by_hand(zone::run(&args, &Console::new(io::stdout())).await),
    }
}

/// The exit code of a command other than `operator`; prints its error.
fn by_hand(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            Console::new(io::stderr()).error(&format!("{error:#}"));
            ExitCode::from(exit::INTERNAL)
        }
    }
}

async fn publish(command: StackCommand) -> anyhow::Result<u8> {
    let StackCommand::Publish(args) = command;
    if let Some(yaml) = stack::publish(&args, &Console::new(io::stderr())).await? {
        io::stdout().write_all(yaml.as_bytes())?;
    }
    Ok(exit::OK)
}

async fn operator(args: OperatorArgs) -> ExitCode {
    if let Err(error) = trace::install(args.log_format, &args.log_level) {
        let _ = writeln!(io::stderr(), "slipway: {error}");
        return ExitCode::from(2);
    }
    match Box::pin(operator::run(args)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(&error), "the operator ends");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cli, Command};
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_operator_needs_its_settings_and_a_name() {
        let error = Cli::try_parse_from(["slipway", "operator", "--identity", "a"]).unwrap_err();
        assert!(error.to_string().contains("--settings"), "{error}");
        let line = [
            "slipway",
            "operator",
            "--settings",
            "f",
            "--identity",
            "a",
            "--log-format",
            "json",
        ];
        let Command::Operator(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("not the operator");
        };
        assert_eq!(args.admin_address.port(), 8080);
    }
}
