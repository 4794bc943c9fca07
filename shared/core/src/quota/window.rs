//! When a learner's days and months begin and end.

use std::collections::BTreeMap;

use jiff::{ToSpan, Zoned, civil::Date, tz::TimeZone};

use super::{Account, Fund, Limits, Window};
use crate::{
    frame::Budget,
    policy::Allowance,
    unit::{MicroUsd, Timestamp},
};

/// Where a learner is who has not said (R-PROF-1).
pub const ZONE: &str = "Asia/Shanghai";

/// Shortest day after a change of zone, in milliseconds: were it shorter, moving would give another
/// day's limit.
const MOVED_DAY_MIN_MS: i64 = 24 * 60 * 60 * 1000;
/// A month's first hour says nothing of its end.
const MONTH_ELAPSED_MIN_MS: u128 = 60 * 60 * 1000;

impl Account {
    /// That of a learner who has not spent anything yet.
    pub fn opened(zone: &str, limits: &Limits, now: Timestamp) -> Self {
        let (day, month) = (day(zone, now, 0), month(zone, now));
        Self {
            zone: zone.to_owned(),
            day_zone: zone.to_owned(),
            day: window(day, limits.day_tokens, limits.day_money),
            month: window(month, limits.month_tokens, limits.month_money),
            allowance: Allowance::default(),
            is_suspended: false,
            is_stopped: false,
            holds: BTreeMap::new(),
        }
    }

    /// With the windows of this moment, and these limits. What is held in windows that are over stays
    /// there.
    ///
    /// A zone that has changed counts from the next day, which then lasts at least 24 h: no change of
    /// zone brings a day's limit sooner. A clock that is set back leaves the windows as they are.
    #[must_use]
    pub fn at(mut self, limits: &Limits, now: Timestamp) -> Self {
        if self.day.ends_at <= now {
            let least_ms = if self.day_zone == self.zone {
                0
            } else {
                MOVED_DAY_MIN_MS
            };
            let (name, ends_at) = day(&self.zone, now, least_ms);
            self.day_zone.clone_from(&self.zone);
            next(&mut self.day, name, ends_at);
        }
        if self.month.ends_at <= now {
            let (name, ends_at) = month(&self.zone, now);
            next(&mut self.month, name, ends_at);
        }
        self.day.tokens.limit = limits.day_tokens;
        self.day.money.limit = limits.day_money;
        self.month.tokens.limit = limits.month_tokens;
        self.month.money.limit = limits.month_money;
        self
    }
}

impl Account {
    /// This month's money, and what it will come to if the learner goes on like this.
    pub fn budget(&self, now: Timestamp) -> Budget {
        let money = self.month.money;
        let ends_at = local(&self.zone, self.month.ends_at);
        let begin = begin_of(
            ends_at.date().saturating_sub(1.month()),
            ends_at.time_zone(),
        );
        let span = |from: Timestamp, to: Timestamp| {
            u128::try_from(to.unix_ms().saturating_sub(from.unix_ms())).unwrap_or(0)
        };
        let whole = span(begin, self.month.ends_at);
        // Within the first hour anything could follow.
        let elapsed = span(begin, now).clamp(MONTH_ELAPSED_MIN_MS, whole.max(MONTH_ELAPSED_MIN_MS));
        let forecast = u128::from(money.used) * whole.max(elapsed) / elapsed;
        Budget {
            limit: MicroUsd::new(money.limit),
            used: MicroUsd::new(money.used),
            forecast: MicroUsd::new(u64::try_from(forecast).unwrap_or(u64::MAX)),
        }
    }

    /// The first day of the last `days`, and that of the last `months` before this one, whichever is
    /// earlier: as [`Window::name`] writes it.
    pub fn first_day(&self, days: u32, months: u32, now: Timestamp) -> String {
        let today = local(&self.day_zone, now).date();
        let day = today.saturating_sub(i64::from(days.saturating_sub(1)).days());
        let month = today
            .first_of_month()
            .saturating_sub(i64::from(months.saturating_sub(1)).months());
        let first = if months == 0 { day } else { day.min(month) };
        first.strftime("%Y-%m-%d").to_string()
    }
}

