//! What every front needs.

use std::time::Duration;

use crate::access::Access;
use crate::arriving::Arriving;
use crate::background::Background;
use crate::detect::{Catalog, Model, Pipeline};
use crate::fault::{Code, Fault};
use crate::lifecycle::Lifecycle;

/// Everything that the routes need.
pub struct Service {
    /// The models.
    pub catalog: Catalog,
    /// What every photo passes through.
    pub pipeline: Pipeline,
    /// How large a batch may be, and how much of the service it may take.
    pub batch: BatchBounds,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// Room for bodies.
    pub arriving: Arriving,
    /// How far from its end the service is.
    pub lifecycle: Lifecycle,
    /// Who may ask, and how often.
    pub access: Access,
    /// What runs beside the requests.
    pub background: Background,
}

impl Service {
    /// The model of this name, or the default one.
    ///
    /// # Errors
    /// `UNKNOWN_MODEL`.
    pub fn model(&self, name: Option<&str>) -> Result<&Model, Fault> {
        Ok(match name {
            Some(name) => self.catalog.find(name)?,
            None => self.catalog.default_model(),
        })
    }
}

/// How large a batch may be, and how much of the service it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchBounds {
    /// Photos.
    pub max_photos: usize,
    /// Bytes of all photos together.
    pub max_bytes: usize,
    /// Photos of one batch that are worked on, or wait for it, at once; fewer than the service takes on, so that there is
    /// always room for others.
    pub at_once: usize,
}

impl BatchBounds {
    /// That a batch has no more photos than it may.
    ///
    /// # Errors
    /// `BATCH_TOO_LARGE`.
    pub fn check(&self, photos: usize) -> Result<(), Fault> {
        let max = self.max_photos;
        if photos <= max {
            return Ok(());
        }
        let detail = format!("The batch has {photos} photos; this server accepts up to {max}. Send several batches.");
        Err(Fault::new(Code::BatchTooLarge, detail).with("max_photos", max))
    }
}
