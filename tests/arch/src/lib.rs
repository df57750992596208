//! Source text → what it imports, and `Cargo.lock` → what breaks a rule. The rules themselves stand in `tests/`.

pub mod circles;
pub mod dependencies;
pub mod imports;
