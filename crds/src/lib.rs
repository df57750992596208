//! The API types of Slipway.
