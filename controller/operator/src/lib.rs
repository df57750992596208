//! Slipway: an App goes in on the left, a running App comes out on the right.
//!
//! ```text
//! App.spec ─validate▶ ValidApp ─resolve▶ Revision ─decide▶ Build ─drive▶ Image ─decide▶ Release ─desired▶ Objects ─apply▶ AppStatus
//! ```
//!
//! Each arrow is one function in one module, each node one type. Decisions are pure (`slipway_core`); I/O executes a
//! finished plan. `docs/architecture.md` describes the modules.

pub mod cli;
pub mod controllers;
pub mod logs;
pub mod runtime;
pub mod source;
