//! `GET /metrics`: what happens, in numbers, for Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::fault::Fault;
use crate::http::server_timing;
use crate::service::{Current, Service};
use crate::telemetry::metrics::MEDIA_TYPE;

/// Where the metrics are scraped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scraping {
    /// Where requests are answered, with a key where keys are set.
    Here,
    /// At an address of its own ([`router`]), and not here.
    Elsewhere,
}

/// Scrape the metrics
///
/// `OpenMetrics` text, for Prometheus. It tells what is served and how much is asked of it, so where keys are set it takes
/// one. With `--metrics-listen` the metrics are at that address instead.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "health",
    responses((
        status = 200,
        description = "Every metric of this instance.",
        body = String,
        content_type = "application/openmetrics-text",
    )),
)]
pub(super) async fn metrics(State(service): State<Arc<Service>>) -> Result<impl IntoResponse, Fault> {
    scraped(service).await
}

async fn scraped(service: Arc<Service>) -> Result<impl IntoResponse, Fault> {
    let render = move || service.metrics.render(&service.now());
    let text = tokio::task::spawn_blocking(render).await.map_err(Fault::internal)?;
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], text))
}

/// The metrics alone, for an address of their own: no keys and no rates.
pub fn router(current: Current) -> Router {
    let metrics = |State(current): State<Current>| scraped(current.get());
    let nothing = || async { (StatusCode::NOT_FOUND, "There is nothing here but GET /metrics.\n") };
    let routes = Router::new().route("/metrics", get(metrics)).fallback(nothing);
    routes.layer(from_fn(server_timing::total)).with_state(current)
}
