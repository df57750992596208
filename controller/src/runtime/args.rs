//! Command line and environment → what is to be run, then its exit code.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    cli::{
        logs::{self, LogsArgs},
        stack::{self, StackCommand},
        zone::{self, ZoneArgs},
    },
    error::chain,
    runtime::operator,
    telemetry::trace::{self, Format},
    zone::{console::Console, report::exit},
};

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
    /// Show logs
    #[command(subcommand)]
    Logs(LogsArgs),
    /// Publish what builds and runs apps
    #[command(subcommand)]
    Stack(Box<StackCommand>),
    /// Run a zone of a build, inside its container
    #[command(hide = true)]
    Zone(ZoneArgs),
}

/// What the operator needs besides its settings file.
#[derive(Clone, Debug, Args)]
pub struct OperatorArgs {
    /// File with the settings (YAML); charts/slipway/values.yaml tells what each of them means.
    #[arg(long, env = "SLIPWAY_SETTINGS", value_name = "FILE")]
    pub settings: PathBuf,
    /// Namespace of the operator: its Lease and its serving certificate are there.
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAME",
        default_value = "slipway-system"
    )]
    pub namespace: String,
    /// Name of this replica, unlike every other's.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: String,
    /// Address of this replica's pod: by it, it can be told whether it is known where pods are.
    #[arg(long, env = "POD_IP", value_name = "ADDRESS")]
    pub pod_address: Option<IpAddr>,
    /// Service by which the API server reaches the port for build logs.
    #[arg(
        long,
        env = "SLIPWAY_SERVICE",
        value_name = "NAME",
        default_value = "slipway"
    )]
    pub service: String,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(
        long,
        env = "SLIPWAY_ADMIN_ADDRESS",
        value_name = "ADDRESS",
        default_value = "[::]:8080"
    )]
    pub admin_address: SocketAddr,
    /// Where the API server fetches build logs.
    #[arg(
        long,
        env = "SLIPWAY_LOGS_ADDRESS",
        value_name = "ADDRESS",
        default_value = "[::]:8443"
    )]
    pub logs_address: SocketAddr,
    /// How log lines look.
    #[arg(long, env = "SLIPWAY_LOG_FORMAT", value_enum, default_value = "human")]
    pub log_format: Format,
    /// What is logged: a level, or a filter such as slipway=debug,info.
    #[arg(
        long,
        env = "SLIPWAY_LOG_LEVEL",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log_level: String,
}

/// Does what the command line says.
pub async fn run(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
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

/// What a command that a person, or a container, waits for has come to.
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
