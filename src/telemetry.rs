//! What an operator sees of the service: [`metrics`], and of each request its [`Record`].

pub mod metrics;
mod photo_failed;
mod record;
mod stage;

pub use photo_failed::photo_failed;
pub use record::{Record, Told};
pub use stage::Stage;
