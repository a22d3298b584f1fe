//! The models that are served, and what is known of each of their versions.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::time::Instant;
use tracing::Instrument;

use crate::backend::{Backend, Call, Predict, Prediction, Target};
use crate::background::Background;
use crate::deadline::Deadline;
use crate::detect::options::Defaults;
use crate::detect::versions::{self, Looks};
use crate::fault::{Code, Fault};
use crate::geometry::Size;
use crate::model::adapter::{self, Adapter, Extras};
use crate::model::labels::LabelMap;
use crate::model::mapping::Mapping;
use crate::model::signature::Signature;
use crate::model::version::{State, VersionChoice, VersionStatus};
use crate::request_id::RequestId;
use crate::tensor::Tensor;
use crate::workers::Workers;

/// Every model by name; the first is the default.
pub struct Catalog {
    models: Vec<Arc<Model>>,
}

impl Catalog {
    /// # Panics
    /// When there is no model at all; the configuration always names one.
    pub fn new(models: Vec<Model>) -> Self {
        assert!(!models.is_empty(), "a catalog has a default model");
        Self { models: models.into_iter().map(Arc::new).collect() }
    }

    /// The model that is meant where none is named.
    pub fn default_model(&self) -> &Arc<Model> {
        &self.models[0]
    }

    /// The model of this name.
    ///
    /// # Errors
    /// `UNKNOWN_MODEL`, naming those there are.
    pub fn find(&self, name: &str) -> Result<&Arc<Model>, Fault> {
        self.iter().find(|model| model.name() == name).ok_or_else(|| {
            let names: Vec<_> = self.iter().map(|model| model.name()).collect();
            let shown: String = name.chars().take(100).collect();
            Fault::new(Code::UnknownModel, format!("There is no model '{shown}'. Models: {}.", names.join(", ")))
        })
    }

    /// Looks after the versions of each model for as long as the model is there, in tasks of their own.
    pub fn follow_versions(&self, background: &Background, pace: Duration, patience: Duration) {
        for model in self.iter().filter(|model| model.backend.disturbances().is_some()) {
            let looks = Arc::clone(model.looks.get_or_init(Arc::default));
            background.spawn("versions", versions::follow(Arc::downgrade(model), looks, pace, patience));
        }
    }

    /// All of them, the default first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.iter()
    }
}

/// What an operator says of a model.
#[derive(Debug, Clone)]
pub struct Profile {
    /// What clients call it.
    pub name: String,
    /// What its backend calls it.
    pub remote: String,
    /// The version that is meant where a request names none.
    pub version: VersionChoice,
    /// The signature to use, where it is not the usual one.
    pub signature: Option<String>,
    /// What its classes are called.
    pub labels: LabelMap,
    /// How it reads, where its signature does not say.
    pub mapping: Mapping,
    /// What holds where a request says nothing.
    pub defaults: Defaults,
    /// The longest side in pixels that it is sent where its size is open. Files that it decodes itself go as they are, where they
    /// are upright JPEG or opaque PNG.
    pub max_side: u32,
}

impl Profile {
    /// A model of which only the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            remote: name.clone(),
            name,
            version: VersionChoice::Latest,
            signature: None,
            labels: LabelMap::empty(),
            mapping: Mapping::default(),
            defaults: Defaults::default(),
            max_side: DEFAULT_MAX_SIDE,
        }
    }
}

/// Enough for every detector that takes photos of any size.
pub const DEFAULT_MAX_SIDE: u32 = 1024;

/// One model: what is said of it, where it runs, and what its versions were found to be. Clones share what they learn.
#[derive(Clone)]
pub struct Model {
    profile: Arc<Profile>,
    backend: Arc<dyn Backend>,
    /// Where a blank picture is made and its answer read.
    workers: Workers,
    known: Arc<Mutex<Known>>,
    /// Of the task that looks after its versions, where there is one.
    looks: OnceLock<Arc<Looks>>,
}

