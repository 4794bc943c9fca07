//! Hides when a schedule is due: EventBridge's `rate(…)`, `cron(…)` and `at(…)`, all in UTC.
//!
//! What AWS documents and is not read here: `L-3` as a day of the month, `L` alone as a day of
//! the week, ranges that run over the end (`FRI-MON`). They are refused by name.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

/// A schedule event of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its `Name`, or the event's key in the template.
    pub name: String,
    /// Who would invoke the function on AWS.
    pub origin: Origin,
    /// When it is due.
    pub when: When,
    /// JSON that is the whole event; without it EventBridge writes one.
    pub input: Option<String>,
}

/// Which service of AWS keeps a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A rule of an event bus (`Type: Schedule`).
    Rule,
    /// EventBridge Scheduler (`Type: ScheduleV2`).
    Scheduler,
}

/// When a schedule is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Every so often, counted from the start of the stack.
    Rate(SignedDuration),
    /// At the minutes that the pattern says.
    Cron(Box<Cron>),
    /// Once.
    At(Timestamp),
}

impl When {
    /// Reads an expression. Rules know no `at(…)` and insist on `rate(1 minute)`.
    pub(super) fn parse(text: &str, origin: Origin) -> Result<When, String> {
        let inner = |kind: &str| {
            let rest = text.trim().strip_prefix(kind)?.strip_prefix('(')?;
            rest.strip_suffix(')').map(str::trim)
        };
        if let Some(rate) = inner("rate") {
            return read_rate(rate, origin);
        }
        if let Some(pattern) = inner("cron") {
            return read_cron(pattern);
        }
        match (inner("at"), origin) {
            (Some(time), Origin::Scheduler) => {
                let time: Result<DateTime, _> = time.parse();
                let time = time.and_then(|time| time.to_zoned(TimeZone::UTC));
                let time = time.map_err(|error| format!("has no time in it: {error}"))?;
                Ok(When::At(time.timestamp()))
            }
            (_, Origin::Scheduler) => Err("is none of rate(…), cron(…) and at(…)".to_owned()),
            (_, Origin::Rule) => Err("is neither rate(…) nor cron(…)".to_owned()),
        }
    }

    /// The first time after `now` at which it is due, for a stack that was started at `start`.
    pub fn next_after(&self, now: Timestamp, start: Timestamp) -> Option<Timestamp> {
        match self {
            When::Rate(period) => {
                let since = now.duration_since(start).as_secs().max(0);
                let periods = since
                    .checked_div(period.as_secs())?
                    .checked_add(1)
                    .and_then(|periods| i32::try_from(periods).ok())?;
                start.checked_add(period.checked_mul(periods)?).ok()
            }
            When::Cron(cron) => {
                let now = now.to_zoned(TimeZone::UTC);
                // The error says that there is none within its horizon.
                let next = cron.find_next_occurrence(&now, false).ok()?;
                Some(next.timestamp())
            }
            When::At(time) => Some(*time).filter(|time| *time > now),
        }
    }
}

fn read_rate(rate: &str, origin: Origin) -> Result<When, String> {
    let wrong = || format!("is rate({rate}); use a whole number and minutes, hours or days");
    let (value, unit) = rate.split_once(char::is_whitespace).ok_or_else(wrong)?;
    let value: i64 = value.parse().map_err(|_error| wrong())?;
    let unit = unit.trim();
    let (singular, seconds_each) = match unit.trim_end_matches('s') {
        "minute" => ("minute", 60),
        "hour" => ("hour", 3_600),
        "day" => ("day", 86_400),
        _ => return Err(wrong()),
    };
    if value < 1 {
        return Err(wrong());
    }
    // EventBridge user guide, "Rate expressions": the singular for 1, the plural for others.
    if origin == Origin::Rule && (value == 1) != (unit == singular) {
        return Err(format!(
            "is rate({rate}); AWS takes {singular} for 1 and {singular}s for others"
        ));
    }
    let seconds = value.checked_mul(seconds_each).ok_or_else(wrong)?;
    Ok(When::Rate(SignedDuration::from_secs(seconds)))
}

