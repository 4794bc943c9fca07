//! The one clock of a run: tokio's paused time, counted from a fixed date.

use std::time::Duration;

use sparkle_core::unit::Timestamp;
use tokio::time::Instant;

/// 2026-01-01T00:00:00Z, when every run begins.
const BEGIN_UNIX_MS: i64 = 1_767_225_600_000;

/// What time it is in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    begun: Instant,
}

impl Clock {
    /// A clock that begins now. To be called inside the run's runtime.
    pub(crate) fn start() -> Self {
        let begun = Instant::now();
        Self { begun }
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.begun.elapsed()
    }

    pub(crate) fn elapsed_ms(self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn unix_ms(self) -> i64 {
        BEGIN_UNIX_MS + i64::try_from(self.elapsed_ms()).unwrap_or(i64::MAX)
    }

    pub(crate) fn now(self) -> Timestamp {
        Timestamp::from_unix_ms(self.unix_ms())
    }
}

impl dynoxide::storage_backend::Clock for Clock {
    fn now_unix_secs(&self) -> u64 {
        u64::try_from(self.unix_ms() / 1000).unwrap_or(0)
    }

    fn now_unix_secs_f64(&self) -> f64 {
        self.unix_ms() as f64 / 1000.0
    }
}
