//! The typed gRPC front, on the port of the REST front: the same pipeline, limits, deadlines and faults, with names instead
//! of tensors (proto/spotter/v1/detection.proto). Health and reflection come with it.

use std::sync::Arc;

use axum::Router;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use crate::service::Service;

mod batch;
mod deadline;
mod detection;
mod health;
mod message;
#[doc(hidden)]
pub mod proto;
mod status;
mod stream;

pub(crate) use status::{Failed, answer};

/// Room for options and framing beside a photo.
const ROOM_BESIDE_IMAGE: usize = 64 << 10;

/// The service that needs a key where keys are set, as routes to put beside those of the REST front.
pub(crate) fn guarded_routes(service: &Arc<Service>) -> Router<Arc<Service>> {
    let limit = service.pipeline.limits.max_bytes + ROOM_BESIDE_IMAGE;
    let detection = detection::Detector::new(Arc::clone(service));
    let detection = proto::v1::detection_service_server::DetectionServiceServer::new(detection)
        .max_decoding_message_size(limit)
        .max_encoding_message_size(usize::MAX);
    router(Routes::new(detection))
}

/// The services that are open to all: health, as probes bear no keys, and reflection, which tells what OpenAPI tells.
pub(crate) fn open_routes(service: &Arc<Service>) -> Router<Arc<Service>> {
    let health = HealthServer::new(health::Health::new(Arc::clone(service)));
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let written = "build.rs wrote the descriptors";
    // Both versions of the protocol: grpcurl before 1.8.8 and many other tools know only the older one.
    let reflection = described().build_v1().expect(written);
    let reflection_alpha = described().build_v1alpha().expect(written);
    router(Routes::new(health).add_service(reflection).add_service(reflection_alpha))
}

/// What no service answers falls through to the other routes, and is refused in the caller's dialect as they are.
fn router(routes: Routes) -> Router<Arc<Service>> {
    routes.into_axum_router().reset_fallback().with_state(())
}
