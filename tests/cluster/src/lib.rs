//! One real Kubernetes node as plain processes: its configuration (`components`, `pki`, `network`: rendering only),
//! what changes the machine (`processes`, `links`, `filter`, `cgroups`, `kernel`, `tools`, `packages`, `images`), and
//! the three commands (`up`, `down`, `status`).

pub mod cgroups;
pub mod command;
pub mod components;
pub mod down;
pub mod facts;
pub mod files;
pub mod filter;
pub mod images;
pub mod kernel;
pub mod layout;
pub mod links;
pub mod load;
pub mod network;
pub mod outside;
pub mod packages;
pub mod pki;
pub mod probes;
pub mod processes;
pub mod progress;
pub mod rights;
pub mod status;
pub mod tools;
pub mod up;