/// Opens the next window; where the calendar went back with the zone, the one that runs goes on.
fn next(window: &mut Window, name: String, ends_at: Timestamp) {
    if name > window.name {
        window.name = name;
        window.tokens = Fund::default();
        window.money = Fund::default();
    }
    window.ends_at = ends_at;
}

fn window((name, ends_at): (String, Timestamp), tokens: u64, money: u64) -> Window {
    Window {
        name,
        ends_at,
        tokens: Fund::full(tokens),
        money: Fund::full(money),
    }
}

/// The day of a moment, and when it ends; not within `least_ms`.
fn day(zone: &str, now: Timestamp, least_ms: i64) -> (String, Timestamp) {
    let local = local(zone, now);
    let mut date = local.date();
    loop {
        date = date.saturating_add(1.day());
        let ends_at = begin_of(date, local.time_zone());
        if ends_at.unix_ms() >= now.unix_ms().saturating_add(least_ms) || date == Date::MAX {
            return (local.strftime("%Y-%m-%d").to_string(), ends_at);
        }
    }
}

/// The month of a moment, and when it ends.
fn month(zone: &str, now: Timestamp) -> (String, Timestamp) {
    let local = local(zone, now);
    let next = local.date().first_of_month().saturating_add(1.month());
    let name = local.strftime("%Y-%m").to_string();
    (name, begin_of(next, local.time_zone()))
}

fn begin_of(date: Date, zone: &TimeZone) -> Timestamp {
    let begin = zone.to_zoned(date.at(0, 0, 0, 0));
    let unix_ms = begin.map_or(i64::MAX, |begin| begin.timestamp().as_millisecond());
    Timestamp::from_unix_ms(unix_ms)
}

/// The day of a moment in a zone, such as `2026-11-24`.
pub fn date(zone: &str, at: Timestamp) -> String {
    local(zone, at).strftime("%Y-%m-%d").to_string()
}

/// A moment as a learner's clock shows it, such as `2026-11-25 00:00`.
pub fn clock(zone: &str, at: Timestamp) -> String {
    local(zone, at).strftime("%Y-%m-%d %H:%M").to_string()
}

/// Whether a zone of that name exists.
pub fn is_zone(name: &str) -> bool {
    TimeZone::get(name).is_ok()
}

