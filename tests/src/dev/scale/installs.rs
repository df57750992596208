//! Installs the operator that is measured: this tree's, or that of an earlier commit.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    dev::{earlier, install},
    root,
};

/// Installs the operator of a commit, with its CRDs.
pub(super) fn earlier(commit: &str) -> Result<()> {
    with_cluster_ips(&earlier::install(commit)?)
}

/// Installs the operator of this tree, as `make image` built it last.
pub(super) fn now() -> Result<()> {
    install::install(2)?;
    with_cluster_ips(&root())
}

/// Sets the Services' type to ClusterIP, because there are fewer node ports than Apps.
fn with_cluster_ips(tree: &Path) -> Result<()> {
    let mut values = install::installed()?;
    if let Some(apps) = values.get_mut("apps").and_then(Value::as_object_mut) {
        apps.insert("serviceType".to_owned(), json!("ClusterIP"));
        apps.remove("nodeAddress");
    }
    install::reinstall_from(&tree.join("charts/slipway"), &values)
}