/// Reads AWS's six fields: minutes, hours, day of month, month, day of week (1 is Sunday), year.
fn read_cron(pattern: &str) -> Result<When, String> {
    let fields: Vec<_> = pattern.split_whitespace().collect();
    let [_, _, day_of_month, _, day_of_week, _] = fields.as_slice() else {
        let count = fields.len();
        return Err(format!(
            "is cron({pattern}) with {count} fields; AWS takes six, the last is the year"
        ));
    };
    if (*day_of_month == "?") == (*day_of_week == "?") {
        return Err(format!(
            "is cron({pattern}); AWS wants ? for the day of the month or for that of the week, \
             and not for both"
        ));
    }
    if day_of_week.eq_ignore_ascii_case("L") || pattern.contains(['@', '+']) {
        return Err(format!("is cron({pattern}), which is not served locally"));
    }
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .alternative_weekdays(true)
        .sloppy_ranges(true)
        .build();
    let cron = parser.parse(&format!("0 {pattern}"));
    let cron = cron.map_err(|error| format!("is cron({pattern}): {error}"))?;
    Ok(When::Cron(Box::new(cron)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next three times after Tuesday, 24 November 2026, 10:00:30 UTC.
    fn next_three(expression: &str) -> Vec<String> {
        let when = When::parse(expression, Origin::Rule).unwrap();
        let start: Timestamp = "2026-11-24T10:00:30Z".parse().unwrap();
        let mut now = start;
        let next = std::iter::from_fn(|| {
            now = when.next_after(now, start)?;
            Some(now.to_string())
        });
        next.take(3).collect()
    }

    #[test]
    fn the_examples_of_awss_user_guide_are_due_when_it_says() {
        for (expression, expected) in [
            (
                "cron(0 10 * * ? *)",
                [
                    "2026-11-25T10:00:00Z",
                    "2026-11-26T10:00:00Z",
                    "2026-11-27T10:00:00Z",
                ],
            ),
            (
                "cron(0 18 ? * MON-FRI *)",
                [
                    "2026-11-24T18:00:00Z",
                    "2026-11-25T18:00:00Z",
                    "2026-11-26T18:00:00Z",
                ],
            ),
            (
                "cron(0 8 1 * ? *)",
                [
                    "2026-12-01T08:00:00Z",
                    "2027-01-01T08:00:00Z",
                    "2027-02-01T08:00:00Z",
                ],
            ),
            (
                "cron(0/15 * * * ? *)",
                [
                    "2026-11-24T10:15:00Z",
                    "2026-11-24T10:30:00Z",
                    "2026-11-24T10:45:00Z",
                ],
            ),
        ] {
            assert_eq!(next_three(expression), expected, "{expression}");
        }
    }

    #[test]
    fn days_are_counted_as_aws_counts_them() {
        for (expression, expected) in [
            // Sunday is 1.
            (
                "cron(0 0 ? * 1 *)",
                [
                    "2026-11-29T00:00:00Z",
                    "2026-12-06T00:00:00Z",
                    "2026-12-13T00:00:00Z",
                ],
            ),
            // The first Monday, the last Friday, the weekday nearest the 15th, the last day.
            (
                "cron(0 9 ? * 2#1 *)",
                [
                    "2026-12-07T09:00:00Z",
                    "2027-01-04T09:00:00Z",
                    "2027-02-01T09:00:00Z",
                ],
            ),
            (
                "cron(0 9 ? * 6L *)",
                [
                    "2026-11-27T09:00:00Z",
                    "2026-12-25T09:00:00Z",
                    "2027-01-29T09:00:00Z",
                ],
            ),
            (
                "cron(0 9 15W * ? *)",
                [
                    "2026-12-15T09:00:00Z",
                    "2027-01-15T09:00:00Z",
                    "2027-02-15T09:00:00Z",
                ],
            ),
            (
                "cron(0 9 L * ? *)",
                [
                    "2026-11-30T09:00:00Z",
                    "2026-12-31T09:00:00Z",
                    "2027-01-31T09:00:00Z",
                ],
            ),
            (
                "cron(0 0 29 2 ? *)",
                [
                    "2028-02-29T00:00:00Z",
                    "2032-02-29T00:00:00Z",
                    "2036-02-29T00:00:00Z",
                ],
            ),
            (
                "rate(5 minutes)",
                [
                    "2026-11-24T10:05:30Z",
                    "2026-11-24T10:10:30Z",
                    "2026-11-24T10:15:30Z",
                ],
            ),
        ] {
            assert_eq!(next_three(expression), expected, "{expression}");
        }
    }

    #[test]
    fn what_never_comes_is_never_due() {
        assert!(next_three("cron(0 9 1 1 ? 2020)").is_empty());
        assert!(next_three("cron(0 0 31 2 ? *)").is_empty());
    }

    #[test]
    fn what_aws_refuses_is_refused() {
        for expression in [
            "rate(1 minutes)",
            "rate(5 minute)",
            "rate(0 minutes)",
            "rate(-1 days)",
            "rate(5 weeks)",
            "rate(5)",
            "cron(0 10 * * ?)",
            "cron(0 0 10 * * ? *)",
            "cron(0 10 * * * *)",
            "cron(0 10 ? * ? *)",
            "cron(61 10 * * ? *)",
            "cron(0 10 ? * 8 *)",
            "cron(0 10 ? * 0 *)",
            "cron(@daily ? * * ? *)",
            "at(2030-01-01T00:00:00)",
            "every minute",
            "",
        ] {
            assert!(
                When::parse(expression, Origin::Rule).is_err(),
                "{expression}"
            );
        }
        assert!(When::parse("at(2030-13-01T00:00:00)", Origin::Scheduler).is_err());
    }

    #[test]
    fn a_one_time_schedule_is_due_once() {
        let when = When::parse("at(2030-01-01T08:30:00)", Origin::Scheduler).unwrap();
        let due: Timestamp = "2030-01-01T08:30:00Z".parse().unwrap();
        let before = due - SignedDuration::from_secs(1);
        assert_eq!(when.next_after(before, before), Some(due));
        assert_eq!(when.next_after(due, before), None);
    }
}
