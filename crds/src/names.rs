//! Name budgets: how long an App's and a process' name may be, so that every derived name is valid. Also how many
//! processes there may be, and how long their commands.
//!
//! Assertions check the sums at compile time: whoever adds a derived name adds its assertion here.

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Longest App name, in characters.
pub const APP_MAX: usize = 40;
/// Longest process name, in characters: the whole name is a label value and a container's name.
pub const PROCESS_MAX: usize = LABEL;
/// Longest storage name, in characters.
pub const STORAGE_MAX: usize = 22;
/// Most processes that an App, a Build or a Release has.
pub const PROCESSES_MAX: usize = 64;
/// Longest command of a process, in bytes.
pub const COMMAND_MAX: usize = 8192;
/// Highest number of a Release or Revision: ten digits.
pub const NUMBER_MAX: i64 = 9_999_999_999;
/// Characters of a hash in a derived name.
pub const HASH: usize = 10;

/// RFC 1123 label: Service, label value, container name.
const LABEL: usize = 63;
/// Digits of [`NUMBER_MAX`].
const DIGITS: usize = 10;
/// A CronJob's name leaves 11 characters for its Jobs.
const CRON_JOB: usize = 52;

const _: () = assert!(
    APP_MAX + "-x-".len() + HASH <= LABEL,
    "Deployment APP-PROCESS, or APP-BEGIN-HASH"
);
const _: () = assert!(
    APP_MAX + 1 + STORAGE_MAX <= LABEL,
    "PersistentVolumeClaim APP-STORAGE"
);
const _: () = assert!(
    APP_MAX + 1 + HASH <= CRON_JOB,
    "Build APP-HASH, CronJob APP-HASH"
);
const _: () = assert!(
    APP_MAX + "-config-".len() + HASH <= LABEL,
    "Secret APP-config-HASH"
);
const _: () = assert!(
    APP_MAX + "-v".len() + DIGITS <= LABEL && NUMBER_MAX < 10_000_000_000,
    "Release APP-vNUMBER, Revision APP-rNUMBER"
);

/// The Deployment of one process. If the two names together are too long, a hash of the process' name replaces its end.
pub fn deployment(app: &str, process: &str) -> String {
    let whole = format!("{app}-{process}");
    if whole.len() <= LABEL {
        return whole;
    }
    let mut hash = String::new();
    for byte in Sha256::digest(process).iter().take(HASH.div_ceil(2)) {
        // Writing to a String cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    let begin = whole.get(..LABEL - 1 - HASH).unwrap_or(&whole);
    format!("{}-{hash}", begin.trim_end_matches('-'))
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

/// The immutable Secret of one config snapshot. `hash` is a keyed hash of [`HASH`] characters.
pub fn config_secret(app: &str, hash: &str) -> String {
    format!("{app}-config-{hash}")
}

/// A Build, named by a hash of what it is made from.
pub fn hashed(app: &str, hash: &str) -> String {
    format!("{app}-{hash}")
}

/// A numbered Revision.
pub fn revision(app: &str, number: i64) -> String {
    format!("{app}-r{number}")
}

/// A numbered Release.
pub fn release(app: &str, number: i64) -> String {
    format!("{app}-v{number}")
}

#[cfg(test)]
mod tests {
    use super::{APP_MAX, LABEL, PROCESS_MAX, deployment};

    #[test]
    fn names_that_fit_are_whole_and_others_end_in_a_hash() {
        let app = "a".repeat(APP_MAX);
        let cases = [
            ("hello", "web", "hello-web"),
            (
                "hello",
                "send-weekly-report-mails",
                "hello-send-weekly-report-mails",
            ),
            (
                &app,
                "abcdefghijklmnopqrstuv",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-abcdefghijklmnopqrstuv",
            ),
            (
                &app,
                "send-weekly-report-mails",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-send-weekly-HASHHASHHA",
            ),
        ];
        for (app, process, wanted) in cases {
            let name = deployment(app, process);
            let same = wanted
                .strip_suffix("HASHHASHHA")
                .map_or(name == wanted, |begin| {
                    name.strip_prefix(begin).is_some_and(|hash| {
                        hash.len() == 10 && hash.chars().all(|c| c.is_ascii_hexdigit())
                    })
                });
            assert!(same, "{name}");
        }
    }

    #[test]
    fn long_names_that_begin_alike_are_told_apart_and_legal() {
        let long = |end: &str| format!("{}{end}", "w-".repeat(30));
        let (one, other) = (
            deployment("hello", &long("one")),
            deployment("hello", &long("two")),
        );
        assert_ne!(one, other);
        for name in [
            one,
            other,
            deployment(&"a".repeat(APP_MAX), &"b-".repeat(31)),
        ] {
            assert!(name.len() <= LABEL && !name.contains("---"), "{name}");
        }
        assert_eq!(PROCESS_MAX, LABEL);
    }
}
