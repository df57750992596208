use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use slipway_base::zone::input::GitLimits;
use slipway_crds::v1alpha1::{Duration, LEAST_BUILD_MEMORY, Quantity};

use crate::settings::file::{Mistake, filled, quantity, quantity_schema};

/// The section `builds`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuildSettings {
    /// Stack of Apps whose spec names none.
    #[schemars(length(min = 1, max = 63))]
    pub default_stack: String,
    /// How many Builds run at once.
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: usize,
    /// How many Builds of one namespace run at once. 0: one less than `concurrency`
    /// while other namespaces have Builds, but at least one.
    #[schemars(range(min = 0, max = 64))]
    pub per_namespace: usize,
    /// Time limit of Builds of Apps that set none.
    pub timeout: Duration,
    /// The longest time limit that an App's build gets, but never less than `timeout`.
    pub max_timeout: Duration,
    /// CPUs that a build may use if the App sets no limit.
    #[serde(default, deserialize_with = "quantity")]
    #[schemars(schema_with = "quantity_schema")]
    pub cpus: Option<Quantity>,
    /// Memory that a build may use if the App sets no limit.
    #[serde(default, deserialize_with = "quantity")]
    #[schemars(schema_with = "quantity_schema")]
    pub memory: Option<Quantity>,
    /// Most CPUs that an App's build gets; if none, no maximum. Never less than `cpus`.
    #[serde(default, deserialize_with = "quantity")]
    #[schemars(schema_with = "quantity_schema")]
    pub max_cpus: Option<Quantity>,
    /// Most memory that an App's build gets; if none, no maximum. Never less than `memory`.
    #[serde(default, deserialize_with = "quantity")]
    #[schemars(schema_with = "quantity_schema")]
    pub max_memory: Option<Quantity>,
    /// How many processes a build may have.
    #[schemars(range(min = 64))]
    pub pids: i64,
    /// Bytes of log that are kept for one build. Further bytes are counted and dropped.
    #[schemars(range(min = 65_536))]
    pub log_bytes: u64,
    /// PEM certificates that builds, git and look-ups of images trust besides the system's.
    #[serde(default, deserialize_with = "filled")]
    #[schemars(with = "String")]
    pub ca: Option<String>,
    /// How builds reach the network.
    pub egress: Egress,
    /// Environment of build processes: mirrors (`PIP_INDEX_URL`, `NPM_CONFIG_REGISTRY`…) and proxies. The operator uses
    /// these proxies for git servers and for registries that Apps name, too.
    pub env: BTreeMap<String, String>,
    /// What git may do.
    #[schemars(schema_with = "git_schema")]
    pub git: GitLimits,
}

/// How the build zone reaches the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Egress {
    /// Only through Slipway's proxy, which connects to the addresses that the section `outside` allows.
    #[default]
    Proxy,
    /// Directly, like any container on the engine.
    Open,
}

/// The most that an App can get for a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceilings {
    /// Time.
    pub timeout: Duration,
    /// CPUs; if none, no maximum.
    pub cpus: Option<Quantity>,
    /// Memory; if none, no maximum.
    pub memory: Option<Quantity>,
}

impl BuildSettings {
    /// CPUs that a build may use if the App sets no limit.
    pub fn cpu_count(&self) -> Option<f64> {
        self.cpus.as_ref().and_then(Quantity::amount)
    }

    /// Bytes of memory that a build may use if the App sets no limit.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole bytes; a float beyond i64 becomes the greatest i64"
    )]
    pub fn memory_bytes(&self) -> Option<i64> {
        Some(self.memory.as_ref()?.amount()? as i64)
    }

    /// The most that an App can get; at least what builds get by default.
    pub fn ceilings(&self) -> Ceilings {
        Ceilings {
            timeout: Duration::from_secs(self.max_timeout.as_secs().max(self.timeout.as_secs())),
            cpus: at_least(self.max_cpus.as_ref(), self.cpus.as_ref()),
            memory: at_least(self.max_memory.as_ref(), self.memory.as_ref()),
        }
    }

    /// How many Builds of one namespace run at once; if none, one place stays free for other namespaces.
    pub fn of_one_namespace(&self) -> Option<usize> {
        Some(self.per_namespace).filter(|most| *most > 0)
    }

    pub(super) fn check(&self) -> Result<(), Mistake> {
        if self.concurrency == 0 {
            let problem = "at least one build has to run at once";
            return Err(Mistake::of("builds.concurrency", problem));
        }
        if self.pids < 1 {
            let problem = "has to be at least 1: engines take a smaller number for no limit";
            return Err(Mistake::of("builds.pids", problem));
        }
        for (field, memory) in [
            ("builds.memory", &self.memory),
            ("builds.maxMemory", &self.max_memory),
        ] {
            let Some(memory) = memory else { continue };
            let least = i128::from(LEAST_BUILD_MEMORY) * 1_000_000_000;
            if memory.nanos().is_none_or(|nanos| nanos < least) {
                let problem = format!(
                    "{:?} is less than the {LEAST_BUILD_MEMORY} bytes that an engine requires",
                    memory.0
                );
                return Err(Mistake::of(field, problem));
            }
        }
        Ok(())
    }
}

/// The ceiling, but at least what builds get by default.
fn at_least(ceiling: Option<&Quantity>, given: Option<&Quantity>) -> Option<Quantity> {
    let ceiling = ceiling?;
    let given = given.filter(|given| given.nanos() > ceiling.nanos());
    Some(given.unwrap_or(ceiling).clone())
}

fn git_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "protocols": {"type": "array", "items": {"enum": ["https", "http", "git"]}, "minItems": 1},
            "maxBytes": {"type": "integer", "minimum": 1_048_576},
            "maxFiles": {"type": "integer", "minimum": 1},
            "timeoutSeconds": {"type": "integer", "minimum": 1},
        },
    })
}
