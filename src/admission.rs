//! Who is let in: as many photos at once for each model as it can work on, in pixels no more than the memory for photos, and
//! in front of that a queue that is bounded by time.
//!
//! A photo is small as a file and large as pixels: 50 megapixels can be a file of 60 kB. So what is counted is pixels, from
//! before a photo is decoded until its answer is made: its own, and those of the canvases that are made of it. Photos are counted
//! too: each goes through several jobs, and jobs are done in the order in which they came, so that with too many at once all would
//! be decoded before the first is looked at.
//!
//! Waiting costs everybody behind as well. So a photo is refused at once where, by how long photos took lately, its turn would
//! come too late, and dropped from the queue when it has: before it has cost a core or the model server anything.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::deadline::Deadline;
use crate::fault::{Code, Fault};

/// Pixels that one permit stands for: the semaphore counts in 32 bits.
const PIXELS_A_PERMIT: u64 = 4096;
/// Photos that may wait for one model, however fast it is.
const MAX_QUEUED: usize = 256;
/// How much of the last photo's time goes into the estimate of the next one's, how much of its distance from it into that of
/// the deviation, and how many deviations are kept in reserve: as TCP estimates when an answer is late (RFC 6298, 2).
const WEIGHT_OF_LAST: f64 = 1.0 / 8.0;
const WEIGHT_OF_LAST_DEVIATION: f64 = 1.0 / 4.0;
const DEVIATIONS: f64 = 4.0;
/// Bounds of Retry-After.
const SHORTEST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// What is let in.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Photos worked on at once, by the model's name. A model that is not named has one place.
    pub places: HashMap<String, usize>,
    /// Pixels of all photos that are worked on at once.
    pub pixels: u64,
    /// How long a photo may wait for its turn.
    pub queue_time: Duration,
}

/// The gates of all models and the memory that they share; clones share both.
#[derive(Debug, Clone)]
pub struct Admission {
    bounds: Arc<Bounds>,
    memory: Arc<Semaphore>,
    permits: u32,
    gates: Arc<Mutex<HashMap<String, Arc<Gate>>>>,
}

/// The places at one model.
#[derive(Debug)]
struct Gate {
    limit: usize,
    /// Taken before the memory, so that a model whose photos wait for a place holds no memory back from others.
    places: Arc<Semaphore>,
    queued: AtomicUsize,
    in_flight: AtomicUsize,
    held: Mutex<Held>,
}

/// How long photos held their place lately, in seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// Zero before the first.
    mean: f64,
    deviation: f64,
}

impl Held {
    fn learn(&mut self, last: f64) {
        if self.mean == 0.0 {
            *self = Self { mean: last, deviation: last / 2.0 };
            return;
        }
        self.deviation += WEIGHT_OF_LAST_DEVIATION * ((last - self.mean).abs() - self.deviation);
        self.mean += WEIGHT_OF_LAST * (last - self.mean);
    }

    /// What hardly any photo takes longer than.
    fn at_most(self) -> f64 {
        self.mean + DEVIATIONS * self.deviation
    }
}

/// How busy a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Photos that wait for their turn, be it for a place or for memory.
    pub queued: usize,
    /// Photos that are worked on.
    pub in_flight: usize,
    /// How many may be worked on at once.
    pub limit: usize,
}

/// A photo's place and its share of the memory, given back when this is dropped.
#[derive(Debug)]
pub struct Admitted {
    gate: Arc<Gate>,
    since: Instant,
    _place: OwnedSemaphorePermit,
    _pixels: OwnedSemaphorePermit,
}

impl Admission {
    /// With these bounds.
    pub fn new(bounds: Bounds) -> Self {
        let permits = permits(bounds.pixels);
        let memory = Arc::new(Semaphore::new(permits as usize));
        Self { bounds: Arc::new(bounds), memory, permits, gates: Arc::default() }
    }

