//! How often somebody may ask: a steady rate with room for a burst (GCRA), for each of many.

use std::fmt;
use std::hash::Hash;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use lru::LruCache;

/// Clients whose past is remembered. Past it the one seen longest ago is forgotten, which gives it a new burst: somebody
/// with that many addresses is not held back by counting addresses, and must not be able to lock out others.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).expect("it is not zero");

/// Requests a second, and at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// In the long run, more than zero.
    pub per_second: f64,
    /// At once, after a rest.
    pub burst: NonZeroU32,
}

/// Counts requests, each of `K` for itself.
pub struct Limiter<K: Hash + Eq> {
    rate: Rate,
    quota: Quota,
    clock: DefaultClock,
    remembered: Mutex<LruCache<K, DefaultDirectRateLimiter>>,
}

impl<K: Hash + Eq> Limiter<K> {
    /// Allows each this rate.
    pub fn new(rate: Rate) -> Self {
        Self::remembering(rate, MAX_REMEMBERED)
    }

    fn remembering(rate: Rate, count: NonZeroUsize) -> Self {
        // The quota wants whole nanoseconds between requests, and at least one.
        let between = Duration::try_from_secs_f64(1.0 / rate.per_second).unwrap_or(Duration::MAX);
        let between = between.clamp(Duration::from_nanos(1), Duration::from_secs(86_400));
        let quota = Quota::with_period(between).expect("it is not zero").allow_burst(rate.burst);
        Self { rate, quota, clock: DefaultClock::default(), remembered: Mutex::new(LruCache::new(count)) }
    }

    /// What it allows each.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Counts one request.
    ///
    /// # Errors
    /// How long to wait, where it is one too many.
    pub fn check(&self, who: K) -> Result<(), Duration> {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = remembered.get_or_insert(who, || RateLimiter::direct(self.quota));
        limiter.check().map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

impl<K: Hash + Eq> fmt::Debug for Limiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("quota", &self.quota).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: f64, burst: u32) -> Rate {
        Rate { per_second, burst: NonZeroU32::new(burst).expect("not zero") }
    }

    #[test]
    fn each_has_a_burst_of_its_own_and_is_told_how_long_to_wait() {
        let limiter = Limiter::new(rate(0.1, 3));
        for _ in 0..3 {
            limiter.check("a").expect("within the burst");
        }
        let wait = limiter.check("a").expect_err("one too many");
        assert!(wait > Duration::from_secs(5) && wait <= Duration::from_secs(10), "{wait:?}");
        limiter.check("b").expect("another's burst");
    }

    #[test]
    fn a_place_is_free_again_after_the_wait() {
        let limiter = Limiter::new(rate(200.0, 1));
        limiter.check(()).expect("the first");
        while limiter.check(()).is_err() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn memory_is_bounded_and_newcomers_are_served() {
        let limiter = Limiter::remembering(rate(0.001, 1), NonZeroUsize::new(2).expect("not zero"));
        for newcomer in 0..100 {
            limiter.check(newcomer).expect("a newcomer");
        }
        limiter.check(99).expect_err("the latest are remembered");
        assert_eq!(limiter.remembered.lock().expect("whole").len(), 2);
    }

    #[test]
    fn any_rate_that_can_be_set_can_be_counted() {
        for per_second in [f64::MIN_POSITIVE, 1e-9, 0.001, 1.0, 1e6, 1e12] {
            Limiter::new(rate(per_second, 1)).check(()).expect("the first");
        }
    }
}
