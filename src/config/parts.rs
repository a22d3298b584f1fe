//! What each part of the service is told, made of the settings.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::access::rate::Rate;
use crate::admission;
use crate::answering::Answering;
use crate::arriving::Arriving;
use crate::backend::embedded::NANODET_G_NAME;
use crate::backend::room::ModelAnswers;
use crate::backend::serving::{self, Address};
use crate::config::{ModelSettings, Runs, Settings};
use crate::detect::{DEFAULT_MAX_DETECTIONS, Defaults};
use crate::fetch;
use crate::http::server::Bounds;
use crate::image::Limits;
use crate::lifecycle::Shutdown;
use crate::model::mapping::Mapping;
use crate::model::version::VersionChoice;
use crate::service::{BatchBounds, BodyShape, HeadBounds};

/// Photos that may be fetched at once, however few are worked on: they mostly wait.
const MIN_FETCHES: usize = 32;
/// How often a client over HTTP/2 is asked for a sign of life, and how long it may take to give one: as Envoy's and gRPC's own
/// servers do it, within a factor of a few.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(20);

impl Settings {
    /// What an image may be.
    pub fn limits(&self) -> Limits {
        Limits { max_bytes: self.max_image_bytes as usize, max_pixels: self.max_image_pixels }
    }

    /// How large a batch may be, and how much of the service it may take: half of the places for photos, so that whoever
    /// sends a single one waits for photos of a batch, and never for the batch.
    pub fn batch(&self) -> BatchBounds {
        let places = self.models().iter().map(|model| self.places(model)).min().unwrap_or_default();
        BatchBounds {
            max_photos: usize::from(self.max_batch_photos),
            max_bytes: self.max_batch_bytes as usize,
            at_once: (places / 2).max(1),
        }
    }

    /// What the body of a form or of JSON may be made of.
    pub fn shape(&self) -> BodyShape {
        BodyShape { parts: usize::from(self.max_form_parts), depth: usize::from(self.max_json_depth) }
    }

    /// How long a request may take.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// How large the head of a request may be.
    pub fn head(&self) -> HeadBounds {
        HeadBounds { bytes: self.max_head_bytes as usize, headers: usize::from(self.max_headers) }
    }

