//! What every front needs.

use std::time::Duration;

use crate::access::Access;
use crate::arriving::Arriving;
use crate::background::Background;
use crate::detect::{Catalog, Pipeline};
use crate::lifecycle::Lifecycle;

/// Everything that the routes need.
pub struct Service {
    /// The models.
    pub catalog: Catalog,
    /// What every photo passes through.
    pub pipeline: Pipeline,
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