/// What was learned from the backend. A version never changes; what "latest" or a label stands for does, and differs from
/// replica to replica for a while: here it is what was met last.
#[derive(Default)]
struct Known {
    choices: HashMap<VersionChoice, Arc<Resolved>>,
    /// The choices that the backend is being asked about.
    asked: HashMap<VersionChoice, Finding<Arc<Resolved>>>,
    /// The choices that the backend does not know, and when it said so.
    unknown: HashMap<VersionChoice, (Instant, Fault)>,
    /// The versions that have answered a Predict.
    proven: HashSet<i64>,
    /// The version that is being asked for its first answer.
    proving: Option<(i64, Finding<()>)>,
    /// The last look at whether the model is ready, and when it began.
    looked: Option<(Instant, Finding<Arc<Resolved>>)>,
}

/// What one task finds out, for everybody who asks meanwhile.
type Finding<T> = Shared<BoxFuture<'static, Result<T, Fault>>>;

/// Probes come every few seconds and give up after one by default; the answer should be there before.
const LOOK_TIME: Duration = Duration::from_millis(900);
/// How long what was seen holds, from the beginning of the look: nobody needs a key to ask, and however many do, the model
/// server is asked this often.
const LOOK_HOLDS: Duration = Duration::from_millis(500);

/// A backend that does not know a version is not asked for it again for as long as that: whoever makes up labels must not
/// have it asked once a request. A label that is given to a version meanwhile is known that much later.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);
/// How long a look-up may take at least that others wait for as well. Each waits for no longer than its own time.
const LOOK_UP_PATIENCE: Duration = Duration::from_secs(30);

/// A model that loads or warms up is worth asking for again after this.
const RETRY: Duration = Duration::from_secs(2);

/// More versions than any model server holds; beyond it the memory starts afresh.
const MAX_KNOWN: usize = 64;

/// A version whose signature an adapter understands.
#[derive(Debug)]
pub struct Resolved {
    /// Its number.
    pub version: i64,
    /// What it takes and answers.
    pub signature: Signature,
    /// How to read it.
    pub adapter: Adapter,
}

/// Work in a task of its own, for all who wait for it, which goes on when they have left.
fn going_on<T: Clone + Send + Sync + 'static>(
    work: impl Future<Output = Result<T, Fault>> + Send + 'static,
) -> Finding<T> {
    let done = tokio::spawn(work).map(|done| done.unwrap_or_else(|panic| Err(Fault::internal(panic))));
    let shared = done.boxed().shared();
    // A shared future learns that it is over from whoever polls it: without this one, never where all have left.
    tokio::spawn(shared.clone());
    shared
}

impl Model {
    /// A model at a backend.
    pub fn new(profile: Profile, backend: Arc<dyn Backend>, workers: Workers) -> Self {
        Self { profile: Arc::new(profile), backend, workers, known: Arc::default(), looks: OnceLock::new() }
    }

    /// The same model under another profile: what was learned of it still holds, where that does not bear on it.
    #[must_use]
    pub fn in_place_of(self, old: &Self) -> Self {
        let what = |model: &Self| {
            let Profile { remote, version, signature, mapping, .. } = &*model.profile;
            (remote.clone(), version.clone(), signature.clone(), mapping.clone())
        };
        let is_same = Arc::ptr_eq(&self.backend, &old.backend) && what(&self) == what(old);
        if is_same { Self { known: Arc::clone(&old.known), ..self } } else { self }
    }

    /// What clients call it.
    pub fn name(&self) -> &str {
        &self.profile.name
    }

    /// What its classes are called.
    pub fn labels(&self) -> LabelMap {
        self.profile.labels.clone()
    }

    /// What is said of it.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The version that a request means.
    pub fn version<'a>(&'a self, asked: &'a VersionChoice) -> &'a VersionChoice {
        match asked {
            VersionChoice::Latest => &self.profile.version,
            VersionChoice::Number(_) | VersionChoice::Label(_) => asked,
        }
    }

