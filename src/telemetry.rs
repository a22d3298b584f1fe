//! What an operator sees of the service: its [`log`], [`metrics`], [`traces`], and of each request its [`Record`].

pub mod log;
pub mod metrics;
mod photo_failed;
mod record;
mod stage;
pub mod traces;

pub use photo_failed::photo_failed;
pub use record::{Record, Told};
pub use stage::Stage;
