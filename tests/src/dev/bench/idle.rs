//! What the operator costs when nothing happens: writes to the API server, and memory.

use std::{sync::Arc, time::Duration};

use anyhow::Result;

use super::figures::Figures;
use crate::{audit::Mark, case::Case, operator, wait};

pub(super) async fn take(case: &Arc<Case>, figures: &mut Figures) -> Result<()> {
    case.say("a minute of idleness");
    // First wait until the writes of the last deploy are done.
    wait::until_true(Duration::from_mins(1), "quiet for 10 s", || async {
        let mark = Mark::now(&case.cluster)?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok(mark.writes(None)?.is_empty().then_some(()))
    })
    .await?;
    let mark = Mark::now(&case.cluster)?;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let writes = mark.writes(None)?;
    for write in &writes {
        case.say(&format!("{write:?}"));
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = writes.len() as f64;
    figures.add(
        "writes in an idle minute, Lease apart",
        count,
        "",
        Some(0.0),
    );
    for memory in operator::memory(&case.cluster).await? {
        let what = "resident memory of an operator replica, idle";
        figures.add(what, memory, "MB", Some(40.0));
    }
    Ok(())
}
