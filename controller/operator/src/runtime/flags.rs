//! What the operator is told by flags and its environment.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::Args;
use slipway_telemetry::trace::Format;

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
