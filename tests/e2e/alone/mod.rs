//! Cases beside which no other case runs: they stop the operator, change what all Apps depend on, or count what the whole
//! machine does. The test runner takes the cases by name, so that these come first, one after the other; then the other
//! cases run side by side and wait for none of these.

mod crash;
mod everything;
mod logs;
mod replicas;
mod settings;
mod traffic;
mod unchanged;
mod unparsable;
