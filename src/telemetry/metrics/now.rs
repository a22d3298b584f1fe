//! What is in the service at a moment.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::PREFIX;

/// What is in the service at this moment, and how much of it there may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Now {
    /// Every model.
    pub models: Vec<Places>,
    /// Pixels of the photos that are worked on.
    pub pixels: u64,
    /// As many as there may be.
    pub max_pixels: u64,
    /// Bytes of the uploads that arrive or wait to be decoded.
    pub upload_bytes: u64,
    /// As many as there may be.
    pub max_upload_bytes: u64,
    /// Bytes of the large answers that are not read yet, where a key is needed to ask.
    pub answer_bytes: u64,
    /// As many as there may be.
    pub max_answer_bytes: u64,
    /// Bytes of what model servers have answered and is not interpreted yet.
    pub model_answer_bytes: u64,
    /// As many as there may be.
    pub max_model_answer_bytes: u64,
}

/// How busy a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Which model.
    pub model: String,
    /// Photos that wait for their turn.
    pub queued: usize,
    /// Photos that are worked on.
    pub in_flight: usize,
    /// How many may be worked on at once.
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Model {
    model: String,
}

impl Now {
    /// Its gauges, made for one look at them: a model that is gone is not there.
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        let mut by_model = |name: &str, help: &str, of: fn(&Places) -> usize| {
            let family = Family::<Model, Gauge>::default();
            for places in &self.models {
                family.get_or_create(&Model { model: places.model.clone() }).set(count(of(places) as u64));
            }
            registry.register(name, help, family);
        };
        by_model("photos_in_flight", "Photos that are worked on", |places| places.in_flight);
        by_model("photos_queued", "Photos that wait for their turn", |places| places.queued);
        by_model("photos_in_flight_limit", "Photos that may be worked on at once", |places| places.limit);
        let mut one = |name: &str, help: &str, value: u64| {
            let gauge = Gauge::<i64>::default();
            gauge.set(count(value));
            registry.register(name, help, gauge);
        };
        one(
            "pixels_in_flight",
            "Pixels of the photos that are worked on and of their canvases, and what the next photo in line has by now",
            self.pixels,
        );
        one("pixels_in_flight_limit", "Pixels that may be worked on at once", self.max_pixels);
        let help = "Bytes of the uploads that are arriving or not answered yet, with what is long in their heads";
        one("upload_bytes_in_flight", help, self.upload_bytes);
        one("upload_bytes_in_flight_limit", "Bytes that all uploads may have at once", self.max_upload_bytes);
        one("answer_bytes_in_flight", "Bytes of the large answers that clients have not read yet", self.answer_bytes);
        one("answer_bytes_in_flight_limit", "Bytes that all large answers may have at once", self.max_answer_bytes);
        let help = "Bytes of what model servers have answered and is not interpreted yet, beyond 64 KiB each";
        one("model_answer_bytes_in_flight", help, self.model_answer_bytes);
        let help = "Bytes that all answers of model servers may have at once";
        one("model_answer_bytes_in_flight_limit", help, self.max_model_answer_bytes);
        registry
    }
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
