//! Slipway: an App goes in on the left, a running App comes out on the right.
//!
//! ```text
//! App.spec ─validate▶ ValidApp ─resolve▶ Revision ─decide▶ Build ─drive▶ Image ─decide▶ Release ─desired▶ Objects ─apply▶ AppStatus
//! ```
//!
//! Each arrow is one function in one module, each node one type. Decisions are pure; I/O executes a finished plan.
//! `docs/architecture.md` tells what lies where; `tests/arch/edges.txt` holds which module may import which.

pub mod domain;
pub mod engine;
pub mod launcher;
pub mod outside;
pub mod pack;
pub mod prober;
pub mod text;
pub mod zone;

#[cfg(feature = "operator")]
pub mod build;
#[cfg(feature = "operator")]
pub mod cli;
#[cfg(feature = "operator")]
pub mod clock;
#[cfg(feature = "operator")]
pub mod controllers;
#[cfg(feature = "operator")]
pub mod decide;
#[cfg(feature = "operator")]
pub mod desired;
#[cfg(feature = "operator")]
pub mod error;
#[cfg(feature = "operator")]
pub mod git;
#[cfg(feature = "operator")]
pub mod k8s;
#[cfg(feature = "operator")]
pub mod logs;
#[cfg(feature = "operator")]
pub mod registry;
#[cfg(feature = "operator")]
pub mod runtime;
#[cfg(feature = "operator")]
pub mod settings;
#[cfg(feature = "operator")]
pub mod source;
#[cfg(feature = "operator")]
pub mod telemetry;