    /// With other bounds. What these do not change is shared with the old one, with all that is in it; where they do, photos
    /// that were let in before are not counted any more.
    #[must_use]
    pub fn renewed(&self, bounds: Bounds) -> Self {
        let new = Self::new(bounds);
        let memory = if new.permits == self.permits { Arc::clone(&self.memory) } else { Arc::clone(&new.memory) };
        let kept = |(model, gate): (&String, &Arc<Gate>)| {
            let limit = new.bounds.places.get(model)?;
            (*limit == gate.limit).then(|| (model.clone(), Arc::clone(gate)))
        };
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(kept).collect();
        Self { memory, gates: Arc::new(Mutex::new(gates)), ..new }
    }

    /// Waits for a place at the model and for room for a photo of this size. One larger than all the room takes all of it.
    ///
    /// # Errors
    /// `OVERLOADED`, at once where its turn would come too late, else when it did. The facts say how many wait and are worked
    /// on.
    pub async fn admit(&self, model: &str, pixels: u64, deadline: Deadline) -> Result<Admitted, Fault> {
        let gate = self.gate(model);
        let share = permits(pixels).min(self.permits);
        let waiting = Queued::enter(&gate);
        let Turn { expected, patience, is_too_late } = self.turn(&gate, waiting.ahead, share, deadline);
        if is_too_late {
            drop(waiting);
            return Err(gate.full(model, TOO_MANY, expected));
        }
        let room = async {
            let place = Arc::clone(&gate.places).acquire_owned().await;
            (place, Arc::clone(&self.memory).acquire_many_owned(share).await)
        };
        // A free place is taken whatever the estimate: without photos there would never be a better one.
        let room = deadline.at_most(patience.max(FREE)).bound(room).await;
        drop(waiting);
        let Ok((place, pixels)) = room else {
            return Err(gate.full(model, "had no room for the photo in time", expected));
        };
        gate.in_flight.fetch_add(1, Ordering::Relaxed);
        let open = "the semaphore is never closed";
        let (place, pixels) = (place.expect(open), pixels.expect(open));
        Ok(Admitted { gate, since: Instant::now(), _place: place, _pixels: pixels })
    }

    /// That a photo which came now would be let in, however small, for whoever has not sent it yet. It says nothing of later.
    ///
    /// # Errors
    /// `OVERLOADED`, as [`Self::admit`] answers at once.
    pub fn check(&self, model: &str, deadline: Deadline) -> Result<(), Fault> {
        let gate = self.gate(model);
        let Turn { expected, is_too_late, .. } = self.turn(&gate, gate.queued.load(Ordering::Relaxed), 1, deadline);
        if is_too_late { Err(gate.full(model, TOO_MANY, expected)) } else { Ok(()) }
    }

    fn turn(&self, gate: &Gate, ahead: usize, share: u32, deadline: Deadline) -> Turn {
        // Those ahead may be larger or smaller: what they take is known to nobody but the memory.
        let has_memory = self.memory.available_permits() >= (ahead + 1).saturating_mul(share as usize);
        let (expected, held) = gate.expected_wait(ahead, has_memory);
        let left = deadline.left();
        // Half at most, so that a hiccup on the way does not cost those who have waited longest their answer.
        let patience = self.bounds.queue_time.min(left / 2).min(left.saturating_sub(held));
        Turn { expected, patience, is_too_late: ahead >= MAX_QUEUED || expected > patience }
    }

    /// How busy a model is.
    pub fn load(&self, model: &str) -> Load {
        self.gate(model).load()
    }

    /// Pixels of the photos that are worked on, with what the next in line has of its own by now, and as many as there may be; to
    /// the next 4096 of each photo.
    pub fn pixels(&self) -> (u64, u64) {
        let taken = self.permits as usize - self.memory.available_permits().min(self.permits as usize);
        (taken as u64 * PIXELS_A_PERMIT, u64::from(self.permits) * PIXELS_A_PERMIT)
    }

