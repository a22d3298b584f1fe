//! What a request met on its way, for its line in the log and for `Server-Timing`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::geometry::Size;
use crate::telemetry::Stage;

/// Written as the request goes on, so that one which fails tells how far it came. Photos of a batch are written into the same.
#[derive(Debug, Default)]
pub struct Record(Mutex<Told>);

/// What a record says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The model that was asked, and its version as soon as that is known.
    pub model: Option<(String, Option<i64>)>,
    /// How many photos came.
    pub photos: usize,
    /// Bytes of their files.
    pub bytes: usize,
    /// The last photo that could be told: its format and its size, upright.
    pub seen: Option<(&'static str, Size)>,
    /// How many objects were found in all of them.
    pub detections: usize,
    stages: [Option<Duration>; Stage::ALL.len()],
}

impl Record {
    /// A photo for this model.
    pub fn arrived(&self, model: &str, bytes: usize) {
        let mut told = self.lock();
        if told.model.is_none() {
            told.model = Some((model.to_owned(), None));
        }
        told.photos += 1;
        told.bytes += bytes;
    }

    /// What the photo was found to be.
    pub fn seen(&self, format: &'static str, size: Size) {
        self.lock().seen = Some((format, size));
    }

    /// The version that it goes to.
    pub fn version(&self, version: i64) {
        if let Some((_, told)) = &mut self.lock().model {
            *told = Some(version);
        }
    }

    /// A photo has passed through a stage.
    pub fn passed(&self, stage: Stage, took: Duration) {
        *self.lock().stages[stage as usize].get_or_insert_default() += took;
    }

    /// So many objects were found.
    pub fn found(&self, detections: usize) {
        self.lock().detections += detections;
    }

    /// What it says by now.
    pub fn told(&self) -> Told {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        // Whole after every statement, whatever panicked elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    /// How long the photos have been in this stage together; none where no photo has passed it.
    pub fn stage(&self, stage: Stage) -> Option<Duration> {
        self.stages[stage as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_of_a_batch_add_up_and_a_stage_that_was_not_met_is_not_there() {
        let record = Record::default();
        for bytes in [10, 20] {
            record.arrived("m", bytes);
            record.version(3);
            record.passed(Stage::Decode, Duration::from_millis(bytes as u64));
            record.found(2);
        }
        let told = record.told();
        assert_eq!(told.model, Some(("m".to_owned(), Some(3))));
        assert_eq!((told.photos, told.bytes, told.detections), (2, 30, 4));
        assert_eq!(told.stage(Stage::Decode), Some(Duration::from_millis(30)));
        assert_eq!(told.stage(Stage::Infer), None);
    }
}
