//! What a connection is waiting for, and since when.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Bounds;
use crate::answering::Held;

/// How long a connection without a request may take to end once it is asked to. Over HTTP/2, where the end of an answer may
/// still be on its way then, since the client last took anything.
const FAREWELL: Duration = Duration::from_secs(2);

/// The state of one connection, told by those who see it: the socket (bytes come and go), the service (requests begin and
/// end).
#[derive(Debug)]
pub(super) struct Pulse {
    state: Mutex<State>,
    give_way: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests whose answer hyper does not have in full yet.
    requests: usize,
    /// Over HTTP/1: answers that hyper has and the system has not, with the room that they take. They count as requests.
    unwritten: Vec<Option<Held>>,
    /// When there began to be a request, or none.
    since: Instant,
    /// When the system last took bytes for the client.
    written: Instant,
    /// When the first byte came of a head that is not complete.
    head: Option<Instant>,
    /// The last answer went out before its request's body was read.
    body_left: bool,
    /// Several requests at once, each with a bound of its own.
    is_multiplexed: bool,
    stage: Stage,
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No request came yet.
    New,
    /// It is kept for the next one.
    Kept,
    /// It was asked to end.
    Leaving,
}

/// Why a connection has waited long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// A head began and did not end.
    Head,
    /// There is no request.
    Idle,
    /// A request is not over, though its time is: the client does not read its answer.
    Answer,
}

/// A request that is not over until this is dropped, and over HTTP/1 until all that was said then is written.
#[derive(Debug)]
pub(super) struct Underway {
    pulse: Arc<Pulse>,
    held: Option<Held>,
}

impl Underway {
    /// Its answer takes this room for as long.
    pub(super) fn holds(&mut self, held: Held) {
        self.held = Some(held);
    }
}

impl Pulse {
    /// A new connection.
    pub(super) fn new() -> Self {
        let state = State {
            requests: 0,
            unwritten: Vec::new(),
            since: Instant::now(),
            written: Instant::now(),
            head: None,
            body_left: false,
            is_multiplexed: false,
            stage: Stage::New,
        };
        Self { state: Mutex::new(state), give_way: Notify::new() }
    }

    /// It speaks HTTP/2, and has said so: requests may be long in coming.
    pub(super) fn greeted(&self) {
        let mut state = self.state();
        state.is_multiplexed = true;
        state.head = None;
        if state.stage == Stage::New {
            state.stage = Stage::Kept;
        }
    }

    /// Bytes came. With no request in flight they are the beginning of one; in HTTP/2 they may be anything.
    pub(super) fn heard(&self) {
        let mut state = self.state();
        if state.requests == 0 && !state.is_multiplexed {
            state.head.get_or_insert_with(Instant::now);
        }
    }

    /// A head is complete.
    pub(super) fn begin(self: &Arc<Self>) -> Underway {
        let mut state = self.state();
        if state.requests == 0 {
            state.since = Instant::now();
        }
        state.requests += 1;
        state.head = None;
        if state.stage == Stage::New {
            state.stage = Stage::Kept;
        }
        Underway { pulse: Arc::clone(self), held: None }
    }

    /// The system took bytes for the client.
    pub(super) fn wrote(&self) {
        self.state().written = Instant::now();
    }

    /// The system has taken all that hyper had to say.
    pub(super) fn flushed(&self) {
        let mut state = self.state();
        if state.unwritten.is_empty() {
            return;
        }
        state.unwritten.clear();
        if state.requests == 0 {
            state.since = Instant::now();
        }
        // A head that came meanwhile could not be seen to be complete.
        if let Some(head) = &mut state.head {
            *head = Instant::now();
        }
    }

    /// It ends with an answer that is given before its request's body is read.
    pub(super) fn leaves_body(&self) {
        self.state().body_left = true;
    }

    /// Whether it does.
    pub(super) fn is_body_left(&self) -> bool {
        self.state().body_left
    }