    /// Where it runs.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// The version meant, from memory where possible. However many ask for one that is not remembered, the backend is asked
    /// once, and goes on being asked when they have left: the next would only have to ask again. Past 64 different ones at once
    /// each further request asks for itself.
    ///
    /// # Errors
    /// The backend's, and `MODEL_CONTRACT` where no adapter fits the signature. That a version is unknown may have been said a
    /// second ago.
    pub async fn resolve(&self, choice: &VersionChoice, call: &Call) -> Result<Arc<Resolved>, Fault> {
        let shared = {
            let mut known = self.known();
            if let Some(resolved) = known.choices.get(choice) {
                return Ok(Arc::clone(resolved));
            }
            known.unknown.retain(|_, (since, _)| since.elapsed() < UNKNOWN_FOR);
            if let Some((_, fault)) = known.unknown.get(choice) {
                return Err(fault.clone());
            }
            // One that has its answer has not been taken out by a task that broke.
            known.asked.retain(|_, asked| asked.peek().is_none());
            let under_way = known.asked.get(choice).cloned();
            under_way.or_else(|| {
                (known.asked.len() < MAX_KNOWN).then(|| {
                    let shared = self.asking(choice, call);
                    known.asked.insert(choice.clone(), shared.clone());
                    shared
                })
            })
        };
        let found = match shared {
            Some(shared) => call.deadline.bound(shared).await,
            // What goes on without its request is bounded; this ends with it.
            None => call.deadline.bound(self.ask(choice, call)).await,
        };
        found.map_err(|_| {
            let detail = format!("Model '{}' did not say in the request's time what its {choice} is.", self.name());
            Fault::new(Code::ModelDeadline, detail)
        })?
    }

    /// What a canvas takes on which a view of a photo is laid for the version meant, in pixels of a photo. Where the version is
    /// not known yet, that of the largest which is made for a model that leaves the size open.
    pub fn canvas(&self, choice: &VersionChoice, photo: Size) -> u64 {
        let max_side = self.profile.max_side;
        let known = self.known().choices.get(choice).cloned();
        known.map_or(u64::from(max_side).pow(2), |resolved| resolved.adapter.input.weight(photo, max_side))
    }

    /// Asks the backend on behalf of all who name the choice; it ends as unremembered as it began where it cannot be answered.
    fn asking(&self, choice: &VersionChoice, call: &Call) -> Finding<Arc<Resolved>> {
        let (model, choice) = (self.clone(), choice.clone());
        let patience = call.deadline.left().max(LOOK_UP_PATIENCE);
        let call = Call { deadline: Deadline::after(patience), ..call.clone() };
        let asking = async move {
            let found = model.ask(&choice, &call).await;
            model.known().asked.remove(&choice);
            found
        };
        going_on(asking.in_current_span())
    }

    /// [`Model::look_up`], remembering also that a version is unknown.
    async fn ask(&self, choice: &VersionChoice, call: &Call) -> Result<Arc<Resolved>, Fault> {
        let found = self.look_up(choice, call).await;
        if let Err(fault) = &found
            && fault.code() == Code::UnknownVersion
        {
            let mut known = self.known();
            if known.unknown.len() >= MAX_KNOWN {
                known.unknown.clear();
            }
            known.unknown.insert(choice.clone(), (Instant::now(), fault.clone()));
        }
        found
    }

    /// The version meant, as the backend has it now.
    ///
    /// # Errors
    /// As for [`Model::resolve`].
    pub async fn look_up(&self, choice: &VersionChoice, call: &Call) -> Result<Arc<Resolved>, Fault> {
        let resolved = self.read(&*self.backend, choice, call).await?;
        self.remember(choice.clone(), &resolved);
        Ok(resolved)
    }

    /// The version meant, as this backend has it now.
    async fn read(&self, at: &dyn Backend, choice: &VersionChoice, call: &Call) -> Result<Arc<Resolved>, Fault> {
        let wanted = self.profile.signature.as_deref();
        let (version, signature) = at.signature(&self.target(choice), wanted, call).await?;
        let number = VersionChoice::Number(version);
        let known = self.known().choices.get(&number).cloned();
        match known {
            Some(resolved) if resolved.signature == signature => Ok(resolved),
            _ => {
                let adapter = adapter::fit(&signature, &self.profile.mapping).map_err(|unfit| {
                    let detail = format!("Model '{}' version {version} cannot be used: {unfit}", self.name());
                    Fault::new(Code::ModelContract, detail)
                })?;
                tracing::debug!(model = self.name(), version, kind = adapter.kind, %signature, "model version found");
                Ok(Arc::new(Resolved { version, signature, adapter }))
            }
        }
    }

