//! `grpc.health.v1.Health`: what /readyz says, for probes that speak gRPC.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio_stream::wrappers::IntervalStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use super::proto::v1::detection_service_server::SERVICE_NAME;
use crate::backend::Call;
use crate::deadline::Deadline;
use crate::lifecycle::Phase;
use crate::request_id::RequestId;
use crate::service::Current;

/// How often a watched status is looked at.
const PACE: Duration = Duration::from_secs(1);
/// How long looking may take.
const PATIENCE: Duration = Duration::from_millis(900);

#[derive(Clone)]
pub(super) struct Health {
    current: Current,
}

impl Health {
    pub(super) fn new(current: Current) -> Self {
        Self { current }
    }

    /// Ready means that a photo would be answered, for the whole server ("") as for the one service it is about.
    async fn status(&self, name: &str) -> Option<ServingStatus> {
        if !["", SERVICE_NAME].contains(&name) {
            return None;
        }
        let service = self.current.get();
        if service.lifecycle.phase() >= Phase::Draining {
            return Some(ServingStatus::NotServing);
        }
        let call = Call::new(Deadline::after(PATIENCE), RequestId::generate());
        let ready = service.catalog.default_model().ready(&call, service.request_timeout).await;
        Some(if ready.is_ok() { ServingStatus::Serving } else { ServingStatus::NotServing })
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        match self.status(&name).await {
            Some(status) => Ok(Response::new(response(status))),
            None => Err(Status::not_found(format!("There is no service of this name; there is {SERVICE_NAME}."))),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// The status now and whenever it changes; of a service that does not exist, `SERVICE_UNKNOWN`, as the protocol asks.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (health, name) = (self.clone(), request.into_inner().service);
        let looks = IntervalStream::new(tokio::time::interval(PACE)).then(move |_| {
            let (health, name) = (health.clone(), name.clone());
            async move { health.status(&name).await.unwrap_or(ServingStatus::ServiceUnknown) }
        });
        let mut told = None;
        let changes = looks.filter_map(move |status| {
            let changed = told.replace(status) != Some(status);
            std::future::ready(changed.then(|| Ok(response(status))))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