    /// It was asked to end in HTTP's own way.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.stage = Stage::Leaving;
        if !state.is_busy() {
            state.since = Instant::now();
        }
    }

    /// By when something must have happened, and what it means if not.
    pub(super) fn due(&self, bounds: &Bounds) -> Option<(Instant, Overdue)> {
        let state = self.state();
        let longest = state.since + bounds.longest_exchange();
        Some(match (state.head, state.stage) {
            _ if state.requests > 0 && state.is_multiplexed => return None,
            _ if state.requests > 0 => (longest, Overdue::Answer),
            // Also where the next head has begun: what would be said of it would stand in the midst of this answer.
            _ if state.is_busy() => (longest.min(state.written + bounds.keep_alive), Overdue::Answer),
            (Some(since), _) => (since + bounds.head_time, Overdue::Head),
            (None, Stage::New) => (state.since + bounds.head_time, Overdue::Idle),
            (None, Stage::Kept) => (state.since + bounds.keep_alive, Overdue::Idle),
            (None, Stage::Leaving) => (longest.min(state.since.max(state.written) + FAREWELL), Overdue::Idle),
        })
    }

    /// Waits until something should have happened and has not.
    pub(super) async fn overdue(&self, bounds: &Bounds) -> Overdue {
        let mut timer = pin!(tokio::time::sleep(Duration::MAX));
        // Looked at again whenever the connection was driven, because then something may have happened.
        poll_fn(|cx| {
            let Some((at, why)) = self.due(bounds) else { return Poll::Pending };
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            timer.as_mut().poll(cx).map(|()| why)
        })
        .await
    }

    /// How long a head has been coming, or where none is, how long there has been nothing.
    pub(super) fn elapsed(&self) -> Duration {
        let state = self.state();
        state.head.unwrap_or(state.since).elapsed()
    }

    /// Since when there is no request, where there is none and the connection is not about to end.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (!state.is_busy() && state.stage != Stage::Leaving).then_some(state.since)
    }

    /// Asks the connection to end for the sake of others.
    pub(super) fn give_way(&self) {
        self.leave();
        self.give_way.notify_one();
    }

    /// Waits to be asked.
    pub(super) async fn asked_to_give_way(&self) {
        self.give_way.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a request is not over.
    fn is_busy(&self) -> bool {
        self.requests > 0 || !self.unwritten.is_empty()
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut state = self.pulse.state();
        state.requests -= 1;
        let now = Instant::now();
        if !state.is_multiplexed {
            state.unwritten.push(self.held.take());
            state.written = now;
        } else if state.requests == 0 {
            state.since = now;
        }
    }
}

impl Bounds {
    /// From a request's head until its answer is read.
    pub(super) fn longest_exchange(&self) -> Duration {
        self.request_time + self.keep_alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        connections: 1,
        head_bytes: 8192,
        headers: 100,
        head_time: Duration::from_secs(10),
        keep_alive: Duration::from_secs(75),
        request_time: Duration::from_secs(30),
        streams: 1,
        resets: 20,
        stream_errors: 128,
        ping_every: Duration::from_secs(20),
        ping_patience: Duration::from_secs(20),
    };

    #[tokio::test(start_paused = true)]
    async fn what_is_due_follows_what_happens() {
        let pulse = Arc::new(Pulse::new());
        let due = || {
            let (at, why) = pulse.due(&BOUNDS).expect("HTTP/1 is always bounded");
            (at.duration_since(Instant::now()).as_secs(), why)
        };
        let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        assert_eq!(due(), (10, Overdue::Idle), "a new connection has to say something");
        pass(4).await;
        pulse.heard();
        pass(1).await;
        pulse.heard();
        assert_eq!(due(), (9, Overdue::Head), "further bytes win no time");
        let first = pulse.begin();
        pulse.heard();
        assert_eq!(due(), (105, Overdue::Answer), "bytes of a body are no head");
        let second = pulse.begin();
        drop(first);
        pulse.flushed();
        assert_eq!(pulse.idle_since(), None);
        pass(5).await;
        drop(second);
        assert_eq!(due(), (75, Overdue::Answer), "of the answer there is something left to write");
        assert_eq!(pulse.idle_since(), None);
        pass(10).await;
        pulse.leave();
        assert_eq!(due(), (65, Overdue::Answer), "it is finished");
        pulse.wrote();
        assert_eq!(due(), (75, Overdue::Answer), "the client takes it");
        pass(60).await;
        pulse.wrote();
        assert_eq!(due(), (30, Overdue::Answer), "and may not take for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_begins_before_the_answer_is_written_has_its_time_from_then_on() {
        let pulse = Arc::new(Pulse::new());
        let due = || {
            let (at, why) = pulse.due(&BOUNDS).expect("HTTP/1 is always bounded");
            (at.duration_since(Instant::now()).as_secs(), why)
        };
        drop(pulse.begin());
        pulse.heard();
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(due(), (55, Overdue::Answer), "of which nobody may be told anything else in between");
        pulse.flushed();
        assert_eq!(due(), (10, Overdue::Head));
        tokio::time::advance(Duration::from_secs(4)).await;
        pulse.flushed();
        assert_eq!(due(), (6, Overdue::Head), "nothing was written");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_kept_and_let_go() {
        let pulse = Arc::new(Pulse::new());
        let due = || {
            let (at, why) = pulse.due(&BOUNDS).expect("it is bounded");
            (at.duration_since(Instant::now()).as_secs(), why)
        };
        let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        drop(pulse.begin());
        pulse.flushed();
        assert_eq!(due(), (75, Overdue::Idle));
        assert_eq!(pulse.idle_since(), Some(Instant::now()));
        pass(60).await;
        pulse.leave();
        assert_eq!(due(), (2, Overdue::Idle));
        assert_eq!(pulse.overdue(&BOUNDS).await, Overdue::Idle);
        pulse.greeted();
        let stream = pulse.begin();
        assert_eq!(pulse.due(&BOUNDS), None, "streams have bounds of their own");
        drop(stream);
        pass(1).await;
        pulse.wrote();
        assert_eq!(due(), (2, Overdue::Idle), "the end of an answer is on its way");
    }
}
