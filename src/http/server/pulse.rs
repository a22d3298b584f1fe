//! What a connection is waiting for, and since when.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Bounds;

/// How long a connection without a request may take to end once it is asked to.
const FAREWELL: Duration = Duration::from_secs(2);

/// The state of one connection, told by those who see it: the socket (bytes arrive), the service (requests begin and end).
#[derive(Debug)]
pub(super) struct Pulse {
    state: Mutex<State>,
    give_way: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests whose answer is not written yet.
    requests: usize,
    /// When that became zero, or more than zero.
    since: Instant,
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

/// A request that is not over until this is dropped.
#[derive(Debug)]
pub(super) struct Underway(Arc<Pulse>);

impl Pulse {
    /// A new connection.
    pub(super) fn new() -> Self {
        let state = State {
            requests: 0,
            since: Instant::now(),
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

    /// Bytes came. With no request in flight they are the beginning of one.
    pub(super) fn heard(&self) {
        let mut state = self.state();
        if state.requests == 0 {
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
        Underway(Arc::clone(self))
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
        if state.requests == 0 {
            state.since = Instant::now();
        }
    }

    /// By when something must have happened, and what it means if not.
    pub(super) fn due(&self, bounds: &Bounds) -> Option<(Instant, Overdue)> {
        let state = self.state();
        let (since, patience, why) = match (state.head, state.stage) {
            (Some(since), _) => (since, bounds.head_time, Overdue::Head),
            (None, _) if state.requests > 0 && state.is_multiplexed => return None,
            (None, _) if state.requests > 0 => (state.since, bounds.longest_exchange(), Overdue::Answer),
            (None, Stage::New) => (state.since, bounds.head_time, Overdue::Idle),
            (None, Stage::Kept) => (state.since, bounds.keep_alive, Overdue::Idle),
            (None, Stage::Leaving) => (state.since, FAREWELL, Overdue::Idle),
        };
        Some((since + patience, why))
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

    /// Since when there is no request, where there is none and the connection is not about to end.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.requests == 0 && state.stage != Stage::Leaving).then_some(state.since)
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

impl Drop for Underway {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.requests -= 1;
        if state.requests == 0 {
            state.since = Instant::now();
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
        head_time: Duration::from_secs(10),
        keep_alive: Duration::from_secs(75),
        request_time: Duration::from_secs(30),
        streams: 1,
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
        assert_eq!(pulse.idle_since(), None);
        pass(5).await;
        drop(second);
        assert_eq!(due(), (75, Overdue::Idle));
        assert_eq!(pulse.idle_since(), Some(Instant::now()));
        pass(60).await;
        pulse.leave();
        assert_eq!(due(), (2, Overdue::Idle));
        assert_eq!(pulse.overdue(&BOUNDS).await, Overdue::Idle);
        let _third = pulse.begin();
        pulse.greeted();
        assert_eq!(pulse.due(&BOUNDS), None, "streams have bounds of their own");
    }
}
