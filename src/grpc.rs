//! The typed gRPC front, on the port of the REST front: the same pipeline, limits, deadlines and faults, with names instead
//! of tensors (proto/spotter/v1/detection.proto). Health and reflection come with it.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use crate::service::{Current, Service};

mod answers;
mod batch;
mod beside;
mod deadline;
mod detection;
mod health;
mod message;
#[doc(hidden)]
pub mod proto;
mod status;
mod stream;
mod upload;

pub(crate) use status::{Failed, answer, has_status, refused};

/// The methods by their paths, for the log and the metrics; what is not among them is the caller's own text.
const METHODS: [&str; 6] = [
    "/spotter.v1.DetectionService/Detect",
    "/spotter.v1.DetectionService/DetectBatch",
    "/spotter.v1.DetectionService/ListModels",
    "/spotter.v1.DetectionService/StreamDetect",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

/// The method at this path.
pub(crate) fn method(path: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|method| *method == path)
}

/// The service that needs a key where keys are set, as routes to put beside those of the REST front.
pub(crate) fn guarded_routes(service: &Arc<Service>, current: &Current) -> Router<Arc<Service>> {
    let detection = detection::Detector::new(Arc::clone(service), current.clone());
    let detection = proto::v1::detection_service_server::DetectionServiceServer::new(detection)
        .max_decoding_message_size(upload::largest(service));
    router(Routes::new(detection), service)
}

/// The services that are open to all: health, as probes bear no keys, and reflection, which tells what OpenAPI tells.
pub(crate) fn open_routes(service: &Arc<Service>, current: &Current) -> Router<Arc<Service>> {
    let health = HealthServer::new(health::Health::new(current.clone()));
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let written = "build.rs wrote the descriptors";
    // Both versions of the protocol: grpcurl before 1.8.8 and many other tools know only the older one.
    let reflection = described().build_v1().expect(written);
    let reflection_alpha = described().build_v1alpha().expect(written);
    router(Routes::new(health).add_service(reflection).add_service(reflection_alpha), service)
}

/// What no service answers falls through to the other routes, and is refused in the caller's dialect as they are.
fn router(routes: Routes, service: &Arc<Service>) -> Router<Arc<Service>> {
    let bounded = from_fn_with_state(Arc::clone(service), upload::bounded);
    routes.into_axum_router().reset_fallback().route_layer(bounded).with_state(())
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_that_is_served_has_its_name() {
        let mut served = Vec::new();
        for descriptors in [proto::DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET] {
            for file in FileDescriptorSet::decode(descriptors).expect("build.rs wrote it").file {
                let package = file.package().to_owned();
                for service in &file.service {
                    let path = |method| format!("/{package}.{}/{method}", service.name());
                    served.extend(service.method.iter().map(|method| path(method.name())));
                }
            }
        }
        for path in &served {
            assert_eq!(method(path), Some(path.as_str()));
        }
        assert_eq!(served.len(), METHODS.len(), "{served:?}");
    }
}
