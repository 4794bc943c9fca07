//! A token bucket that holds one number: the moment at which it will be full again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The refill time of a rate of 0: 136 years.
const NEVER: Duration = Duration::from_hours(24 * 365 * 136);

/// Grants `per_second` requests a second and up to `burst` of them at once.
#[derive(Debug)]
pub(super) struct Bucket {
    /// What one request costs in refill time.
    interval: Duration,
    /// How far ahead of now the bucket may be drawn down; `None` grants nothing.
    slack: Option<Duration>,
    full_at: Mutex<Instant>,
}

impl Bucket {
    /// A full bucket. With a rate of 0 it is never refilled, with a burst of 0 it is always empty.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1)
            .checked_div(per_second)
            .unwrap_or(NEVER);
        Self {
            interval,
            slack: burst
                .checked_sub(1)
                .map(|further| interval.saturating_mul(further)),
            full_at: Mutex::new(Instant::now()),
        }
    }

    /// Takes one token; `false` if there is none.
    pub(super) fn take(&self) -> bool {
        let now = Instant::now();
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let drawn_to = (*full_at).max(now);
        let granted = self
            .slack
            .is_some_and(|slack| drawn_to.duration_since(now) <= slack);
        match drawn_to.checked_add(self.interval) {
            Some(drawn_to) if granted => *full_at = drawn_to,
            Some(_) | None => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(bucket: &Bucket, asked: u32) -> u32 {
        (0..asked).map(|_| u32::from(bucket.take())).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_bucket_grants_its_burst_and_then_its_rate() {
        let bucket = Bucket::new(10_000, 5_000);
        assert_eq!(granted(&bucket, 20_000), 5_000);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(granted(&bucket, 20_000), 1_000);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(
            granted(&bucket, 20_000),
            5_000,
            "idle time is not saved up past the burst"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_rate_never_refills_and_no_burst_grants_nothing() {
        let bucket = Bucket::new(0, 5);
        assert_eq!(granted(&bucket, 10), 5);
        tokio::time::advance(Duration::from_hours(24)).await;
        assert_eq!(granted(&bucket, 10), 0);
        assert_eq!(granted(&Bucket::new(5, 0), 10), 0);
        assert!(
            granted(&Bucket::new(0, u32::MAX), 10) <= 10,
            "nothing overflows"
        );
    }
}
