//! Which version "latest" or a label stands for at each replica, kept up to date (docs/adr/0010).
//!
//! A model server calls a version the latest as soon as it is loaded, and the first to ask it wait while it warms up. So each
//! replica is asked which versions it has, a new one is warmed up there with a blank picture, and only then do calls go to
//! it; until then they name the old one by its number. Where the old one is gone by then, which TensorFlow Serving's default
//! policy sees to within moments, they wait until the new one is warm.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use crate::backend::{Call, Replica, Standing};
use crate::deadline::Deadline;
use crate::detect::catalog::Model;
use crate::fault::{Code, Fault};
use crate::model::version::{State, VersionChoice, VersionStatus};
use crate::request_id::RequestId;

/// Replicas of a model that are looked at at once.
const AT_ONCE: usize = 16;
/// How long a replica may take to say which versions it has: no model is asked for that.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);
/// A replica at which a look has failed is not looked at again so soon because somebody asks: anybody may ask.
const CALM: Duration = Duration::from_secs(2);
/// Services that were started together must not ask together: a tenth more or less.
const JITTER: f32 = 0.1;

/// What the task that looks at the replicas of a model has to do with whoever waits for the model's first answer.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// They are to be looked at now.
    wanted: Notify,
    /// What came of the looks: nothing while one is under way, then what was wrong at a replica.
    over: watch::Sender<Option<Result<(), Fault>>>,
}

impl Looks {
    /// Has the replicas looked at until one look has brought about what is to be found, or all are over: nothing, where they
    /// found all in order.
    ///
    /// # Errors
    /// What was wrong at a replica.
    pub(super) async fn until<T>(&self, found: impl Fn() -> Option<T>) -> Result<Option<T>, Fault> {
        let mut over = self.over.subscribe();
        self.wanted.notify_one();
        loop {
            if let Some(found) = found() {
                return Ok(Some(found));
            }
            over.changed().await.expect("who sends is still here");
            let outcome = over.borrow_and_update().clone();
            match (found(), outcome) {
                (Some(found), _) => return Ok(Some(found)),
                (None, Some(outcome)) => return outcome.map(|()| None),
                (None, None) => {}
            }
        }
    }
}

/// Looks at every replica once in a while, and at once where one is disturbed or somebody waits for it. A version may take as
/// long as `patience` to answer its first picture. Ends with the model.
pub(super) async fn follow(model: Weak<Model>, told: Arc<Looks>, pace: Duration, patience: Duration) {
    let Some(mut disturbances) = model.upgrade().and_then(|model| model.backend().disturbances()) else { return };
    let room = Semaphore::new(AT_ONCE);
    let mut looks = FuturesUnordered::new();
    let mut looked_at = HashSet::new();
    let mut troubles: HashMap<String, Trouble> = HashMap::new();
    let mut is_asked = false;
    loop {
        {
            let Some(model) = model.upgrade() else { return };
            let replicas = model.backend().replicas();
            let places: HashSet<_> = replicas.iter().map(|replica| replica.place()).collect();
            troubles.retain(|place, _| places.contains(place));
            for replica in replicas {
                let place = replica.place();
                let is_known = troubles.get(&place).is_some_and(|trouble| trouble.since.elapsed() < CALM);
                if !(is_asked && is_known) && looked_at.insert(place) {
                    looks.push(look(Arc::clone(&model), replica, &room, patience));
                }
            }
        }
        is_asked = false;
        let next = tokio::time::sleep(jittered(pace));
        tokio::pin!(next);
        loop {
            let wrong = || troubles.values().next().map_or(Ok(()), |trouble| Err(trouble.fault.clone()));
            told.over.send_replace(looks.is_empty().then(wrong));
            tokio::select! {
                () = &mut next => break,
                () = told.wanted.notified() => {
                    is_asked = true;
                    break;
                }
                changed = disturbances.changed() => match changed {
                    Ok(()) => break,
                    // The backend is gone, and the model with it.
                    Err(_) => return,
                },
                Some(Look { place, trouble }) = looks.next() => {
                    looked_at.remove(&place);
                    match trouble {
                        Some(fault) => note(&mut troubles, place, fault),
                        None => _ = troubles.remove(&place),
                    }
                }
            }
        }
    }
}

fn jittered(pace: Duration) -> Duration {
    pace.mul_f32(1.0 - JITTER + 2.0 * JITTER * fastrand::f32())
}

/// What came of a look at a replica.
struct Look {
    place: String,
    trouble: Option<Fault>,
}

/// What is wrong at a replica.
struct Trouble {
    fault: Fault,
    /// When it was last found to be so.
    since: Instant,
}

/// Keeps what is wrong at a replica, and says so once for as long as it is the same.
fn note(troubles: &mut HashMap<String, Trouble>, place: String, fault: Fault) {
    let is_same = |known: &Trouble| known.fault.code() == fault.code() && known.fault.detail() == fault.detail();
    if !troubles.get(&place).is_some_and(is_same) {
        say(&place, &fault);
    }
    troubles.insert(place, Trouble { fault, since: Instant::now() });
}

fn say(place: &str, fault: &Fault) {
    let (code, cause) = (fault.code().name(), fault.cause_chain());
    // Who cannot be asked at all is told of elsewhere.
    if fault.code() == Code::ModelUnavailable {
        tracing::debug!(
            replica = place,
            code,
            detail = fault.detail(),
            cause,
            "cannot tell which version is the latest"
        );
    } else {
        tracing::warn!(replica = place, code, detail = fault.detail(), cause, "a version of the model cannot be used");
    }
}

