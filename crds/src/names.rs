//! Name budgets: how long an App's and a process' name may be, so that every derived name is legal. And how many
//! processes there may be, and how long their commands.
//!
//! The sums are asserted at compile time: whoever adds a derived name adds its assertion here.

/// Longest App name, in characters.
pub const APP_MAX: usize = 40;
/// Longest process name, in characters.
pub const PROCESS_MAX: usize = 22;
/// Longest storage name, in characters.
pub const STORAGE_MAX: usize = 22;
/// Most processes that an App, a Build or a Release has.
pub const PROCESSES_MAX: usize = 64;
/// Longest command of a process, in bytes.
pub const COMMAND_MAX: usize = 8192;
/// Characters of a hash in a derived name.
pub const HASH: usize = 10;

/// RFC 1123 label: Service, label value, container name.
const LABEL: usize = 63;
/// A CronJob's name leaves 11 characters for its Jobs.
const CRON_JOB: usize = 52;

const _: () = assert!(APP_MAX + 1 + PROCESS_MAX <= LABEL, "Deployment APP-PROCESS");
const _: () = assert!(
    APP_MAX + 1 + STORAGE_MAX <= LABEL,
    "PersistentVolumeClaim APP-STORAGE"
);
const _: () = assert!(
    APP_MAX + 1 + HASH <= CRON_JOB,
    "Build and Revision APP-HASH, CronJob APP-HASH"
);
const _: () = assert!(
    APP_MAX + "-config-".len() + HASH <= LABEL,
    "Secret APP-config-HASH"
);
const _: () = assert!(APP_MAX + "-v".len() + 10 <= LABEL, "Release APP-vNUMBER");

/// The Deployment of one process.
pub fn deployment(app: &str, process: &str) -> String {
    format!("{app}-{process}")
}

/// The Service in front of the web process; also the name under which the App answers in the cluster.
pub fn service(app: &str) -> String {
    app.to_owned()
}

/// The ServiceAccount of an App's pods.
pub fn service_account(app: &str) -> String {
    app.to_owned()
}

/// The claim behind a storage entry that has a claim template.
pub fn claim(app: &str, storage: &str) -> String {
    format!("{app}-{storage}")
}

/// The immutable Secret of one config snapshot. `hash` is keyed (see the controller), [`HASH`] characters.
pub fn config_secret(app: &str, hash: &str) -> String {
    format!("{app}-config-{hash}")
}

/// A Revision or Build, named by a hash of what it is made from.
pub fn hashed(app: &str, hash: &str) -> String {
    format!("{app}-{hash}")
}

/// A numbered Release.
pub fn release(app: &str, number: i64) -> String {
    format!("{app}-v{number}")
}
