//! Rate limit per learner: the generic cell rate algorithm (GCRA), a token bucket kept as one number.
//!
//! The number is the *theoretical arrival time*: the moment at which the bucket would be full again.
//! Each frame moves it one interval on; a frame that would move it more than a burst past now is
//! refused and moves nothing. Storing one number lets one conditional write decide.

use std::time::Duration;

use crate::unit::Timestamp;

/// How many frames a learner may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Frames per second in the long run; at least 1.
    pub per_second: u32,
    /// Frames at once after a rest; at least 1.
    pub burst: u32,
}

impl RateLimit {
    /// What one frame costs of the future. Microseconds, since 50 a second is 20 ms but 3,000 is not whole.
    fn interval_us(self) -> i64 {
        1_000_000 / i64::from(self.per_second.max(1))
    }

    /// Where the arrival time stands after one more frame at `now`.
    pub fn next_arrival(self, arrival: Arrival, now: Timestamp) -> Arrival {
        Arrival(arrival.0.max(Arrival::at(now).0) + self.interval_us())
    }

    /// The latest arrival time that a frame at `now` may leave behind.
    pub fn latest_arrival(self, now: Timestamp) -> Arrival {
        Arrival(Arrival::at(now).0 + self.interval_us() * i64::from(self.burst.max(1)))
    }

    /// How long until a frame refused at `now` would be let through.
    pub fn retry_after(self, arrival: Arrival, now: Timestamp) -> Duration {
        let excess_us = self.next_arrival(arrival, now).0 - self.latest_arrival(now).0;
        Duration::from_micros(u64::try_from(excess_us).unwrap_or(0))
    }
}

/// A theoretical arrival time, in microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival(pub i64);

impl Arrival {
    /// The arrival time of a full bucket.
    pub fn at(now: Timestamp) -> Self {
        Self(now.unix_ms().saturating_mul(1000))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many of the frames at these moments are let through.
    fn admitted(limit: RateLimit, moments_ms: &[i64]) -> usize {
        let mut arrival = Arrival(0);
        let mut admitted = 0;
        for &ms in moments_ms {
            let now = Timestamp::from_unix_ms(ms);
            let next = limit.next_arrival(arrival, now);
            if next <= limit.latest_arrival(now) {
                arrival = next;
                admitted += 1;
            }
        }
        admitted
    }

    #[test]
    fn a_burst_is_let_through_and_no_more() {
        let limit = RateLimit {
            per_second: 50,
            burst: 200,
        };
        assert_eq!(admitted(limit, &[1_000_000; 500]), 200);
    }

    #[test]
    fn a_refused_frame_is_let_through_after_the_wait_it_was_told() {
        let limit = RateLimit {
            per_second: 50,
            burst: 2,
        };
        let now = Timestamp::from_unix_ms(1_000);
        let mut arrival = Arrival::at(now);
        for _ in 0..2 {
            arrival = limit.next_arrival(arrival, now);
        }
        let wait = limit.retry_after(arrival, now);
        assert_eq!(wait, Duration::from_millis(20));
        let later = now.after(wait);
        assert!(limit.next_arrival(arrival, later) <= limit.latest_arrival(later));
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_burst_plus_rate(mut moments in prop::collection::vec(0i64..1_000, 0..600)) {
            moments.sort_unstable();
            let limit = RateLimit { per_second: 50, burst: 200 };
            prop_assert!(admitted(limit, &moments) <= 250);
        }
    }
}
