//! Photos on their way through the pipeline, by model and version.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::known::Known;
use super::{Seconds, in_seconds, observe};
use crate::telemetry::Stage;

/// Classes that are counted one by one, of all models together; those met later are counted as `other`. COCO has 80, Open
/// Images 601.
pub const MAX_CLASSES: usize = 1_000;
/// What the others are counted as.
const OTHER: &str = "other";

/// Upper bounds in bytes: from a thumbnail to the default of --max-image-bytes.
const BYTES: [f64; 8] = [1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7, 2e7];

/// Photos, and what was found in them.
#[derive(Debug)]
pub struct Photos {
    families: Arc<Families>,
    bytes: Histogram,
    fetched: Histogram,
    failed: Family<Failure, Counter>,
    models: Known<Arc<str>, Arc<ModelSeries>>,
}

#[derive(Debug)]
struct Families {
    answered: Family<Version, Counter>,
    stages: Family<StageOf, Histogram, Seconds>,
    detections: Family<Class, Counter>,
    /// Classes that have a series of their own.
    classes: AtomicUsize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Version {
    model: Arc<str>,
    version: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageOf {
    stage: &'static str,
    model: Arc<str>,
    version: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    model: Arc<str>,
    version: Option<i64>,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    model: Arc<str>,
    label: Arc<str>,
}

/// The series of one model.
#[derive(Debug)]
struct ModelSeries {
    name: Arc<str>,
    versions: Known<i64, Arc<VersionSeries>>,
    failures: Known<(Option<i64>, &'static str), Counter>,
    classes: Arc<Classes>,
}

/// The series of what one model finds.
#[derive(Debug)]
struct Classes {
    model: Arc<str>,
    families: Arc<Families>,
    by_label: RwLock<HashMap<Arc<str>, Counter>>,
}

/// The series of one version of a model.
#[derive(Debug)]
pub struct VersionSeries {
    answered: Counter,
    classes: Arc<Classes>,
    stages: [Histogram; Stage::ALL.len()],
}

impl Photos {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Families {
            answered: Family::default(),
            stages: Seconds::family(),
            detections: Family::default(),
            classes: AtomicUsize::default(),
        };
        registry.register("photos", "Photos answered, by model and version", families.answered.clone());
        let failed = Family::default();
        registry.register(
            "photos_failed",
            "Photos that could not be answered, by model, version where it was known by then, and problem code",
            failed.clone(),
        );
        let bytes = Histogram::new(BYTES);
        registry.register_with_unit("photo", "Sizes of the files of photos", Unit::Bytes, bytes.clone());
        let fetched = Seconds.new_metric();
        let help = "Photos named by their address, from the address to the file or to what failed";
        registry.register_with_unit("fetch_duration", help, Unit::Seconds, fetched.clone());
        let help = "Parts of the way of a photo: queue, decode, prepare, infer, interpret";
        in_seconds(registry, "stage_duration", help, &families.stages);
        let help = "Objects answered, by model and label; labels past the first thousand are counted as other";
        registry.register("detections", help, families.detections.clone());
        Self { families: Arc::new(families), bytes, fetched, failed, models: Known::default() }
    }

    /// A photo's file has arrived.
    pub fn arrived(&self, bytes: usize) {
        self.bytes.observe(bytes as f64);
    }

    /// A photo that was named by its address was fetched, or could not be.
    pub fn fetched(&self, took: Duration) {
        observe(&self.fetched, took);
    }

    /// A photo could not be answered. It was on its way to this version, where that was known by then.
    pub fn failed(&self, model: &str, version: Option<i64>, code: &'static str) {
        let model = self.model(model);
        let make = || {
            let labels = Failure { model: Arc::clone(&model.name), version, code };
            ((version, code), self.failed.get_or_create_owned(&labels))
        };
        model.failures.get_or_make(&(version, code), make).inc();
    }

    /// The series of this version of this model, whose name is one that the operator gave.
    pub fn version(&self, model: &str, version: i64) -> Arc<VersionSeries> {
        let model = self.model(model);
        model.versions.get_or_make(&version, || {
            let Families { answered, stages, .. } = &*self.families;
            let answered = answered.get_or_create_owned(&Version { model: Arc::clone(&model.name), version });
            let stage = |stage: Stage| match stage {
                // Passed before the version is known.
                Stage::Fetch => self.fetched.clone(),
                _ => stages.get_or_create_owned(&StageOf {
                    stage: stage.name(),
                    model: Arc::clone(&model.name),
                    version,
                }),
            };
            let stages = Stage::ALL.map(stage);
            (version, Arc::new(VersionSeries { answered, classes: Arc::clone(&model.classes), stages }))
        })
    }

    fn model(&self, model: &str) -> Arc<ModelSeries> {
        self.models.get_or_make(model, || {
            let name: Arc<str> = model.into();
            let classes =
                Classes { model: Arc::clone(&name), families: Arc::clone(&self.families), by_label: RwLock::default() };
            let series = ModelSeries {
                name: Arc::clone(&name),
                versions: Known::default(),
                failures: Known::default(),
                classes: Arc::new(classes),
            };
            (name, Arc::new(series))
        })
    }
}

impl VersionSeries {
    /// A photo has passed through a stage.
    pub fn passed(&self, stage: Stage, took: Duration) {
        observe(&self.stages[stage as usize], took);
    }

    /// A photo was answered with objects of these labels.
    pub fn answered<'a>(&self, labels: impl Iterator<Item = &'a str>) {
        self.answered.inc();
        labels.for_each(|label| self.classes.detected(label));
    }
}

impl Classes {
    fn detected(&self, label: &str) {
        // A map is whole after every statement, whatever panicked elsewhere.
        if let Some(class) = self.by_label.read().unwrap_or_else(PoisonError::into_inner).get(label) {
            class.inc();
            return;
        }
        let mut classes = self.by_label.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(class) = classes.get(label) {
            class.inc();
            return;
        }
        let Families { detections, classes: named, .. } = &*self.families;
        let more = |count: usize| (count < MAX_CLASSES).then_some(count + 1);
        let has_room = named.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        let label: Arc<str> = if has_room { label.into() } else { OTHER.into() };
        let class =
            detections.get_or_create_owned(&Class { model: Arc::clone(&self.model), label: Arc::clone(&label) });
        class.inc();
        if has_room {
            classes.insert(label, class);
        }
    }
}