    /// What bounds a connection.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            connections: self.max_connections as usize,
            head_bytes: self.head().bytes,
            headers: self.head().headers,
            head_time: Duration::from_millis(self.head_timeout_ms),
            keep_alive: Duration::from_millis(self.keep_alive_ms),
            request_time: self.request_timeout(),
            streams: self.max_streams,
            resets: usize::from(self.max_stream_resets),
            stream_errors: usize::from(self.max_stream_errors),
            ping_every: PING_EVERY,
            ping_patience: PING_PATIENCE,
        }
    }

    /// What bounds the bodies of all requests; shared with what was in force before where it is the same.
    pub fn arriving(&self, old: Option<&Arriving>) -> Arriving {
        let (bytes, pause) = (self.max_upload_bytes_in_flight, Duration::from_millis(self.upload_pause_ms));
        old.map_or_else(|| Arriving::new(bytes, pause), |old| old.renewed(bytes, pause))
    }

    /// What bounds the answers of all model servers.
    pub fn model_answers(&self) -> ModelAnswers {
        ModelAnswers::new(self.serving_max_answer_bytes_in_flight)
    }

    /// What bounds large answers that are not read yet: as many bytes again as uploads may have. Shared with what was in force
    /// before where it is the same.
    pub fn answering(&self, old: Option<&Answering>) -> Answering {
        let bytes = self.max_upload_bytes_in_flight;
        old.map_or_else(|| Answering::new(bytes), |old| old.renewed(bytes))
    }

    /// How often files are looked at for changes, where they are.
    pub fn watch_files(&self) -> Option<Duration> {
        (self.watch_files_ms > 0).then(|| Duration::from_millis(self.watch_files_ms))
    }

    /// How photos are fetched. As many at once as photos are worked on: each takes its way through the same places.
    pub fn fetch(&self) -> fetch::Settings {
        let places = self.models().iter().map(|model| self.places(model)).max().unwrap_or_default();
        fetch::Settings {
            schemes: self.image_url_schemes.clone(),
            at_once: places.max(MIN_FETCHES),
            pause: Duration::from_millis(self.upload_pause_ms),
        }
    }

    /// How the service ends.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown {
            delay: Duration::from_millis(self.shutdown_delay_ms),
            grace: Duration::from_millis(self.shutdown_grace_ms),
        }
    }

    /// How often each key may be used, where that is limited.
    pub fn key_rate(&self) -> Option<Rate> {
        limit(self.key_rate, self.key_burst)
    }

    /// How often each client address may ask, where that is limited.
    pub fn address_rate(&self) -> Option<Rate> {
        limit(self.address_rate, self.address_burst)
    }

    /// How many cores to keep busy.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => usize::from(count),
        }
    }

    /// How many photos to take on at once for a model.
    fn places(&self, model: &ModelSettings) -> usize {
        match (model.max_in_flight, &model.runs) {
            (Some(count), _) => count.get(),
            (None, _) if self.max_in_flight > 0 => usize::from(self.max_in_flight),
            // These mostly wait for the model server.
            (None, Runs::Serving { .. }) => 64,
            (None, Runs::Embedded(_)) => 2 * self.worker_count(),
        }
    }

    /// Who is let in.
    pub fn admission(&self) -> admission::Bounds {
        let places = self.models().iter().map(|model| (model.name.clone(), self.places(model))).collect();
        admission::Bounds {
            places,
            pixels: self.max_pixels_in_flight,
            queue_time: Duration::from_millis(self.max_queue_ms),
        }
    }

    /// The models: those that the file declares, else those that the flags name. The default comes first.
    pub fn models(&self) -> Vec<ModelSettings> {
        if !self.declared.is_empty() {
            let mut models = self.declared.clone();
            models.sort_by_key(|model| !model.default);
            return models;
        }
        let model = |name: &str, runs| ModelSettings {
            line: None,
            name: name.to_owned(),
            default: false,
            runs,
            labels: None,
            min_score: None,
            max_detections: None,
            max_side: None,
            max_in_flight: None,
            mapping: Mapping::default(),
        };
        if self.serving.is_empty() {
            let stem = self
                .model_file
                .as_deref()
                .map_or(NANODET_G_NAME.into(), |path| path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy());
            return vec![model(&stem, Runs::Embedded(self.model_file.clone()))];
        }
        let served = |name: &String| {
            let runs = Runs::Serving {
                addresses: Vec::new(),
                remote: name.clone(),
                version: VersionChoice::Latest,
                signature: None,
            };
            model(name, runs)
        };
        self.model.iter().map(served).collect()
    }

    /// What holds for a model where a request says nothing.
    pub fn defaults(&self, model: &ModelSettings) -> Defaults {
        Defaults {
            min_score: model.min_score.unwrap_or(self.min_score),
            max_detections: model.max_detections.unwrap_or(DEFAULT_MAX_DETECTIONS),
            max_tiles: usize::from(self.max_tiles),
        }
    }

    /// How often model servers are asked which versions they have.
    pub fn version_pace(&self) -> Duration {
        Duration::from_millis(self.serving_versions_ms)
    }

    /// How to reach TensorFlow Serving at these addresses; at the service's own where there are none.
    pub fn serving(&self, addresses: &[Address]) -> serving::Settings {
        let addresses = if addresses.is_empty() { &self.serving } else { addresses };
        serving::Settings {
            addresses: addresses.to_vec(),
            channels: usize::from(self.serving_channels),
            connect_timeout: Duration::from_millis(self.serving_connect_timeout_ms),
            resolve_interval: Duration::from_millis(self.serving_resolve_ms),
            silence: Duration::from_millis(self.serving_silence_ms),
            retries: self.serving_retries,
            max_request_bytes: self.serving_max_request_bytes as usize,
            max_answer_bytes: self.serving_max_answer_bytes as usize,
            tls: serving::tls::Files {
                authorities: self.serving_ca.clone(),
                identity: self.serving_client_cert.clone().zip(self.serving_client_key.clone()),
            },
            resolver: serving::Settings::system_resolver(),
        }
    }
}

/// A rate and its burst, where there is a rate.
fn limit(per_second: f64, burst: u32) -> Option<Rate> {
    let burst = NonZeroU32::new(burst).or_else(|| NonZeroU32::new(per_second.ceil() as u32));
    (per_second > 0.0).then(|| Rate { per_second, burst: burst.unwrap_or(NonZeroU32::MIN) })
}
