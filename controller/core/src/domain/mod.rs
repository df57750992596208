//! The rules for Apps, apart from Kubernetes: text and API types in, validated types out. Pure.

pub mod app;
pub mod app_json;
pub mod checks;
pub mod env;
pub mod formation;
pub mod image;
pub mod pack_choice;
pub mod references;
pub mod repository;

use slipway_base::files::procfile::{COMMAND_MAX, NAME_MAX, TYPES_MAX};
use slipway_crds::names;

const _: () = assert!(
    NAME_MAX == names::PROCESS_MAX
        && TYPES_MAX == names::PROCESSES_MAX
        && COMMAND_MAX == names::COMMAND_MAX,
    "a process that a Procfile may have is one that the API can have"
);
