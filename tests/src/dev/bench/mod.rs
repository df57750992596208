//! Figures, taken on the local cluster: how long builds and deploys take, compared with doing the same without Slipway
//! (`docker build` and push, a Deployment and a Service by hand), and what the operator costs when idle.

mod builds;
mod deploys;
mod figures;
mod idle;

use std::fs;

use anyhow::Result;
use figures::Figures;
pub(crate) use figures::machine;

use crate::{case, root};

/// Takes all figures, prints them as a table and as JSON, and writes the JSON to `target/bench.json`.
pub fn bench() -> Result<()> {
    case::run_alone("bench", |case| async move {
        let mut figures = Figures::default();
        builds::take(&case, &mut figures).await?;
        deploys::take(&case, &mut figures).await?;
        idle::take(&case, &mut figures).await?;
        let machine = machine(&case.cluster).await?;
        figures.show(&machine)?;
        let file = root().join("target/bench.json");
        fs::create_dir_all(root().join("target"))?;
        fs::write(&file, figures.json(&machine)?)?;
        case.say(&format!("the JSON: {}", file.display()));
        Ok(())
    });
    Ok(())
}