    fn gate(&self, model: &str) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(model) {
            return Arc::clone(gate);
        }
        let places = self.bounds.places.get(model).copied().unwrap_or_default();
        let gate = Arc::new(Gate::new(places.max(1)));
        gates.insert(model.to_owned(), Arc::clone(&gate));
        gate
    }
}

/// What is said of a model that is full already.
const TOO_MANY: &str = "has more photos waiting than it can answer in time";

/// When a photo's turn comes.
struct Turn {
    /// By how long photos took lately.
    expected: Duration,
    /// How long it may wait.
    patience: Duration,
    is_too_late: bool,
}

/// Time to take what is free.
const FREE: Duration = Duration::from_millis(1);

impl Gate {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            places: Arc::new(Semaphore::new(limit)),
            queued: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            held: Mutex::default(),
        }
    }

    /// How long until a photo with so many ahead of it has its turn, and how long it holds its place at most. As many are worked
    /// on at once as there are now: places, or what the memory holds. Both are zero where a place is free, and memory; also where
    /// the memory is full of other models' photos, of which this one's times say nothing.
    fn expected_wait(&self, ahead: usize, has_memory: bool) -> (Duration, Duration) {
        let at_once = self.in_flight.load(Ordering::Relaxed);
        if (has_memory || at_once == 0) && self.places.available_permits() > ahead {
            return (Duration::ZERO, Duration::ZERO);
        }
        let held = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Between two photos there may be none for a moment.
        let at_once = at_once.max(1);
        let turns = (ahead + 1) as f64 / at_once as f64;
        (Duration::from_secs_f64(turns * held.mean), Duration::from_secs_f64(held.at_most()))
    }

    fn load(&self) -> Load {
        let (queued, in_flight) = (self.queued.load(Ordering::Relaxed), self.in_flight.load(Ordering::Relaxed));
        Load { queued, in_flight, limit: self.limit }
    }

    fn full(&self, model: &str, what: &str, wait: Duration) -> Fault {
        let Load { queued, in_flight, limit } = self.load();
        Fault::new(Code::Overloaded, format!("Model '{model}' {what} ({in_flight} in work, {queued} waiting)."))
            .retry_after(wait.clamp(SHORTEST_RETRY, LONGEST_RETRY))
            .with("queued", queued)
            .with("in_flight", in_flight)
            .with("limit", limit)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.gate.in_flight.fetch_sub(1, Ordering::Relaxed);
        let last = self.since.elapsed().as_secs_f64();
        self.gate.held.lock().unwrap_or_else(PoisonError::into_inner).learn(last);
    }
}

fn permits(pixels: u64) -> u32 {
    u32::try_from(pixels.div_ceil(PIXELS_A_PERMIT)).unwrap_or(u32::MAX).max(1)
}

/// A place in the queue, left when this is dropped: also by a client that goes away.
struct Queued<'a> {
    gate: &'a Gate,
    ahead: usize,
}

