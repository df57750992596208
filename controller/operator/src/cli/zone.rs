//! `slipway zone`: the process of a zone that is in this image, or of the egress proxy. It reads its input once. Fetch
//! and export write their report last.

use std::fs;

use anyhow::Context;
use clap::{Args, ValueEnum};

use slipway_base::zone::{
    frame::{self, Mark},
    input::{EgressInput, ExportInput, FetchInput},
    layout,
    report::exit,
};
use slipway_zones::{console::Console, egress, export, fetch};

/// What `slipway zone` can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OwnZone {
    /// Brings source, buildpacks and cache onto the volume.
    Fetch,
    /// Writes image and cache from the volume to the registry.
    Export,
    /// Serves the proxy through which the build zone reaches the network.
    Egress,
}

/// Arguments of `slipway zone`.
#[derive(Clone, Debug, Args)]
pub struct ZoneArgs {
    /// Which zone
    pub zone: OwnZone,
    /// What to do, as JSON
    #[arg(long, default_value = layout::INPUT, hide = true)]
    pub input: String,
}

/// Most bytes that fetch and export each show. They run no foreign code, and show far less unless a server makes them
/// say the same again and again.
const LOG_BYTES: usize = 1024 * 1024;

/// Runs the zone. Returns the exit code of the process.
pub async fn run(args: &ZoneArgs, console: &Console) -> anyhow::Result<u8> {
    let input = fs::read(&args.input).with_context(|| format!("cannot read {}", args.input))?;
    // The input has credentials: once it is read, nothing that goes wrong later can show them.
    let _ = fs::remove_file(&args.input);
    match args.zone {
        OwnZone::Fetch => {
            let input: FetchInput = read(&input)?;
            console.limit(LOG_BYTES);
            let (report, code) = fetch::run(&input, &fetch::Places::default(), console).await;
            hand_over(&input.mark, &report, console)?;
            Ok(code)
        }
        OwnZone::Export => {
            let input: ExportInput = read(&input)?;
            console.limit(LOG_BYTES);
            let (report, code) = export::run(&input, &export::Places::default(), console).await;
            hand_over(&input.mark, &report, console)?;
            Ok(code)
        }
        OwnZone::Egress => {
            let input: EgressInput = read(&input)?;
            egress::run(&input, console)
                .await
                .context("cannot serve the build's proxy")?;
            Ok(exit::OK)
        }
    }
}

/// Writes the report at the end of the log.
fn hand_over(mark: &Mark, report: &impl serde::Serialize, console: &Console) -> anyhow::Result<()> {
    let report = serde_json::to_string(report)?;
    for line in frame::frames(mark, &report)? {
        console
            .raw(&line)
            .context("cannot write the zone's report")?;
    }
    Ok(())
}

/// Parses an input. The error does not show what is wrong in it, because it holds credentials.
fn read<T: serde::de::DeserializeOwned>(input: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(input)
        .ok()
        .context("the zone's input cannot be read: operator and zone are of different versions")
}
