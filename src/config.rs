//! Every setting: one field here, and with it a flag, an environment variable, a default and a line of help.
//!
//! A flag wins over the environment, the environment over the configuration file (`file`), and that over the default.
//! The environment is read in this module only. What the service makes of the settings is in `parts`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;
use ipnet::IpNet;

use crate::access::origin::Origin;
use crate::backend::serving::Address;
use crate::fetch::Scheme;

mod file;
mod mistake;
mod models;
mod parts;
mod reading;
mod row;
mod sources;
mod toml_reader;
mod values;

pub use file::File;
pub use mistake::{Mistake, Mistakes};
pub use models::{ModelSettings, Runs};
pub use reading::{CommandLine, Reading};
pub use row::{Row, rows};
pub use sources::{Refused, Source, Sources, parse, read};
pub use values::{Labels, LogFormat};

use values::{collector, model_name, network, rate, score};

/// The setting that names the file, which a file cannot set.
const CONFIG: &str = "config";

/// What the service is told at start.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Configuration file (TOML): these settings by name, and several models
    #[arg(long, env = "SPOTTER_CONFIG", value_name = "FILE", help_heading = "Service")]
    pub config: Option<PathBuf>,

    /// The models that the configuration file declares.
    #[arg(skip)]
    pub declared: Vec<ModelSettings>,

    /// Where the service listens; port 0 takes any free port
    #[arg(
        long,
        env = "SPOTTER_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS",
        help_heading = "Service"
    )]
    pub listen: SocketAddr,

    /// Keys that clients must send: a file of `name: key` lines or a folder with a file a key; read again when it changes
    #[arg(long, env = "SPOTTER_API_KEYS", value_name = "PATH", help_heading = "Access")]
    pub api_keys: Option<PathBuf>,

    /// Serves everybody who can reach the address; needed to listen beyond loopback without keys
    #[arg(long, env = "SPOTTER_ALLOW_ANONYMOUS", value_parser = BoolishValueParser::new(), help_heading = "Access")]
    pub allow_anonymous: bool,

    /// Requests a second that each key may make, such as 5 or 0.5; 0 means any number
    #[arg(long, env = "SPOTTER_KEY_RATE", default_value = "0", value_name = "RATE", value_parser = rate, help_heading = "Access")]
    pub key_rate: f64,

    /// Requests that each key may make at once after a rest; 0 means as many as in a second
    #[arg(long, env = "SPOTTER_KEY_BURST", default_value_t = 0, value_name = "COUNT", help_heading = "Access")]
    pub key_burst: u32,

    /// Requests a second that each client address (IPv6: each /64) may make; 0 means any number
    #[arg(long, env = "SPOTTER_ADDRESS_RATE", default_value = "0", value_name = "RATE", value_parser = rate, help_heading = "Access")]
    pub address_rate: f64,

    /// Requests that each client address may make at once after a rest; 0 means as many as in a second
    #[arg(long, env = "SPOTTER_ADDRESS_BURST", default_value_t = 0, value_name = "COUNT", help_heading = "Access")]
    pub address_burst: u32,

    /// Networks of the proxies in front, such as 10.0.0.0/8; only their X-Forwarded-For is believed
    #[arg(
        long,
        env = "SPOTTER_TRUSTED_PROXIES",
        value_name = "CIDR",
        value_delimiter = ',',
        value_parser = network,
        help_heading = "Access"
    )]
    pub trusted_proxies: Vec<IpNet>,

    /// Origins whose pages may ask from a browser, such as `https://shop.example`; several separated by commas, or * for all
    #[arg(long, env = "SPOTTER_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',', help_heading = "Access")]
    pub cors_origins: Vec<Origin>,

    /// Schemes of addresses that photos are fetched from for clients (`image_url`): https, or https,http; without any, none are
    #[arg(
        long,
        env = "SPOTTER_IMAGE_URL_SCHEMES",
        value_name = "SCHEME",
        value_delimiter = ',',
        help_heading = "Access"
    )]
    pub image_url_schemes: Vec<Scheme>,

    /// TensorFlow Serving: `http://host:8500`, `https://host:8500` or `unix:/path`; several separated by commas; a name stands
    /// for all its addresses; without it the embedded detector runs
    #[arg(long, env = "SPOTTER_SERVING", value_name = "URL", value_delimiter = ',', help_heading = "Model")]
    pub serving: Vec<Address>,

    /// Name of the model at TensorFlow Serving; several separated by commas, the first being the default
    #[arg(
        long,
        env = "SPOTTER_MODEL",
        default_value = "model",
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = model_name,
        help_heading = "Model"
    )]
    pub model: Vec<String>,

    /// ONNX file (NanoDet or YOLOX) to run in this process instead of the built-in detector
    #[arg(long, env = "SPOTTER_MODEL_FILE", value_name = "FILE", help_heading = "Model")]
    pub model_file: Option<PathBuf>,

    /// Library of ONNX Runtime, 1.17 or newer (`libonnxruntime.so`), to run models in this process at half the cost of the
    /// built-in engine
    #[arg(long, env = "SPOTTER_ONNX_RUNTIME", value_name = "FILE", help_heading = "Model")]
    pub onnx_runtime: Option<PathBuf>,

    /// Label map: a .pbtxt, .txt or .json file, or "coco"; the embedded detector knows its own
    #[arg(long, env = "SPOTTER_LABELS", value_name = "FILE", help_heading = "Model")]
    pub labels: Option<Labels>,

    /// Least score that is listed where a request does not say, 0 to 1
    #[arg(long, env = "SPOTTER_MIN_SCORE", default_value = "0.3", value_name = "SCORE", value_parser = score, help_heading = "Model")]
    pub min_score: f32,

    /// Longest side in pixels that is sent to a model without a size of its own; a file that the model decodes itself
    /// goes as it is where it is an upright JPEG or an opaque PNG
    #[arg(
        long,
        env = "SPOTTER_MAX_SIDE",
        default_value_t = 1024,
        value_name = "PIXELS",
        value_parser = clap::value_parser!(u32).range(32..=8192),
        help_heading = "Model"
    )]
    pub max_side: u32,

    /// Most tiles that a request may have a photo cut into; each is one more inference
    #[arg(
        long,
        env = "SPOTTER_MAX_TILES",
        default_value_t = 16,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(0..=256),
        help_heading = "Limits"
    )]
    pub max_tiles: u16,

    /// Largest image file accepted, in bytes
    #[arg(
        long,
        env = "SPOTTER_MAX_IMAGE_BYTES",
        default_value_t = 20 << 20,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1..=1 << 30),
        help_heading = "Limits"
    )]
    pub max_image_bytes: u64,

    /// Most photos in one batch
    #[arg(
        long,
        env = "SPOTTER_MAX_BATCH_PHOTOS",
        default_value_t = 16,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(1..=1024),
        help_heading = "Limits"
    )]
    pub max_batch_photos: u16,

    /// Largest batch accepted: bytes of all its photos together
    #[arg(
        long,
        env = "SPOTTER_MAX_BATCH_BYTES",
        default_value_t = 64 << 20,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1..=1 << 30),
        help_heading = "Limits"
    )]
    pub max_batch_bytes: u64,

    /// Most pixels an image may have; decided from its header, before any pixel is decoded
    #[arg(
        long,
        env = "SPOTTER_MAX_IMAGE_PIXELS",
        default_value_t = 50_000_000,
        value_name = "PIXELS",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000),
        help_heading = "Limits"
    )]
    pub max_image_pixels: u64,

    /// Photos worked on at once for each model; further ones wait, and are refused where too many do; 0 means two per worker for the
    /// embedded detector and 64 in front of TensorFlow Serving
    #[arg(long, env = "SPOTTER_MAX_IN_FLIGHT", default_value_t = 0, value_name = "COUNT", help_heading = "Limits")]
    pub max_in_flight: u16,

    /// How long a photo may wait for its turn, half of its time at most; where it would take longer it is refused at once
    #[arg(
        long,
        env = "SPOTTER_MAX_QUEUE_MS",
        default_value_t = 5_000,
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(0..=3_600_000),
        help_heading = "Limits"
    )]
    pub max_queue_ms: u64,

    /// Most pixels of all photos that are worked on at once; further ones wait, and are refused where too many do
    #[arg(
        long,
        env = "SPOTTER_MAX_PIXELS_IN_FLIGHT",
        default_value_t = 200_000_000,
        value_name = "PIXELS",
        value_parser = clap::value_parser!(u64).range(1..=100_000_000_000),
        help_heading = "Limits"
    )]
    pub max_pixels_in_flight: u64,

    /// Time for a request, from its head to its answer
    #[arg(
        long,
        env = "SPOTTER_REQUEST_TIMEOUT_MS",
        default_value_t = 30_000,
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(1..=3_600_000),
        help_heading = "Limits"
    )]
    pub request_timeout_ms: u64,

    /// Connections at once; further ones take the place of those that have been without a request the longest
    #[arg(
        long,
        env = "SPOTTER_MAX_CONNECTIONS",
        default_value_t = 10_000,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        help_heading = "Clients"
    )]
    pub max_connections: u32,

    /// Largest head of a request, in bytes: request line and headers
    #[arg(
        long,
        env = "SPOTTER_MAX_HEAD_BYTES",
        default_value_t = 32 << 10,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(1 << 10..=1 << 20),
        help_heading = "Clients"
    )]
    pub max_head_bytes: u32,

    /// Most headers of a request
    #[arg(
        long,
        env = "SPOTTER_MAX_HEADERS",
        default_value_t = 100,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(16..=10_000),
        help_heading = "Clients"
    )]
    pub max_headers: u16,

    /// Time for the head of a request, from its first byte to its last, and for a new connection to send anything
    #[arg(
        long,
        env = "SPOTTER_HEAD_TIMEOUT_MS",
        default_value_t = 10_000,
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(1..=3_600_000),
        help_heading = "Clients"
    )]
    pub head_timeout_ms: u64,

    /// Time that a connection is kept without a request, or with an answer that its client does not read
    #[arg(
        long,
        env = "SPOTTER_KEEP_ALIVE_MS",
        default_value_t = 75_000,
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(1..=3_600_000),
        help_heading = "Clients"
    )]
    pub keep_alive_ms: u64,

    /// Longest pause in an upload; the whole of it is bounded by --request-timeout-ms
    #[arg(
        long,
        env = "SPOTTER_UPLOAD_PAUSE_MS",
        default_value_t = 10_000,
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(1..=3_600_000),
        help_heading = "Clients"
    )]
    pub upload_pause_ms: u64,

    /// Most bytes of all uploads that are arriving or not answered yet, and again of large answers that are not read yet;
    /// further ones are refused
    #[arg(
        long,
        env = "SPOTTER_MAX_UPLOAD_BYTES_IN_FLIGHT",
        default_value_t = 256 << 20,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1..=1 << 40),
        help_heading = "Limits"
    )]
    pub max_upload_bytes_in_flight: u64,

    /// Most parts of a form beside its photos
    #[arg(
        long,
        env = "SPOTTER_MAX_FORM_PARTS",
        default_value_t = 64,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(1..=10_000),
        help_heading = "Limits"
    )]
    pub max_form_parts: u16,

    /// Most objects and lists around and in an option of a JSON body; a batch with options of its photos has four
    #[arg(
        long,
        env = "SPOTTER_MAX_JSON_DEPTH",
        default_value_t = 16,
        value_name = "LEVELS",
        value_parser = clap::value_parser!(u8).range(4..=128),
        help_heading = "Limits"
    )]
    pub max_json_depth: u8,

    /// How often configuration, label maps, keys and certificates are looked at for changes; 0 means on SIGHUP only
    #[arg(
        long,
        env = "SPOTTER_WATCH_FILES_MS",
        default_value_t = 2_000,
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(0..=3_600_000),
        help_heading = "Service"
    )]
    pub watch_files_ms: u64,

    /// Certificate that clients are shown, in PEM form, with those that lead to its authority behind it; without it the
    /// service speaks plain HTTP
    #[arg(long, env = "SPOTTER_TLS_CERTIFICATE", value_name = "FILE", help_heading = "Clients")]
    pub tls_certificate: Option<PathBuf>,

    /// Private key of the certificate, in PEM form
    #[arg(long, env = "SPOTTER_TLS_KEY", value_name = "FILE", help_heading = "Clients")]
    pub tls_key: Option<PathBuf>,

    /// Requests at once on one HTTP/2 connection
    #[arg(
        long,
        env = "SPOTTER_MAX_STREAMS",
        default_value_t = 100,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=10_000),
        help_heading = "Clients"
    )]
    pub max_streams: u32,

    /// Streams of an HTTP/2 connection that its client may reset before the service has looked at them; past it the
    /// connection ends
    #[arg(
        long,
        env = "SPOTTER_MAX_STREAM_RESETS",
        default_value_t = 20,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(1..=10_000),
        help_heading = "Clients"
    )]
    pub max_stream_resets: u16,

    /// Streams of an HTTP/2 connection that the service may have to reset for errors of its client; past it the connection
    /// ends
    #[arg(
        long,
        env = "SPOTTER_MAX_STREAM_ERRORS",
        default_value_t = 128,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(1..=10_000),
        help_heading = "Clients"
    )]
    pub max_stream_errors: u16,

    /// Time that the service goes on after it is told to stop, no longer ready, so that nobody is sent to it any more
    #[arg(
        long,
        env = "SPOTTER_SHUTDOWN_DELAY_MS",
        default_value_t = 0,
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(0..=3_600_000),
        help_heading = "Service"
    )]
    pub shutdown_delay_ms: u64,

    /// Time that requests in flight have to finish once no new ones are taken
    #[arg(
        long,
        env = "SPOTTER_SHUTDOWN_GRACE_MS",
        default_value_t = 30_000,
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(0..=3_600_000),
        help_heading = "Service"
    )]
    pub shutdown_grace_ms: u64,

    /// Photos decoded or run through the embedded detector at once; 0 means one per core
    #[arg(long, env = "SPOTTER_WORKERS", default_value_t = 0, value_name = "COUNT", help_heading = "Limits")]
    pub workers: u16,

    /// Connections to each TensorFlow Serving host
    #[arg(
        long,
        env = "SPOTTER_SERVING_CHANNELS",
        default_value_t = 2,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(1..=64),
        help_heading = "TensorFlow Serving"
    )]
    pub serving_channels: u16,

    /// Patience for a connection to TensorFlow Serving
    #[arg(
        long,
        env = "SPOTTER_SERVING_CONNECT_TIMEOUT_MS",
        default_value_t = 2_000,
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(1..=60_000),
        help_heading = "TensorFlow Serving"
    )]
    pub serving_connect_timeout_ms: u64,

    /// How often the names of TensorFlow Serving hosts are resolved again
    #[arg(
        long,
        env = "SPOTTER_SERVING_RESOLVE_MS",
        default_value_t = 5_000,
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(10..=3_600_000),
        help_heading = "TensorFlow Serving"
    )]
    pub serving_resolve_ms: u64,

    /// How often each TensorFlow Serving host is asked which versions it has, a tenth more or less; a new one is warmed up with a
    /// blank picture before photos go to it
    #[arg(
        long,
        env = "SPOTTER_SERVING_VERSIONS_MS",
        default_value_t = 2_000,
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(10..=3_600_000),
        help_heading = "TensorFlow Serving"
    )]
    pub serving_versions_ms: u64,

    /// How long a TensorFlow Serving host may be silent while calls wait; then it has a second to give a sign of life, or its
    /// calls go to other hosts
    #[arg(
        long,
        env = "SPOTTER_SERVING_SILENCE_MS",
        default_value_t = 1_000,
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(10..=3_600_000),
        help_heading = "TensorFlow Serving"
    )]
    pub serving_silence_ms: u64,

    /// How often a call is made again at most, at other hosts or once more at the only one, where one could not be reached, failed or
    /// was too busy; never more than one call in five, and ten a second. 0 where a mesh repeats calls
    #[arg(
        long,
        env = "SPOTTER_SERVING_RETRIES",
        default_value_t = 10,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(0..=100),
        help_heading = "TensorFlow Serving"
    )]
    pub serving_retries: u32,

    /// Certificates (PEM) of the authorities that vouch for `https://` hosts; without it, those that the system trusts
    #[arg(long, env = "SPOTTER_SERVING_CA", value_name = "FILE", help_heading = "TensorFlow Serving")]
    pub serving_ca: Option<PathBuf>,

    /// Certificate (PEM) that this service shows to `https://` hosts
    #[arg(long, env = "SPOTTER_SERVING_CLIENT_CERT", value_name = "FILE", help_heading = "TensorFlow Serving")]
    pub serving_client_cert: Option<PathBuf>,

    /// Private key (PEM) of that certificate
    #[arg(long, env = "SPOTTER_SERVING_CLIENT_KEY", value_name = "FILE", help_heading = "TensorFlow Serving")]
    pub serving_client_key: Option<PathBuf>,

    /// Largest message sent to TensorFlow Serving
    #[arg(
        long,
        env = "SPOTTER_SERVING_MAX_REQUEST_BYTES",
        default_value_t = 256 << 20,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1 << 10..=2_147_483_647),
        help_heading = "TensorFlow Serving"
    )]
    pub serving_max_request_bytes: u64,

    /// Largest message accepted from TensorFlow Serving
    #[arg(
        long,
        env = "SPOTTER_SERVING_MAX_ANSWER_BYTES",
        default_value_t = 64 << 20,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1 << 10..=2_147_483_647),
        help_heading = "TensorFlow Serving"
    )]
    pub serving_max_answer_bytes: u64,

    /// Most bytes of what all TensorFlow Serving hosts have answered to photos and is not interpreted yet; further answers are refused
    #[arg(
        long,
        env = "SPOTTER_SERVING_MAX_ANSWER_BYTES_IN_FLIGHT",
        default_value_t = 256 << 20,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1 << 10..=1 << 40),
        help_heading = "TensorFlow Serving"
    )]
    pub serving_max_answer_bytes_in_flight: u64,

    /// Where the metrics are scraped, without a key and by nothing else; unset, they are at /metrics of the service itself,
    /// with a key where keys are set
    #[arg(long, env = "SPOTTER_METRICS_LISTEN", value_name = "ADDRESS", help_heading = "Monitoring")]
    pub metrics_listen: Option<SocketAddr>,

    /// Collector of traces (OTLP over gRPC), such as `http://collector:4317`; without it there are none
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        value_parser = collector,
        help_heading = "Monitoring"
    )]
    pub otlp_endpoint: Option<String>,

    /// Form of the log on standard error
    #[arg(long, env = "SPOTTER_LOG_FORMAT", default_value = "text", value_name = "FORM", help_heading = "Log")]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or directives such as spotter=debug,h2=warn
    #[arg(long, env = "SPOTTER_LOG", default_value = "info", value_name = "FILTER", help_heading = "Log")]
    pub log: String,
}
