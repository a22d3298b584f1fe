//! What every front needs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use crate::access::Access;
use crate::admission::Load;
use crate::answering::Answering;
use crate::arriving::Arriving;
use crate::backend::Call;
use crate::backend::room::ModelAnswers;
use crate::background::Background;
use crate::detect::{Catalog, Model, Pipeline};
use crate::fault::{Code, Fault};
use crate::fetch::{Allowance, Fetcher, Source};
use crate::lifecycle::Lifecycle;
use crate::telemetry::metrics::{Metrics, Now, Places};
use crate::telemetry::{Stage, traces};

/// Everything that the routes need. It does not change: where the configuration does, another takes its place
/// ([`Current`]), and requests that have begun keep the one they began with.
pub struct Service {
    /// The models.
    pub catalog: Catalog,
    /// What every photo passes through.
    pub pipeline: Pipeline,
    /// How large a batch may be, and how much of the service it may take.
    pub batch: BatchBounds,
    /// How large the head of a request may be.
    pub head: HeadBounds,
    /// What the bodies of forms and JSON may be made of.
    pub shape: BodyShape,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// Room for bodies, and for photos that are fetched.
    pub arriving: Arriving,
    /// Room for what model servers answer, until it is interpreted.
    pub model_answers: ModelAnswers,
    /// Room for large answers until they are read.
    pub answering: Answering,
    /// The same for routes that are open to all: who has no key takes nothing from those who have.
    pub answering_open: Answering,
    /// Fetches photos for clients, where that is allowed.
    pub fetcher: Option<Arc<Fetcher>>,
    /// How far from its end the service is.
    pub lifecycle: Lifecycle,
    /// Who may ask, and how often.
    pub access: Access,
    /// What runs beside the requests.
    pub background: Background,
    /// What has happened, in numbers.
    pub metrics: Arc<Metrics>,
}

/// The service that is in force, for those who outlive a request. Clones share it.
#[derive(Clone)]
pub struct Current(Arc<watch::Sender<Arc<Service>>>);

impl Current {
    /// This one, to begin with.
    pub fn new(service: Service) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(service))))
    }

    /// As it is now.
    pub fn get(&self) -> Arc<Service> {
        Arc::clone(&self.0.borrow())
    }

    /// Another, from now on.
    pub fn replace(&self, service: Service) {
        self.0.send_replace(Arc::new(service));
    }
}

impl Service {
    /// What is in it at this moment.
    pub fn now(&self) -> Now {
        let admission = &self.pipeline.admission;
        let places = |model: &Arc<Model>| {
            let Load { queued, in_flight, limit } = admission.load(model.name());
            Places { model: model.name().to_owned(), queued, in_flight, limit }
        };
        let (pixels, max_pixels) = admission.pixels();
        let (upload_bytes, max_upload_bytes) = self.arriving.bytes();
        let (answer_bytes, max_answer_bytes) = self.answering.bytes();
        let (model_answer_bytes, max_model_answer_bytes) = self.model_answers.bytes();
        Now {
            models: self.catalog.iter().map(places).collect(),
            pixels,
            max_pixels,
            upload_bytes,
            max_upload_bytes,
            answer_bytes,
            max_answer_bytes,
            model_answer_bytes,
            max_model_answer_bytes,
        }
    }

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

    /// The file of a photo: the one that was sent, or the one behind the address that was. A fetched file takes room among
    /// the bodies as it arrives, and of what its request may have fetched.
    ///
    /// # Errors
    /// Those of [`Fetcher::fetch`], and `IMAGE_URL_REFUSED` where nothing is fetched for anybody.
    pub async fn photo(&self, source: Source, allowance: &Allowance, call: &Call) -> Result<Bytes, Fault> {
        let url = match source {
            Source::Sent(file) => return Ok(file),
            Source::At(url) => url,
        };
        let fetcher = self.fetcher.as_ref().ok_or_else(|| {
            let detail = "This service fetches no photos; send the photo itself. (--image-url-schemes allows it.)";
            Fault::new(Code::ImageUrlRefused, detail)
        })?;
        let mut room = self.arriving.begin();
        let take = |piece: usize| allowance.take(piece).and_then(|()| room.take(piece));
        let begin = Instant::now();
        // On the heap: nearly every photo is sent, and need not carry the room for a fetch along.
        let max_bytes = self.pipeline.limits.max_bytes;
        let fetching = Box::pin(fetcher.fetch(&url, max_bytes, call.deadline, take));
        let fetched = traces::awaited(Stage::Fetch, fetching).await;
        // Also where it failed: time that was spent is time that was spent.
        let took = begin.elapsed();
        call.record.passed(Stage::Fetch, took);
        self.pipeline.metrics.photos.fetched(took);
        Ok(Arc::new(room).hold(fetched?))
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

/// How large the head of a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadBounds {
    /// Bytes: request line and headers.
    pub bytes: usize,
    /// Headers.
    pub headers: usize,
}

/// What a body may be made of, however long it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyShape {
    /// Parts of a form beside its photos.
    pub parts: usize,
    /// Objects and lists of JSON within one another.
    pub depth: usize,
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
