//! `slipway zone`: the process of a zone that is in this image, or of the egress proxy. It reads its input once. Fetch
//! and export write a report once.

use std::{fs, path::Path};

use anyhow::Context;
use clap::{Args, ValueEnum};

use slipway_base::zone::{
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
    /// Where to say what was done, as JSON
    #[arg(long, default_value = layout::REPORT, hide = true)]
    pub report: String,
}

/// Runs the zone. Returns the exit code of the process.
pub async fn run(args: &ZoneArgs, console: &Console) -> anyhow::Result<u8> {
    let input = fs::read(&args.input).with_context(|| format!("cannot read {}", args.input))?;
    // The input has credentials: once it is read, nothing that goes wrong later can show them.
    let _ = fs::remove_file(&args.input);
    let (report, code) = match args.zone {
        OwnZone::Fetch => {
            let input: FetchInput = read(&input)?;
            let (report, code) = fetch::run(&input, &fetch::Places::default(), console).await;
            (serde_json::to_vec(&report)?, code)
        }
        OwnZone::Export => {
            let input: ExportInput = read(&input)?;
            let (report, code) = export::run(&input, &export::Places::default(), console).await;
            (serde_json::to_vec(&report)?, code)
        }
        OwnZone::Egress => {
            let input: EgressInput = read(&input)?;
            egress::run(&input, console)
                .await
                .context("cannot serve the build's proxy")?;
            return Ok(exit::OK);
        }
    };
    let path = Path::new(&args.report);
    fs::write(path, report).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(code)
}

/// Parses an input. The error does not show what is wrong in it, because it holds credentials.
fn read<T: serde::de::DeserializeOwned>(input: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(input)
        .ok()
        .context("the zone's input cannot be read: operator and zone are of different versions")
}
