//! The REST front: it translates and does not think. `axum` types stay inside this folder and that of the gRPC front, whose
//! routes stand beside these.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;

use crate::grpc;
use crate::http::metrics::Scraping;
use crate::http::server::Front;
use crate::service::{Current, Service};

mod accept;
mod access;
mod account;
mod answering;
mod batch;
mod context;
mod cors;
pub mod detect;
mod docs;
mod examples;
mod head;
mod health;
pub mod metrics;
mod models;
mod page;
mod problem;
mod problem_page;
mod request_timeout;
pub mod server;
mod server_timing;
mod upload;

pub use docs::openapi;
pub use examples::PHOTO as EXAMPLE_PHOTO;

/// [`router`], and what is said where no request came about.
pub fn front(current: &Current, scraping: Scraping) -> Front {
    let refusals = cors::Refusals::new(&current.get().access.origins);
    Front { router: router(current, scraping), refusals }
}

/// All routes with the layers around them, for the service that is in force now; those of the metrics where they are scraped
/// here.
pub fn router(current: &Current, scraping: Scraping) -> Router {
    let service = current.get();
    let (guarded, _) = docs::guarded_routes().split_for_parts();
    let (open, _) = docs::open_routes().split_for_parts();
    let cors = cors::layer(&service.access.origins);
    let open = open
        .merge(grpc::open_routes(&service, current))
        .route("/", get(page::page))
        .route("/web/{name}", get(page::asset))
        .route("/problems/{slug}", get(problem_page::page))
        .merge(examples::routes())
        .merge(docs::swagger_ui(docs::openapi()))
        .route_layer(from_fn_with_state(service.answering_open.clone(), answering::counted));
    let guarded = guarded
        .merge(grpc::guarded_routes(&service, current))
        .route_layer(from_fn_with_state(service.answering.clone(), answering::counted));
    // Not among the answers that are counted: it is to be seen how full their room is when it is full.
    let guarded = match scraping {
        Scraping::Here => guarded.merge(docs::metrics_route().split_for_parts().0),
        Scraping::Elsewhere => guarded,
    };
    let router = guarded
        // These need a key where keys are set; the others are open to all.
        .route_layer(from_fn_with_state(Arc::clone(&service), access::access))
        .merge(open)
        // Layers run from the last to the first. A panic becomes a fault inside the layer that writes faults.
        .layer(CatchPanicLayer::custom(context::panicked))
        // The upload has a limit of its own, which knows the form and says the number; axum's 2 MB would come first.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Arc::clone(&service), context::context))
        .with_state(service);
    // Outermost: a browser reads no failure that lacks these headers, and its preflights bear no keys.
    match cors {
        Some(cors) => router.layer(cors).layer(from_fn(server_timing::total)),
        None => router,
    }
}