    /// Keeps what a choice stands for, and the version under its own number.
    pub(super) fn remember(&self, choice: VersionChoice, resolved: &Arc<Resolved>) {
        let mut known = self.known();
        if known.choices.len() >= MAX_KNOWN {
            known.choices.clear();
        }
        known.choices.insert(VersionChoice::Number(resolved.version), Arc::clone(resolved));
        known.choices.insert(choice, Arc::clone(resolved));
    }

    /// Forgets what a choice stands for: it stands for nothing any more.
    pub(super) fn forget(&self, choice: &VersionChoice) {
        self.known().choices.remove(choice);
    }

    /// The choices whose version may become another: the one that is meant where a request names none, and labels that
    /// requests have named.
    pub(super) fn movable_choices(&self) -> Vec<VersionChoice> {
        let known = self.known();
        let labels = known.choices.keys().filter(|choice| matches!(choice, VersionChoice::Label(_)));
        let own = &self.profile.version;
        let others = labels.filter(|label| *label != own).cloned();
        let own = (!matches!(own, VersionChoice::Number(_))).then(|| own.clone());
        own.into_iter().chain(others).collect()
    }

    /// Runs the version on an input of its own form.
    ///
    /// # Errors
    /// The backend's.
    pub async fn predict(
        &self,
        choice: &VersionChoice,
        resolved: &Resolved,
        tensor: Tensor,
        extras: Extras,
        call: &Call,
    ) -> Result<Prediction, Fault> {
        self.predict_at(&*self.backend, choice, resolved, tensor, extras, call).await
    }

    async fn predict_at(
        &self,
        at: &dyn Backend,
        choice: &VersionChoice,
        resolved: &Resolved,
        tensor: Tensor,
        extras: Extras,
        call: &Call,
    ) -> Result<Prediction, Fault> {
        let predict = Predict {
            target: self.target(choice),
            signature: resolved.signature.name.clone(),
            input: (resolved.adapter.input.key.clone(), tensor),
            outputs: resolved.adapter.outputs_with(extras),
        };
        let prediction = at.predict(predict, call).await?;
        let mut known = self.known();
        if known.proven.len() >= MAX_KNOWN {
            known.proven.clear();
        }
        known.proven.insert(prediction.version);
        Ok(prediction)
    }

    /// Every version the backend knows, newest first.
    ///
    /// # Errors
    /// The backend's.
    pub async fn versions(&self, call: &Call) -> Result<Vec<VersionStatus>, Fault> {
        let mut versions = self.backend.versions(&self.profile.remote, call).await?;
        versions.sort_by_key(|status| std::cmp::Reverse(status.version));
        Ok(versions)
    }

    /// [`Model::ready`] for probes, within 900 ms: as it was seen in the last half second, by one look for all who ask.
    ///
    /// # Errors
    /// Why it does not answer.
    pub async fn readiness(self: &Arc<Self>, patience: Duration) -> Result<Arc<Resolved>, Fault> {
        let look = {
            let mut known = self.known();
            match &known.looked {
                Some((since, look)) if look.peek().is_none() || since.elapsed() < LOOK_HOLDS => look.clone(),
                Some(_) | None => {
                    let look = self.look(patience);
                    known.looked = Some((Instant::now(), look.clone()));
                    look
                }
            }
        };
        look.await
    }

    /// It goes on for the others when who has asked first has left.
    fn look(self: &Arc<Self>, patience: Duration) -> Finding<Arc<Resolved>> {
        let (model, call) = (Arc::clone(self), Call::new(Deadline::after(LOOK_TIME), RequestId::generate()));
        going_on(async move { model.ready(&call, patience).await })
    }

