//! `slipway-prober`: checks a process from inside its pod in ways that a kubelet probe cannot.

use clap::{Args, Parser, Subcommand};
use slipway_agents::prober::{self, Check, DEFAULT_TIMEOUT_SECONDS, Header, LOCAL, Scheme};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exits with 0 if all checks pass; otherwise with 1 and one line that says why.
#[derive(Parser)]
#[command(
    name = "slipway-prober",
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
struct Cli {
    /// Copy this program and the launcher beside it into DIR, from where other containers execute them.
    #[arg(long, value_name = "DIR")]
    install: Option<PathBuf>,
    #[command(subcommand)]
    ask: Option<Ask>,
}

#[derive(Subcommand)]
enum Ask {
    /// A GET that must be answered with 2xx.
    Http(Http),
    /// A socket that must listen on all addresses.
    Listening {
        #[arg(long)]
        port: u16,
    },
    /// Several checks at once: a JSON list, or a file with one.
    All {
        #[arg(value_name = "JSON-OR-FILE")]
        checks: String,
        #[arg(long, default_value_t = LOCAL)]
        host: IpAddr,
    },
}

#[derive(Args)]
struct Http {
    #[arg(long)]
    port: u16,
    #[arg(long, default_value = "/")]
    path: String,
    #[arg(long, default_value = "http")]
    scheme: Scheme,
    /// `Name: value`, any number of times.
    #[arg(long = "header", value_parser = header)]
    headers: Vec<Header>,
    /// Text that must be in the body.
    #[arg(long)]
    content: Option<String>,
    /// Seconds for the whole attempt.
    #[arg(long, default_value_t = DEFAULT_TIMEOUT_SECONDS)]
    timeout: u32,
    /// Address to ask.
    #[arg(long, default_value_t = LOCAL)]
    host: IpAddr,
}

fn header(text: &str) -> Result<Header, String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| "a header is written Name: value".to_owned())?;
    Ok(Header {
        name: name.trim().to_owned(),
        value: value.trim().to_owned(),
    })
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tell(&why);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), String> {
    if let Some(dir) = cli.install {
        return prober::install::install(&dir).map_err(|error| {
            format!(
                "cannot install the prober and the launcher into {}: {error}",
                dir.display()
            )
        });
    }
    match cli.ask {
        None => Ok(()),
        Some(Ask::Http(Http {
            port,
            path,
            scheme,
            headers,
            content,
            timeout,
            host,
        })) => Check::Http {
            name: None,
            port,
            path,
            scheme,
            headers,
            content,
            timeout_seconds: timeout,
        }
        .run(host),
        Some(Ask::Listening { port }) => Check::Listening { name: None, port }.run(LOCAL),
        Some(Ask::All { checks, host }) => prober::run_all(&prober::checks(&checks)?, host),
    }
}

#[expect(clippy::print_stdout, reason = "the kubelet shows what a probe prints")]
fn tell(why: &str) {
    println!("{}", why.replace(['\n', '\r'], " "));
}
