//! `GET /livez` and `GET /readyz`: is the process there, and would a photo be answered.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::backend::Call;
use crate::fault::{Code, Fault};
use crate::lifecycle::Phase;
use crate::service::Service;

/// By then an instance that was told to stop is gone, and its successor may be there.
const DRAINED: Duration = Duration::from_secs(5);

/// Is the process alive
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "livez",
    tag = "health",
    responses((status = 200, description = "It is.", body = Alive)),
)]
pub(super) async fn livez() -> Json<Alive> {
    Json(Alive { status: "alive" })
}

/// Would a photo be answered
///
/// Ready means that the default model has a version AVAILABLE and that this version has answered a Predict. An instance that was
/// told to stop is not ready.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "health",
    responses((status = 200, description = "It would.", body = Ready)),
)]
pub(super) async fn readyz(
    State(service): State<Arc<Service>>,
    Extension(call): Extension<Call>,
) -> Result<Json<Ready>, Fault> {
    if service.lifecycle.phase() >= Phase::Draining {
        let detail = "This instance is about to stop. It still answers what reaches it.";
        return Err(Fault::new(Code::Draining, detail).retry_after(DRAINED));
    }
    let model = service.catalog.default_model();
    let looking = call.deadline.bound(model.readiness(service.request_timeout)).await;
    let resolved = looking.map_err(|_| {
        Fault::new(Code::DeadlineExceeded, "Whether a photo would be answered was not known within the request's time.")
    })??;
    Ok(Json(Ready { status: "ready", model: model.name().to_owned(), version: resolved.version.to_string() }))
}

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alive {
    /// Always `alive`.
    #[schema(example = "alive")]
    status: &'static str,
}

/// The default model answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    /// Always `ready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// The default model.
    #[schema(example = "nanodet-g")]
    model: String,
    /// The version that answers.
    #[schema(example = "1")]
    version: String,
}
