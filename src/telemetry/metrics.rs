//! What happens, in numbers, for Prometheus.
//!
//! Counters and histograms are kept as things happen; what is there at a moment ([`Now`]) is looked up when somebody asks.
//! A series is found by borrowed names and counted with atomics: nothing is allocated for an observation but the first of
//! its kind, and no lock is held but for a lookup. Every label has a bound, or is a name that the operator gave.

use std::time::{Duration, SystemTime};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::log;

mod hosts;
mod known;
mod now;
mod photos;
mod process;
mod requests;

pub use hosts::{HostSeries, Hosts};
pub use now::{Now, Places};
pub use photos::{MAX_CLASSES, Photos, VersionSeries};
pub use requests::Requests;

/// The media type of what [`Metrics::render`] gives.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What every name begins with.
const PREFIX: &str = "spotter";

/// Upper bounds in seconds: from the decoding of a thumbnail to the longest deadline that anybody sets.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The metrics of one service.
#[derive(Debug)]
pub struct Metrics {
    /// Requests and their answers, over HTTP and gRPC alike.
    pub requests: Requests,
    /// Photos on their way through the pipeline.
    pub photos: Photos,
    /// Calls of TensorFlow Serving.
    pub hosts: Hosts,
    registry: Registry,
    began: SystemTime,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "Which spotter this is; always 1", build);
        registry.register("log_lines_dropped", "Lines of the log that nobody has read", log::dropped());
        let requests = Requests::register(&mut registry);
        let photos = Photos::register(&mut registry);
        let hosts = Hosts::register(&mut registry);
        Self { requests, photos, hosts, registry, began: SystemTime::now() }
    }

    /// Everything, in the text form of `OpenMetrics`. Reads files of the system on the way.
    pub fn render(&self, now: &Now) -> String {
        let mut text = String::new();
        for registry in [&self.registry, &now.registry(), &process::registry(self.began)] {
            encode_registry(&mut text, registry).expect("writing into a string cannot fail");
        }
        encode_eof(&mut text).expect("writing into a string cannot fail");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes histograms of durations.
#[derive(Debug, Clone, Copy)]
struct Seconds;

impl Seconds {
    fn family<S: Clone + std::hash::Hash + Eq>() -> Family<S, Histogram, Self> {
        Family::new_with_constructor(Self)
    }
}

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

fn observe(histogram: &Histogram, took: Duration) {
    histogram.observe(took.as_secs_f64());
}

/// Registers a family whose name ends in its unit, as Prometheus wants it.
fn in_seconds<S>(registry: &mut Registry, name: &str, help: &str, family: &Family<S, Histogram, Seconds>)
where
    S: Clone + std::hash::Hash + Eq + std::fmt::Debug + EncodeLabelSet + Send + Sync + 'static,
{
    registry.register_with_unit(name, help, Unit::Seconds, family.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Stage;

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }

    #[test]
    fn what_was_counted_is_rendered_under_its_name() {
        let metrics = Metrics::new();
        metrics.requests.answered("/v1/detect", 200, "", Duration::from_millis(30));
        metrics.requests.answered("/v1/detect", 503, "OVERLOADED", Duration::from_millis(1));
        let version = metrics.photos.version("nanodet-g", 1);
        version.passed(Stage::Decode, Duration::from_millis(7));
        version.answered(["cat", "cat", "dog"].into_iter());
        metrics.photos.failed("nanodet-g", None, "UNREADABLE_IMAGE");
        metrics.photos.failed("nanodet-g", Some(1), "MODEL_CONTRACT");
        metrics.photos.arrived(1234);
        let host = metrics.hosts.host("http://tf:8500");
        host.called("ok", Duration::from_millis(20));
        host.went_out();
        let models = vec![Places { model: "nanodet-g".to_owned(), queued: 3, in_flight: 2, limit: 4 }];
        let now = Now {
            models,
            pixels: 5,
            max_pixels: 6,
            upload_bytes: 7,
            max_upload_bytes: 8,
            model_answer_bytes: 11,
            max_model_answer_bytes: 12,
            answer_bytes: 9,
            max_answer_bytes: 10,
        };
        let text = metrics.render(&now);
        let version = env!("CARGO_PKG_VERSION");
        has(&text, &format!(r#"spotter_build_info{{version="{version}"}} 1"#));
        for line in [
            r#"spotter_requests_total{route="/v1/detect",status="200",code=""} 1"#,
            r#"spotter_requests_total{route="/v1/detect",status="503",code="OVERLOADED"} 1"#,
            r#"spotter_request_duration_seconds_bucket{le="0.05",route="/v1/detect"} 2"#,
            r#"spotter_stage_duration_seconds_count{stage="decode",model="nanodet-g",version="1"} 1"#,
            r#"spotter_detections_total{model="nanodet-g",label="cat"} 2"#,
            r#"spotter_detections_total{model="nanodet-g",label="dog"} 1"#,
            r#"spotter_photos_total{model="nanodet-g",version="1"} 1"#,
            r#"spotter_photos_failed_total{model="nanodet-g",version="",code="UNREADABLE_IMAGE"} 1"#,
            r#"spotter_photos_failed_total{model="nanodet-g",version="1",code="MODEL_CONTRACT"} 1"#,
            "spotter_photo_bytes_sum 1234.0",
            r#"spotter_serving_calls_total{host="http://tf:8500",outcome="ok"} 1"#,
            r#"spotter_serving_call_duration_seconds_count{host="http://tf:8500"} 1"#,
            r#"spotter_serving_host_up{host="http://tf:8500"} 0"#,
            r#"spotter_photos_in_flight{model="nanodet-g"} 2"#,
            r#"spotter_photos_queued{model="nanodet-g"} 3"#,
            r#"spotter_photos_in_flight_limit{model="nanodet-g"} 4"#,
            "spotter_pixels_in_flight 5",
            "spotter_pixels_in_flight_limit 6",
            "spotter_upload_bytes_in_flight 7",
            "spotter_upload_bytes_in_flight_limit 8",
            "spotter_model_answer_bytes_in_flight 11",
            "spotter_model_answer_bytes_in_flight_limit 12",
            "spotter_answer_bytes_in_flight 9",
            "spotter_answer_bytes_in_flight_limit 10",
        ] {
            has(&text, line);
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn classes_without_number_do_not_make_series_without_number() {
        let metrics = Metrics::new();
        let names: Vec<_> = (0..2 * MAX_CLASSES).map(|id| format!("class_{id}")).collect();
        metrics.photos.version("m", 1).answered(names.iter().map(String::as_str));
        metrics.photos.version("another", 1).answered(["cat", "class_0"].into_iter());
        metrics.photos.version("m", 2).answered(["class_0"].into_iter());
        let text = metrics.render(&Now::default());
        assert_eq!(text.matches("spotter_detections_total{").count(), MAX_CLASSES + 2, "one `other` a model");
        has(&text, r#"spotter_detections_total{model="m",label="other"} 1000"#);
        has(&text, r#"spotter_detections_total{model="m",label="class_0"} 2"#);
        has(&text, r#"spotter_detections_total{model="another",label="other"} 2"#);
    }

    #[test]
    fn a_host_that_is_gone_takes_its_series_with_it_and_one_that_two_pools_know_is_one() {
        let metrics = Metrics::new();
        let (one, other) = (metrics.hosts.host("a"), metrics.hosts.host("a"));
        one.called("ok", Duration::ZERO);
        other.called("ok", Duration::ZERO);
        drop(one);
        has(&metrics.render(&Now::default()), r#"spotter_serving_calls_total{host="a",outcome="ok"} 2"#);
        drop(other);
        assert!(!metrics.render(&Now::default()).contains(r#"host="a""#));
        let _again = metrics.hosts.host("a");
        has(&metrics.render(&Now::default()), r#"spotter_serving_host_up{host="a"} 1"#);
    }
}
