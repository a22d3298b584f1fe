//! What an operator sees of the service.
//!
//! One typed field a metric, in one place: names are written once, and a call site cannot misspell one.

pub mod metrics;