impl<'a> Queued<'a> {
    fn enter(gate: &'a Gate) -> Self {
        Self { gate, ahead: gate.queued.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.gate.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(5);
    const LATE: Duration = Duration::from_secs(60);

    fn bounds(photos: usize, pixels: u64, queue_time: Duration) -> Bounds {
        Bounds { places: HashMap::from([("m".to_owned(), photos)]), pixels, queue_time }
    }

    fn admission(photos: usize, pixels: u64) -> Admission {
        Admission::new(bounds(photos, pixels, LATE))
    }

    /// Waits until so many are queued.
    async fn until_queued(admission: &Admission, count: usize) {
        while admission.gate("m").queued.load(Ordering::Relaxed) != count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn photos_wait_for_room_and_give_it_back() {
        let admission = admission(9, 10_000_000);
        let first = admission.admit("m", 6_000_000, Deadline::after(SOON)).await.expect("there is room");
        let fault = admission.admit("m", 6_000_000, Deadline::after(SOON)).await.expect_err("there is none");
        assert_eq!(fault.code(), Code::Overloaded);
        assert!(fault.retry_wait().is_some());
        let waits = admission.clone();
        let second = tokio::spawn(async move { waits.admit("m", 6_000_000, Deadline::after(LATE)).await });
        drop(first);
        second.await.expect("no panic").expect("room again");
    }

    #[tokio::test]
    async fn a_photo_larger_than_the_budget_takes_all_of_it() {
        let admission = admission(9, 1_000_000);
        let all = admission.admit("m", u64::MAX, Deadline::after(SOON)).await.expect("alone");
        let fault = admission.admit("other", 1, Deadline::after(SOON)).await.expect_err("all models share it");
        assert_eq!(fault.code(), Code::Overloaded);
        drop(all);
        admission.admit("m", 1, Deadline::after(SOON)).await.expect("free");
    }

    #[tokio::test]
    async fn photos_are_counted_for_each_model_however_small() {
        let admission = admission(1, u64::MAX);
        let first = admission.admit("m", 1, Deadline::after(SOON)).await.expect("free");
        let fault = admission.admit("m", 1, Deadline::after(SOON)).await.expect_err("taken");
        assert_eq!(fault.code(), Code::Overloaded);
        for (fact, value) in [("queued", 0), ("in_flight", 1), ("limit", 1)] {
            assert_eq!(fault.facts()[fact], value, "{fact}");
        }
        admission.admit("other", 1, Deadline::after(SOON)).await.expect("another model has places of its own");
        drop(first);
        admission.admit("m", 1, Deadline::after(SOON)).await.expect("free again");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let admission = admission(1, 1);
        let _held = admission.admit("m", 1, Deadline::after(LATE)).await.expect("free");
        let waiting = (0..MAX_QUEUED).map(|_| {
            let admission = admission.clone();
            tokio::spawn(async move { admission.admit("m", 1, Deadline::after(LATE)).await.map(drop) })
        });
        let waiting: Vec<_> = waiting.collect();
        until_queued(&admission, MAX_QUEUED).await;
        let fault = admission.admit("m", 1, Deadline::after(LATE)).await.expect_err("full");
        assert_eq!(fault.code(), Code::Overloaded);
        let fault = admission.check("m", Deadline::after(LATE)).expect_err("full for who asks beforehand as well");
        assert_eq!((fault.code(), &fault.facts()["queued"]), (Code::Overloaded, &MAX_QUEUED.into()));
        admission.check("other", Deadline::after(LATE)).expect("another model is not");
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn whose_turn_would_come_too_late_is_refused_at_once() {
        let admission = Admission::new(bounds(2, u64::MAX, Duration::from_secs(5)));
        *admission.gate("m").held.lock().expect("whole") = Held { mean: 4.0, deviation: 0.0 };
        let _one = admission.admit("m", 1, Deadline::after(LATE)).await.expect("free");
        let _two = admission.admit("m", 1, Deadline::after(LATE)).await.expect("free");
        // Two places, four seconds a photo: the first waits for two seconds, the second for four, the third for six.
        let waits = [(); 2].map(|()| {
            let admission = admission.clone();
            tokio::spawn(async move { admission.admit("m", 1, Deadline::after(LATE)).await.map(drop) })
        });
        until_queued(&admission, 2).await;
        let begin = tokio::time::Instant::now();
        let fault = admission.admit("m", 1, Deadline::after(LATE)).await.expect_err("six seconds are more than five");
        assert_eq!(begin.elapsed(), Duration::ZERO, "at once");
        assert_eq!(fault.retry_wait(), Some(Duration::from_secs(6)));
        for wait in waits {
            let fault = wait.await.expect("no panic").expect_err("nobody left");
            assert_eq!(fault.code(), Code::Overloaded);
        }
        assert_eq!(begin.elapsed().as_secs(), 5, "nobody waits for longer than the queue's time");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_memory_is_not_in_work_and_those_behind_are_told_at_once() {
        let admission = Admission::new(bounds(64, 10_000_000, Duration::from_secs(5)));
        *admission.gate("m").held.lock().expect("whole") = Held { mean: 4.0, deviation: 0.0 };
        let _one = admission.admit("m", 6_000_000, Deadline::after(LATE)).await.expect("free");
        let waits = admission.clone();
        tokio::spawn(async move { waits.admit("m", 6_000_000, Deadline::after(LATE)).await.map(drop) });
        until_queued(&admission, 1).await;
        assert_eq!(admission.load("m"), Load { queued: 1, in_flight: 1, limit: 64 });
        let begin = tokio::time::Instant::now();
        let fault = admission.admit("m", 6_000_000, Deadline::after(LATE)).await.expect_err("eight seconds");
        assert_eq!((begin.elapsed(), fault.retry_wait()), (Duration::ZERO, Some(Duration::from_secs(8))));
        admission.check("m", Deadline::after(LATE)).expect_err("nor is there any for who asks beforehand");
        // A model that has nothing in work waits for the others' photos, however long its own took.
        *admission.gate("x").held.lock().expect("whole") = Held { mean: 60.0, deviation: 0.0 };
        admission.check("x", Deadline::after(LATE)).expect("nobody knows");
        admission.admit("x", 1, Deadline::after(LATE)).await.expect_err("there is none");
        assert!(!begin.elapsed().is_zero(), "it has waited");
    }

    #[tokio::test(start_paused = true)]
    async fn whose_deadline_cannot_be_met_is_refused_before_it_costs_anything() {
        let admission = admission(1, u64::MAX);
        *admission.gate("m").held.lock().expect("whole") = Held { mean: 4.0, deviation: 0.0 };
        let held =
            admission.admit("m", 1, Deadline::after(Duration::from_secs(1))).await.expect("a free place is taken");
        let deadline = Deadline::after(Duration::from_secs(7));
        admission.admit("m", 1, deadline).await.expect_err("four seconds to wait and four to work");
        admission.check("m", deadline).expect_err("whoever asks beforehand is told the same");
        drop(held);
        admission.check("m", deadline).expect("free");
        admission.admit("m", 1, deadline).await.expect("free");
    }

    #[tokio::test]
    async fn other_bounds_keep_count_of_what_they_do_not_change() {
        let old = admission(1, u64::MAX);
        let held = old.admit("m", 1, Deadline::after(SOON)).await.expect("free");
        let same = old.renewed(bounds(1, u64::MAX, SOON));
        same.admit("m", 1, Deadline::after(SOON)).await.expect_err("the place is taken still");
        let wider = old.renewed(bounds(2, u64::MAX, SOON));
        wider.admit("m", 1, Deadline::after(SOON)).await.expect("a gate of its own");
        drop(held);
        same.admit("m", 1, Deadline::after(SOON)).await.expect("free again");
    }

    #[test]
    fn the_more_photos_differ_the_more_is_kept_in_reserve() {
        let learned = |times: [f64; 2]| {
            let mut held = Held::default();
            times.iter().cycle().take(100).for_each(|&time| held.learn(time));
            held
        };
        let (even, uneven) = (learned([1.0, 1.0]), learned([0.5, 1.5]));
        assert!((even.at_most() - 1.0).abs() < 0.01, "{even:?}");
        assert!((0.9..1.1).contains(&uneven.mean) && uneven.at_most() > 1.5, "{uneven:?}");
    }

    #[tokio::test]
    async fn who_leaves_the_queue_makes_room_in_it() {
        let admission = admission(1, u64::MAX);
        let held = admission.admit("m", 1, Deadline::after(LATE)).await.expect("free");
        let waits = admission.clone();
        let waiting = tokio::spawn(async move { waits.admit("m", 1, Deadline::after(LATE)).await.map(drop) });
        until_queued(&admission, 1).await;
        waiting.abort();
        until_queued(&admission, 0).await;
        drop(held);
        admission.admit("m", 1, Deadline::after(SOON)).await.expect("the place went to nobody else");
    }
}