    /// Whether the model answers: the version that is meant is AVAILABLE, an adapter understands it, and it has answered a
    /// Predict. A version that has not yet is asked once, with a blank picture, which warms it up as well: at each replica by
    /// the task that looks after its versions, else wherever the backend sends it. That may take as long as `patience`, longer
    /// than a probe waits, and goes on when the probe has left: a model server works on an abandoned call all the same, so the
    /// next probe must not start another.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ready(self: &Arc<Self>, call: &Call, patience: Duration) -> Result<Arc<Resolved>, Fault> {
        let versions = self.versions(call).await?;
        let is_available =
            |number| versions.iter().any(|status| status.version == number && status.state == State::Available);
        let choice = &self.profile.version;
        let may_answer = match choice {
            VersionChoice::Number(number) => is_available(*number),
            VersionChoice::Latest | VersionChoice::Label(_) => {
                versions.iter().any(|status| status.state == State::Available)
            }
        };
        if !may_answer {
            return Err(self.none_available(&versions));
        }
        // A newer version may be there as well: it is meant once it is warm.
        let mut resolved = self.resolve(choice, call).await?;
        if !is_available(resolved.version) {
            resolved = self.look_up(choice, call).await?;
        }
        if self.has_proof_of(resolved.version) {
            return Ok(resolved);
        }
        let version = resolved.version;
        call.deadline.bound(self.first_answer(choice, resolved, call, patience)).await.unwrap_or_else(|_| {
            let detail = format!(
                "Model '{}' version {version} is warming up: it has not given its first answer yet.",
                self.name()
            );
            Err(Fault::new(Code::ModelUnavailable, detail).retry_after(RETRY))
        })
    }

    /// Whether this version has answered a Predict.
    pub(super) fn has_proof_of(&self, version: i64) -> bool {
        self.known().proven.contains(&version)
    }

    /// Waits for the version that is meant to have answered. Where a task looks after the versions of each replica it has one
    /// answer there, and nobody else need ask for it.
    async fn first_answer(
        self: &Arc<Self>,
        choice: &VersionChoice,
        resolved: Arc<Resolved>,
        call: &Call,
        patience: Duration,
    ) -> Result<Arc<Resolved>, Fault> {
        let answered = || {
            let known = self.known();
            known.choices.get(choice).filter(|resolved| known.proven.contains(&resolved.version)).cloned()
        };
        if let (Some(looks), VersionChoice::Latest | VersionChoice::Label(_)) = (self.looks.get(), choice)
            && let Some(answered) = looks.until(answered).await?
        {
            return Ok(answered);
        }
        self.proof(&resolved, call, patience).await?;
        Ok(resolved)
    }

    /// The first answer of this version: the one that is under way, or a new one.
    fn proof(self: &Arc<Self>, resolved: &Arc<Resolved>, call: &Call, patience: Duration) -> Finding<()> {
        let mut known = self.known();
        if let Some((version, proof)) = &known.proving
            && *version == resolved.version
            && proof.peek().is_none()
        {
            return proof.clone();
        }
        let (model, version) = (Arc::clone(self), Arc::clone(resolved));
        let call = Call::new(Deadline::after(patience), call.request_id.clone());
        let proof = going_on(async move { model.prove(version, &call).await });
        known.proving = Some((resolved.version, proof.clone()));
        proof
    }

    /// The version that is meant answers a blank picture.
    async fn prove(&self, resolved: Arc<Resolved>, call: &Call) -> Result<(), Fault> {
        self.answers_blank(&*self.backend, &self.profile.version, &resolved, call).await
    }

    /// Has this version answer a blank picture at one replica, which warms it up there.
    pub(super) async fn warm_up(&self, at: &dyn Backend, version: i64, call: &Call) -> Result<Arc<Resolved>, Fault> {
        let number = VersionChoice::Number(version);
        let resolved = self.read(at, &number, call).await?;
        self.answers_blank(at, &number, &resolved, call).await?;
        Ok(resolved)
    }

    /// Sends a blank picture and reads the answer.
    async fn answers_blank(
        &self,
        at: &dyn Backend,
        choice: &VersionChoice,
        resolved: &Arc<Resolved>,
        call: &Call,
    ) -> Result<(), Fault> {
        let version = Arc::clone(resolved);
        let blank = self.workers.run(call.deadline, move || version.adapter.input.blank()).await?;
        let canvas = blank.letterbox.canvas;
        let asking = self.predict_at(at, choice, resolved, blank.tensor, Extras::default(), call);
        let prediction = asking.await.map_err(|fault| match fault.code() {
            // No photo of a client is too large here: none is small enough.
            Code::ImageTooLarge => {
                let version = resolved.version;
                let detail = format!("Model '{}' version {version} cannot be used: {fault}", self.name());
                Fault::new(Code::ModelContract, detail)
            }
            _ => fault,
        })?;
        let version = Arc::clone(resolved);
        let interpret = move || version.adapter.interpret(&prediction.outputs, canvas, 1.0).map(drop);
        self.workers.run(call.deadline, interpret).await
    }

    pub(super) fn none_available(&self, versions: &[VersionStatus]) -> Fault {
        let states: Vec<_> =
            versions.iter().map(|status| format!("{}: {}", status.version, status.state.name())).collect();
        let states = if states.is_empty() { "none".to_owned() } else { states.join(", ") };
        let which = match &self.profile.version {
            VersionChoice::Number(number) => format!("version {number} is not AVAILABLE"),
            VersionChoice::Latest | VersionChoice::Label(_) => "no version is AVAILABLE".to_owned(),
        };
        let detail = format!("Model '{}' cannot answer: {which} (versions: {states}).", self.name());
        let fault = Fault::new(Code::ModelUnavailable, detail).retry_after(RETRY);
        match versions.iter().find_map(|status| status.error.clone()) {
            Some(error) => fault.caused_by(error),
            None => fault,
        }
    }

    pub(super) fn target(&self, choice: &VersionChoice) -> Target {
        Target { model: self.profile.remote.clone(), version: choice.clone() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What is known is whole after every statement, so a panic elsewhere leaves it usable.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicI64, Ordering};

    use async_trait::async_trait;

    use super::*;

    /// A model server whose versions never become ready, and which answers nothing about any of them.
    #[derive(Default)]
    struct Loading {
        /// As often as it was asked for its versions; the number of the one that it has then.
        looks: AtomicI64,
        /// Questions about a version that somebody waits for.
        asked: Arc<()>,
    }

    #[async_trait]
    impl Backend for Loading {
        fn kind(&self) -> &'static str {
            "loading"
        }

        fn describe(&self) -> String {
            "for ever".to_owned()
        }

        async fn versions(&self, _: &str, _: &Call) -> Result<Vec<VersionStatus>, Fault> {
            let version = 1 + self.looks.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(vec![VersionStatus { version, state: State::Loading, error: None }])
        }

        async fn signature(&self, _: &Target, _: Option<&str>, _: &Call) -> Result<(i64, Signature), Fault> {
            let _asked = Arc::clone(&self.asked);
            pending().await
        }

        async fn predict(&self, _: Predict, _: &Call) -> Result<Prediction, Fault> {
            pending().await
        }
    }

    fn model_at(backend: &Arc<Loading>) -> Arc<Model> {
        let backend = Arc::clone(backend);
        Arc::new(Model::new(Profile::named("model"), backend, Workers::new(1)))
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_for_a_probe_that_has_left_is_not_told_later() {
        let model = model_at(&Arc::default());
        let patience = Duration::from_secs(30);
        let leaves = tokio::time::timeout(Duration::from_millis(1), model.readiness(patience));
        leaves.await.expect_err("the look takes longer");
        let fault = model.readiness(patience).await.expect_err("it is loading");
        assert!(fault.detail().contains("1: LOADING"), "the same look: {fault}");
        tokio::time::sleep(LOOK_HOLDS).await;
        let leaves = tokio::time::timeout(Duration::from_millis(1), model.readiness(patience));
        leaves.await.expect_err("another look");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let fault = model.readiness(patience).await.expect_err("it is loading");
        assert!(fault.detail().contains("3: LOADING"), "it is an hour old: {fault}");
    }

    #[tokio::test(start_paused = true)]
    async fn look_ups_that_outlive_their_requests_are_bounded() {
        let backend = Arc::new(Loading::default());
        let model = model_at(&backend);
        for number in 0..2 * MAX_KNOWN {
            let label = VersionChoice::Label(format!("made-up-{number}"));
            let call = Call::new(Deadline::after(Duration::from_millis(1)), RequestId::generate());
            let fault = model.resolve(&label, &call).await.expect_err("nobody answers");
            assert_eq!(fault.code(), Code::ModelDeadline);
        }
        assert_eq!(Arc::strong_count(&backend.asked) - 1, MAX_KNOWN);
    }
}
