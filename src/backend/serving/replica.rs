//! One host of several, asked by itself.

use std::sync::Arc;

use super::client::Serving;
use super::host::Host;
use crate::backend::{Backend, Replica, Standing, Target};
use crate::model::version::VersionChoice;

/// A host with a client that goes nowhere else.
pub(super) struct OneHost {
    host: Arc<Host>,
    client: Serving,
}

impl OneHost {
    pub(super) fn new(host: Arc<Host>, client: Serving) -> Self {
        Self { host, client }
    }
}

impl Replica for OneHost {
    fn place(&self) -> String {
        self.host.place().to_string()
    }

    fn backend(&self) -> &dyn Backend {
        &self.client
    }

    fn standing(&self, target: &Target) -> Standing {
        self.host.standings().get(target)
    }

    fn stand(&self, target: &Target, standing: Standing) {
        self.host.standings().set(target, standing);
    }

    fn era(&self) -> u64 {
        self.host.era()
    }

    fn vacancies(&self, model: &str) -> Vec<VersionChoice> {
        self.host.standings().vacancies(model)
    }
}
