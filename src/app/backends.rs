//! Where the models run: made once for all models that run in the same place, and kept when the configuration is read again for
//! as long as nothing about the place has changed.

use std::sync::{Arc, Mutex, PoisonError};

use crate::app::{Assembly, StartError};
use crate::backend::Backend;
use crate::backend::embedded::Embedded;
use crate::backend::serving::{self, Serving};
use crate::config::{Runs, Settings};
use crate::reload::{Stamp, stamps};

/// The backends that are in use.
#[derive(Default)]
pub(super) struct Backends(Mutex<Vec<(Key, Arc<dyn Backend>)>>);

/// What a backend is made of, with the state of its files.
#[derive(PartialEq)]
enum Key {
    Embedded(Runs, Vec<Stamp>),
    Serving(Box<serving::Settings>, Vec<Stamp>),
}

impl Backends {
    /// Those that one set of models needs. What none of them uses is forgotten, once they are all there.
    pub(super) fn replace(&self) -> Replacement<'_> {
        Replacement { old: self, new: Vec::new() }
    }

    fn known(&self, key: &Key) -> Option<Arc<dyn Backend>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(known, _)| known == key).map(|(_, backend)| Arc::clone(backend))
    }
}

/// A set of backends in the making.
pub(super) struct Replacement<'a> {
    old: &'a Backends,
    new: Vec<(Key, Arc<dyn Backend>)>,
}

impl Replacement<'_> {
    /// The backend of a model.
    pub(super) fn of(
        &mut self,
        runs: &Runs,
        settings: &Settings,
        Assembly { workers, answers, background, engine, metrics, .. }: &Assembly,
    ) -> Result<Arc<dyn Backend>, StartError> {
        let key = match runs {
            Runs::Embedded(file) => Key::Embedded(runs.clone(), stamps(file.as_slice())),
            Runs::Serving { addresses, .. } => {
                let serving = settings.serving(addresses);
                let stamps = stamps(&serving.tls.paths());
                Key::Serving(Box::new(serving), stamps)
            }
        };
        if let Some((_, known)) = self.new.iter().find(|(known, _)| *known == key) {
            return Ok(Arc::clone(known));
        }
        let known = self.old.known(&key);
        let backend: Arc<dyn Backend> = match (known, &key, runs) {
            (Some(known), ..) => known,
            (None, Key::Serving(serving, _), _) => {
                let serving =
                    Serving::new((**serving).clone(), workers.clone(), answers.clone(), &metrics.hosts, background);
                Arc::new(serving.map_err(StartError::ServingTls)?)
            }
            (None, Key::Embedded(..), Runs::Embedded(Some(path))) => {
                let wrong = |source| StartError::ModelFile { path: path.clone(), source };
                Arc::new(Embedded::from_file(path, engine, workers.clone()).map_err(wrong)?)
            }
            (None, Key::Embedded(..), Runs::Embedded(None) | Runs::Serving { .. }) => {
                Arc::new(Embedded::nanodet_g(engine, workers.clone()).map_err(StartError::BuiltIn)?)
            }
        };
        self.new.push((key, Arc::clone(&backend)));
        Ok(backend)
    }

    /// They are all there.
    pub(super) fn done(self) {
        *self.old.0.lock().unwrap_or_else(PoisonError::into_inner) = self.new;
    }
}