/// Brings what each choice stands for at a replica up to date.
async fn look(model: Arc<Model>, replica: Arc<dyn Replica>, room: &Semaphore, patience: Duration) -> Look {
    let place = replica.place();
    let _room = room.acquire().await.expect("the semaphore is never closed");
    let mut trouble = None;
    let mut choices = model.movable_choices();
    while !choices.is_empty() {
        for choice in &choices {
            if let Err(fault) = settle(&model, &*replica, choice, patience).await {
                if fault.code() == Code::UnknownVersion && *choice != model.profile().version {
                    // A label that requests named and that is no more.
                    model.forget(choice);
                } else {
                    trouble = Some(fault);
                }
            }
        }
        // Calls wait there; also for labels that nobody remembers here.
        choices = replica.vacancies(&model.profile().remote);
    }
    Look { place, trouble }
}

/// Has one choice stand for the version that it means at a replica now. Where that cannot be told or warmed up, an old one
/// that is still there stays; where none is, the choice is named as it is, and calls see for themselves.
async fn settle(model: &Model, replica: &dyn Replica, choice: &VersionChoice, patience: Duration) -> Result<(), Fault> {
    let target = model.target(choice);
    loop {
        let outcome = renew(model, replica, choice, patience).await;
        // It may have been vacated since it was looked at.
        match (outcome, replica.standing(&target)) {
            (Ok(()), Standing::Vacant) => {}
            (Err(fault), Standing::Vacant) => {
                replica.stand(&target, Standing::AsNamed);
                return Err(fault);
            }
            (outcome, Standing::AsNamed | Standing::Version { .. }) => return outcome,
        }
    }
}

async fn renew(model: &Model, replica: &dyn Replica, choice: &VersionChoice, patience: Duration) -> Result<(), Fault> {
    let target = model.target(choice);
    // Before anything is asked: what a process has warmed up, its successor has not.
    let era = replica.era();
    let version = meant(model, replica, choice).await?;
    let (standing, warm) = (replica.standing(&target), Standing::Version { number: version, era });
    // Another profile of the model may have warmed it up, and not have read its answer as this one does.
    if standing == warm && model.has_proof_of(version) {
        return Ok(());
    }
    let is_known = matches!(standing, Standing::Version { number, .. } if number == version);
    let call = Call::new(Deadline::after(patience), RequestId::generate());
    let resolved = model.warm_up(replica.backend(), version, &call).await?;
    replica.stand(&target, warm);
    model.remember(choice.clone(), &resolved);
    let kind = resolved.adapter.kind;
    if !is_known {
        let replica = replica.place();
        tracing::info!(model = model.name(), replica, %choice, version, kind, "version in use, and warm");
    }
    Ok(())
}

/// The version that a choice means at a replica.
async fn meant(model: &Model, replica: &dyn Replica, choice: &VersionChoice) -> Result<i64, Fault> {
    let call = Call::new(Deadline::after(STATUS_PATIENCE), RequestId::generate());
    let target = model.target(choice);
    match choice {
        VersionChoice::Number(number) => Ok(*number),
        VersionChoice::Latest => {
            let versions = replica.backend().versions(&target.model, &call).await?;
            newest_available(&versions).ok_or_else(|| model.none_available(&versions))
        }
        // The status of a model does not name labels; whoever is asked for a label's signature says its number.
        VersionChoice::Label(_) => {
            let signature = model.profile().signature.as_deref();
            let answer = replica.backend().signature(&target, signature, &call).await;
            if answer.as_ref().is_err_and(|fault| fault.code() == Code::UnknownVersion) {
                replica.stand(&target, Standing::AsNamed);
            }
            Ok(answer?.0)
        }
    }
}

fn newest_available(versions: &[VersionStatus]) -> Option<i64> {
    let available = versions.iter().filter(|status| status.state == State::Available);
    available.map(|status| status.version).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_looks_has_what_they_brought_about_or_what_was_wrong_or_nothing() {
        let looks = Looks::default();
        let ask = async |found: Option<i64>| looks.until(|| found).await;
        assert_eq!(ask(Some(3)).await.expect("it is there"), Some(3));
        let over = async |outcome: Option<Result<(), Fault>>| {
            tokio::task::yield_now().await;
            looks.over.send_replace(outcome);
        };
        let fault = || Fault::new(Code::ModelContract, "no adapter fits");
        let (found, ()) = tokio::join!(ask(None), async {
            over(None).await;
            over(Some(Ok(()))).await;
        });
        assert_eq!(found.expect("nothing is wrong"), None);
        let (found, ()) = tokio::join!(ask(None), over(Some(Err(fault()))));
        assert_eq!(found.expect_err("a replica has said so").code(), Code::ModelContract);
    }

    #[test]
    fn the_pace_varies_by_a_tenth() {
        let pace = Duration::from_secs(10);
        for _ in 0..1000 {
            let next = jittered(pace).as_secs_f64();
            assert!((8.999..=11.001).contains(&next), "{next}");
        }
    }

    #[test]
    fn the_newest_is_the_highest_number_that_can_answer() {
        let status = |version, state| VersionStatus { version, state, error: None };
        let versions = [
            status(3, State::Available),
            status(7, State::Loading),
            status(5, State::Available),
            status(9, State::End),
        ];
        assert_eq!(newest_available(&versions), Some(5));
        assert_eq!(newest_available(&versions[1..2]), None);
    }
}
