//! `grpc.health.v1.Health`: what /readyz says, for probes that speak gRPC.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use super::proto::v1::detection_service_server::SERVICE_NAME;
use crate::lifecycle::Phase;
use crate::service::Current;

/// How often a watched status is looked at.
const PACE: Duration = Duration::from_secs(1);

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
        let ready = service.catalog.default_model().readiness(service.request_timeout).await;
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

    /// The status now and whenever it changes; of a service that does not exist, `SERVICE_UNKNOWN`, as the protocol asks. Ends
    /// when the service stops: it would keep its connection open for as long as that may take.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let watch = Watch { health: self.clone(), name: request.into_inner().service, told: None };
        Ok(Response::new(Box::pin(futures::stream::unfold(watch, Watch::next))))
    }
}

/// A status that is watched.
struct Watch {
    health: Health,
    name: String,
    told: Option<ServingStatus>,
}

impl Watch {
    /// Waits until there is something else to tell.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        let lifecycle = self.health.current.get().lifecycle.clone();
        loop {
            // What is seen from then on is the last there is to see.
            let is_last = lifecycle.phase() >= Phase::Draining;
            let status = self.health.status(&self.name).await.unwrap_or(ServingStatus::ServiceUnknown);
            if self.told.replace(status) != Some(status) {
                return Some((Ok(response(status)), self));
            }
            if is_last {
                lifecycle.reached(Phase::Stopping).await;
                return None;
            }
            tokio::select! {
                () = tokio::time::sleep(PACE) => {}
                () = lifecycle.reached(Phase::Draining) => {}
            }
        }
    }
}
