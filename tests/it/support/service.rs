//! The service on a free port of loopback, stopped when the test ends.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Command};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use spotter::access::Access;
use spotter::app::{self, Listening};
use spotter::config::{CommandLine, Settings};
use spotter::http::server::Bounds;
use spotter::service::Service;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The settings that these flags of `spotter serve` make.
pub fn settings(flags: &[&str]) -> Settings {
    let command = Command::new("spotter").subcommand(Settings::augment_args(Command::new("serve")));
    let line = ["spotter", "serve"].iter().chain(flags).map(OsString::from).collect();
    CommandLine::new(command, line).read().unwrap_or_else(|mistakes| panic!("{mistakes}")).settings
}

/// A running service and a client for it.
pub struct Spotter {
    address: SocketAddr,
    metrics: Option<SocketAddr>,
    client: Client,
    service: Arc<Service>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Spotter {
    /// With these flags. Nothing warms up the model: what the model server is sent, the test has asked for.
    pub async fn start(flags: &[&str]) -> Self {
        let settings = settings(flags);
        Self::listen(app::build(&settings).unwrap(), settings.bounds(), &settings).await
    }

    /// The same, and the versions of the models are looked after as `serve` does it.
    pub async fn following(flags: &[&str]) -> Self {
        let settings = settings(flags);
        let service = app::build(&settings).unwrap();
        service.catalog.follow_versions(&service.background, settings.version_pace(), settings.request_timeout());
        Self::listen(service, settings.bounds(), &settings).await
    }

    /// With these flags, and bounds of connections that no flag sets.
    pub async fn bounded(flags: &[&str], change: impl FnOnce(&mut Bounds)) -> Self {
        let settings = settings(flags);
        let mut bounds = settings.bounds();
        change(&mut bounds);
        Self::listen(app::build(&settings).unwrap(), bounds, &settings).await
    }

    /// With the models of a configuration file.
    pub async fn configured(file: &std::path::Path) -> Self {
        let settings = settings(&["--config", file.to_str().unwrap()]);
        Self::run(app::build(&settings).unwrap()).await
    }

    /// With parts of the test's own.
    pub async fn run(service: Service) -> Self {
        let settings = settings(&[]);
        Self::listen(service, settings.bounds(), &settings).await
    }

    async fn listen(service: Service, bounds: Bounds, settings: &Settings) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listening = Listening::bind(service, bounds, loopback).await.unwrap();
        let listening = listening.with_metrics_at(settings.metrics_listen).await.unwrap();
        let metrics = listening.metrics_address();
        let shutdown = settings.shutdown();
        let address = listening.address();
        let service = listening.service();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            listening.serve(stop, shutdown).await.unwrap();
        });
        let client = Client::builder().no_proxy().build().unwrap();
        Self { address, metrics, client, service, stop: Some(stop), task }
    }

    /// Who may ask it.
    pub fn access(&self) -> &Access {
        &self.service.access
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request where the metrics are scraped, when that is an address of its own.
    pub fn scrape(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("http://{}{path}", self.metrics.unwrap()))
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    pub fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    /// Waits until the model has given its first answer, which on a busy machine takes longer than a probe does.
    pub async fn ready(&self) {
        until_ready(&self.client, &self.url("/readyz")).await;
    }

    /// A raw upload.
    pub async fn upload(&self, path: &str, photo: Bytes) -> Response {
        self.post(path).header(CONTENT_TYPE, "application/octet-stream").body(photo).send().await.unwrap()
    }

    /// A raw upload that must succeed.
    pub async fn detect(&self, path: &str, photo: Bytes) -> Value {
        let response = self.upload(path, photo).await;
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Tells it to stop.
    pub fn tell_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until it has stopped.
    pub async fn stopped(mut self) {
        (&mut self.task).await.unwrap();
    }

    /// Stops it and waits until every request in flight is answered.
    pub async fn stop(mut self) {
        self.tell_to_stop();
        self.stopped().await;
    }
}

impl Drop for Spotter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks until the answer is 200; until then it is 503, and nothing else. A minute is far more than any model needs.
pub async fn until_ready(client: &Client, readyz: &str) {
    let asking = async {
        loop {
            let status = client.get(readyz).send().await.unwrap().status();
            if status == 200 {
                return;
            }
            assert_eq!(status, 503);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("ready within a minute");
}

/// The problem in an answer: its status, code and body, checked for form.
#[track_caller]
pub fn assert_problem(response: &Response, body: &Value, status: u16, code: &str) {
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(response.status(), status, "{body}");
    assert_eq!(body["status"], status, "{body}");
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    let slug = code.to_ascii_lowercase().replace('_', "-");
    assert_eq!(body["type"], format!("/problems/{slug}"), "{body}");
    assert_eq!(body["request_id"].as_str().unwrap(), response.headers()["x-request-id"], "{body}");
    for member in ["title", "detail"] {
        assert!(!body[member].as_str().unwrap().is_empty(), "{body}");
    }
    assert_eq!(response.headers().contains_key("retry-after"), matches!(status, 429 | 503), "{body}");
}

/// The problem that a request is answered with.
pub async fn problem(request: RequestBuilder, status: u16, code: &str) -> Value {
    let (_, body) = problem_and_headers(request, status, code).await;
    body
}

/// The same with the answer's headers.
pub async fn problem_and_headers(
    request: RequestBuilder,
    status: u16,
    code: &str,
) -> (reqwest::header::HeaderMap, Value) {
    let response = request.send().await.unwrap();
    let headers = response.headers().clone();
    let shell = Response::from(shell(&response));
    let body: Value = response.json().await.unwrap();
    assert_problem(&shell, &body, status, code);
    (headers, body)
}

/// An answer without its body, which can be read only once.
fn shell(response: &Response) -> http::Response<String> {
    let mut shell = http::Response::new(String::new());
    *shell.status_mut() = response.status();
    *shell.headers_mut() = response.headers().clone();
    shell
}

/// A service whose parts a test can still reach.
pub fn shared<T>(part: T) -> Arc<T> {
    Arc::new(part)
}