/// The moment in a zone; in [`ZONE`] if there is none of that name.
fn local(zone: &str, at: Timestamp) -> Zoned {
    let zone = TimeZone::get(zone)
        .or_else(|_unknown| TimeZone::get(ZONE))
        .unwrap_or(TimeZone::UTC);
    let at = jiff::Timestamp::from_millisecond(at.unix_ms()).unwrap_or_default();
    at.to_zoned(zone)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        day_tokens: 100,
        month_tokens: 1_000,
        day_money: 10,
        month_money: 50,
    };
    const HOUR_MS: i64 = 3_600_000;
    const ZONES: [&str; 6] = [
        "Asia/Shanghai",
        "Pacific/Kiritimati",
        "Pacific/Pago_Pago",
        "America/New_York",
        "Europe/Berlin",
        "UTC",
    ];

    fn at(text: &str) -> Timestamp {
        let at: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_unix_ms(at.as_millisecond())
    }

    #[test]
    fn days_and_months_are_those_of_the_learner() {
        let account = Account::opened(ZONE, &LIMITS, at("2026-11-30T15:59:59Z"));
        assert_eq!(
            (&*account.day.name, &*account.month.name),
            ("2026-11-30", "2026-11")
        );
        assert_eq!(account.day.ends_at, at("2026-11-30T16:00:00Z"));
        let next = account.at(&LIMITS, at("2026-11-30T16:00:00Z"));
        assert_eq!(
            (&*next.day.name, &*next.month.name),
            ("2026-12-01", "2026-12")
        );
        assert_eq!(next.month.ends_at, at("2026-12-31T16:00:00Z"));
        assert_eq!(clock(ZONE, next.day.ends_at), "2026-12-02 00:00");
    }

    #[test]
    fn a_day_with_a_change_of_clocks_is_one_day() {
        let begin = Account::opened("America/New_York", &LIMITS, at("2026-11-01T04:00:00Z"));
        assert_eq!(begin.day.ends_at, at("2026-11-02T05:00:00Z"), "25 hours");
    }

    #[test]
    fn a_clock_that_is_set_back_and_limits_that_change_keep_what_is_used() {
        let mut account = Account::opened(ZONE, &LIMITS, at("2026-11-24T00:00:00Z"));
        account.day.tokens.used = 70;
        let back = account.at(&LIMITS, at("2026-11-20T00:00:00Z"));
        assert_eq!(back.day.name, "2026-11-24");
        let lower = Limits {
            day_tokens: 50,
            ..LIMITS
        };
        let lowered = back.at(&lower, at("2026-11-24T00:00:00Z"));
        assert_eq!(
            (lowered.day.tokens.used, lowered.day.tokens.left()),
            (70, 0)
        );
    }

    #[test]
    fn a_forecast_goes_on_as_the_month_began() {
        let half = at("2026-11-15T16:00:00Z");
        let mut account = Account::opened(ZONE, &LIMITS, half);
        account.month.money.used = 21;
        assert_eq!(account.budget(half).forecast, MicroUsd::new(42));
        let end = at("2026-11-30T15:59:59Z");
        assert_eq!(account.budget(end).forecast, MicroUsd::new(21));
        let early = at("2026-10-31T16:00:01Z");
        assert_eq!(account.budget(early).forecast, MicroUsd::new(21 * 720));
    }

    #[test]
    fn a_report_begins_with_its_earlier_first_day() {
        let now = at("2026-11-24T00:00:00Z");
        let account = Account::opened(ZONE, &LIMITS, now);
        assert_eq!(account.first_day(7, 0, now), "2026-11-18");
        assert_eq!(account.first_day(7, 1, now), "2026-11-01");
        assert_eq!(account.first_day(31, 1, now), "2026-10-25");
        assert_eq!(account.first_day(1, 12, now), "2025-12-01");
    }

    #[test]
    fn an_unknown_zone_is_the_default_one() {
        let (zone, now) = ("Mars/Olympus", at("2026-11-24T20:00:00Z"));
        assert!(!is_zone(zone));
        assert_eq!(Account::opened(zone, &LIMITS, now).day.name, "2026-11-25");
    }

    proptest! {
        #[test]
        fn no_change_of_zone_brings_a_days_limit_sooner(
            moves in prop::collection::vec((0..ZONES.len(), 1..30_i64), 1..60),
        ) {
            let mut now = at("2026-03-01T00:00:00Z");
            let mut account = Account::opened(ZONE, &LIMITS, now);
            let mut opened_at = Vec::new();
            for (zone, hours) in moves {
                account.zone = ZONES.get(zone).copied().unwrap_or(ZONE).to_owned();
                now = Timestamp::from_unix_ms(now.unix_ms() + hours * HOUR_MS);
                let before = account.day.name.clone();
                account = account.at(&LIMITS, now);
                prop_assert!(account.day.ends_at > now);
                if account.day.name != before {
                    prop_assert!(account.day.name > before);
                    opened_at.push((now, account.day.ends_at));
                }
            }
            for pair in opened_at.windows(2) {
                let [(_, ends_at), (opened, _)] = pair else { continue };
                prop_assert!(opened >= ends_at, "a day began before the one before it was over");
            }
        }
    }
}
