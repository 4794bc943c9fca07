//! The one place where the gateway takes time and randomness from, and how both are written.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use tokio::time::Instant;

const DAY_SECONDS: u64 = 86_400;
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Wall time that moves with tokio's clock, so that a paused clock pauses it too, and ids.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    started_at_ms: u64,
    keys: RandomState,
    drawn: AtomicU64,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the gateway's edge: where wall time enters"
    )]
    pub(super) fn new() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started: Instant::now(),
            started_at_ms: u64::try_from(since_epoch.as_millis()).unwrap_or_default(),
            keys: RandomState::new(),
            drawn: AtomicU64::new(0),
        }
    }

    /// Unix time in milliseconds; never goes back.
    pub(super) fn now_ms(&self) -> u64 {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.started_at_ms.saturating_add(elapsed_ms)
    }

    /// 16 characters that end in `=`, as API Gateway's ids of connections, requests and messages.
    pub(super) fn id(&self) -> String {
        let high = self.draw().to_be_bytes();
        let low = self.draw().to_be_bytes();
        // 11 bytes, since 12 would need no padding and the real ids have one `=`.
        let bytes: Vec<u8> = high.into_iter().chain(low).take(11).collect();
        URL_SAFE.encode(bytes)
    }

    /// The value of a new `X-Amzn-Trace-Id` header: a sampled trace that begins here.
    pub(super) fn trace_header(&self) -> String {
        let epoch_seconds = self.now_ms() / 1_000;
        let (high, low) = (self.draw(), self.draw() >> 32);
        let parent = self.draw();
        format!("Root=1-{epoch_seconds:08x}-{high:016x}{low:08x};Parent={parent:016x};Sampled=1")
    }

    /// A keyed hash of a counter: no repetition to expect, and nobody outside can foresee it.
    fn draw(&self) -> u64 {
        self.keys
            .hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
    }
}

/// `19/Jan/2021:15:03:36 +0000`, as in `requestContext.requestTime`.
pub(super) fn request_time(epoch_ms: u64) -> String {
    let (year, month, day) = date(epoch_ms);
    let (hour, minute, second) = time_of_day(epoch_ms);
    let month = usize::try_from(month - 1)
        .ok()
        .and_then(|at| MONTHS.get(at))
        .unwrap_or(&"Jan");
    format!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
}

/// `2021-01-19T15:03:36.050Z`, as in the answers of `@connections`.
pub(super) fn iso_8601(epoch_ms: u64) -> String {
    let (year, month, day) = date(epoch_ms);
    let (hour, minute, second) = time_of_day(epoch_ms);
    let ms = epoch_ms % 1_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

fn time_of_day(epoch_ms: u64) -> (u64, u64, u64) {
    let second = epoch_ms / 1_000 % DAY_SECONDS;
    (second / 3_600, second / 60 % 60, second % 60)
}

/// Year, month from 1, day from 1, in the proleptic Gregorian calendar. Counts from 1 March of year
/// 0, which puts the leap day last (<https://howardhinnant.github.io/date_algorithms.html>).
fn date(epoch_ms: u64) -> (u64, u64, u64) {
    let days = epoch_ms / 1_000 / DAY_SECONDS + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn times_are_written_as_api_gateway_writes_them() {
        assert_eq!(
            request_time(1_611_069_816_050),
            "19/Jan/2021:15:23:36 +0000"
        );
        assert_eq!(iso_8601(1_611_069_816_050), "2021-01-19T15:23:36.050Z");
        assert_eq!(iso_8601(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso_8601(1_709_164_800_000), "2024-02-29T00:00:00.000Z");
        assert_eq!(iso_8601(1_735_689_599_999), "2024-12-31T23:59:59.999Z");
        assert_eq!(request_time(951_868_800_000), "01/Mar/2000:00:00:00 +0000");
    }

    #[tokio::test]
    async fn ids_look_like_api_gateways_and_do_not_repeat() {
        let clock = Clock::new();
        let ids: HashSet<String> = (0..10_000).map(|_| clock.id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(
            ids.iter()
                .all(|id| id.len() == 16 && id.ends_with('=') && !id.ends_with("=="))
        );
    }

    #[tokio::test]
    async fn a_new_trace_header_has_the_x_ray_form() {
        let header = Clock::new().trace_header();
        let lengths: Vec<usize> = header.split([';', '-']).map(str::len).collect();
        assert_eq!(lengths, [6, 8, 24, 23, 9], "{header}");
        assert!(
            header.starts_with("Root=1-") && header.ends_with(";Sampled=1"),
            "{header}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn wall_time_moves_with_the_virtual_clock() {
        let clock = Clock::new();
        let before_ms = clock.now_ms();
        tokio::time::advance(std::time::Duration::from_hours(2)).await;
        assert_eq!(clock.now_ms() - before_ms, 7_200_000);
    }
}
