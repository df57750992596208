//! Why a build ends early: the zone's exit code, and what the report says of it.

use slipway_base::zone::report::{Failure, exit};

/// Why a build ended early.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) code: u8,
    pub(super) failure: Failure,
}

impl Stop {
    pub(super) fn new(code: u8, step: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            failure: Failure {
                step: step.to_owned(),
                pack: None,
                exit_code: None,
                message: message.into(),
            },
        }
    }

    pub(super) fn of_pack(mut self, pack: &str, exit_code: Option<i32>) -> Self {
        self.failure.pack = Some(pack.to_owned());
        self.failure.exit_code = exit_code;
        self
    }

    pub(super) fn internal(step: &str, what: &str, error: &dyn std::fmt::Display) -> Self {
        Self::new(exit::INTERNAL, step, format!("cannot {what}: {error}"))
    }
}
