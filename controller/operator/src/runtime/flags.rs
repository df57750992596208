//! What the operator reads from flags and its environment.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::Args;
use slipway_telemetry::trace::Format;

/// What the operator needs besides its settings file.
#[derive(Clone, Debug, Args)]
pub struct OperatorArgs {
    /// File with the settings (YAML); charts/slipway/values.yaml explains each of them.
    #[arg(long, env = "SLIPWAY_SETTINGS", value_name = "FILE")]
    pub settings: PathBuf,
    /// Namespace of the operator, with its Lease and its serving certificate.
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAME",
        default_value = "slipway-system"
    )]
    pub namespace: String,
    /// Name of this replica, different from every other's.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: String,
    /// Address of this replica's pod. If it is in no known network, the operator warns that it does not know the pods'
    /// network.
    #[arg(long, env = "POD_IP", value_name = "ADDRESS")]
    pub pod_address: Option<IpAddr>,
    /// Service through which the API server reaches --logs-address.
    #[arg(
        long,
        env = "SLIPWAY_SERVICE",
        value_name = "NAME",
        default_value = "slipway"
    )]
    pub service: String,
    /// Address that serves /livez, /readyz and /metrics.
    #[arg(
        long,
        env = "SLIPWAY_ADMIN_ADDRESS",
        value_name = "ADDRESS",
        default_value = "[::]:8080"
    )]
    pub admin_address: SocketAddr,
    /// Address from which the API server fetches build logs.
    #[arg(
        long,
        env = "SLIPWAY_LOGS_ADDRESS",
        value_name = "ADDRESS",
        default_value = "[::]:8443"
    )]
    pub logs_address: SocketAddr,
    /// Format of log lines.
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
