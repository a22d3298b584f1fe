//! What can be read again while the service runs: on SIGHUP each of these is, and one that cannot be used changes nothing.

use std::error::Error;

use crate::fault::chain;

/// Why the new state is not used.
type Unusable = Box<dyn Error + Send + Sync>;

/// The things that can be read again.
#[derive(Default)]
pub struct Reloads(Vec<Reload>);

struct Reload {
    what: String,
    again: Box<dyn Fn() -> Result<(), Unusable> + Send + Sync>,
}

impl Reloads {
    /// Adds a thing. `again` reads it anew and puts it in the place of the old one, or fails and leaves the old one.
    pub fn add<E>(&mut self, what: impl Into<String>, again: impl Fn() -> Result<(), E> + Send + Sync + 'static)
    where
        E: Into<Unusable>,
    {
        self.0.push(Reload { what: what.into(), again: Box::new(move || again().map_err(Into::into)) });
    }

    /// Reads all of them again, from files: not for an async thread. Says in the log what became of each.
    pub fn run(&self) {
        for Reload { what, again } in &self.0 {
            match again() {
                Ok(()) => tracing::info!(what, "read again"),
                Err(error) => {
                    let cause = chain(&*error);
                    tracing::error!(what, cause, "cannot be used as it is now; what was read before stays in force");
                }
            }
        }
        if self.0.is_empty() {
            tracing::info!("nothing here can be read again: no files were given");
        }
    }
}
