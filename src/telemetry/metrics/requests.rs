//! Requests and their answers.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::known::Known;
use super::{Seconds, in_seconds, observe};

/// What is counted where no route was found, or no request could be read.
const NO_ROUTE: &str = "-";

/// Requests by route, and how they were answered.
#[derive(Debug)]
pub struct Requests {
    answers: Family<Answered, Counter>,
    seconds: Family<Route, Histogram, Seconds>,
    routes: Known<Arc<str>, Arc<RouteSeries>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: Arc<str>,
    status: u16,
    /// The fault's code; empty for success.
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: Arc<str>,
}

/// The series of one route.
#[derive(Debug)]
struct RouteSeries {
    name: Arc<str>,
    seconds: Histogram,
    answers: Known<(u16, &'static str), Counter>,
}

impl Requests {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (answers, seconds) = (Family::default(), Seconds::family());
        let help = "Requests answered, by route, HTTP status and problem code; for gRPC the status that the code has over HTTP";
        registry.register("requests", help, answers.clone());
        in_seconds(registry, "request_duration", "From the head of a request to the head of its answer", &seconds);
        Self { answers, seconds, routes: Known::default() }
    }

    /// A request was answered. `route` is the pattern, never what the client sent; `code` is the fault's name, or empty.
    pub fn answered(&self, route: &str, status: u16, code: &'static str, took: Duration) {
        let route = self.route(route);
        observe(&route.seconds, took);
        self.count(&route, status, code);
    }

    /// A client was told off before there was a request.
    pub fn refused(&self, status: u16, code: &'static str) {
        self.count(&self.route(NO_ROUTE), status, code);
    }

    fn count(&self, route: &RouteSeries, status: u16, code: &'static str) {
        let make = || {
            let labels = Answered { route: Arc::clone(&route.name), status, code };
            ((status, code), self.answers.get_or_create_owned(&labels))
        };
        route.answers.get_or_make(&(status, code), make).inc();
    }

    fn route(&self, route: &str) -> Arc<RouteSeries> {
        self.routes.get_or_make(route, || {
            let name: Arc<str> = route.into();
            let seconds = self.seconds.get_or_create_owned(&Route { route: Arc::clone(&name) });
            (Arc::clone(&name), Arc::new(RouteSeries { name, seconds, answers: Known::default() }))
        })
    }
}
