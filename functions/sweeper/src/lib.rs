//! Sees to what crashed: calls of a model that nobody ends, and the budget of all learners together.
//!
//! Idempotency: each of its writes rests on the state that it found; two sweeps at once change nothing twice.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sparkle_aws::{
    failure::Failure,
    meter::Meter,
    metric,
    table::{
        ledger::{Ledger, Sums},
        policies::Policies,
    },
};
use sparkle_core::{quota::window, unit::Timestamp};
use tracing::{error, info};

/// How long everybody is stopped whose budget is used up; the next sweep says so again.
const STOPPED_FOR: Duration = Duration::from_mins(3);
/// Of `2026-11`.
const MONTH_NAME_BYTES: usize = 7;

/// What a warm instance keeps.
#[derive(Debug)]
#[expect(missing_docs, reason = "each type says what it is")]
pub struct App {
    pub meter: Meter,
    pub policies: Policies,
    pub ledger: Ledger,
}

/// A schedule asks for a sweep; what it says does not matter.
#[derive(Debug, Deserialize)]
pub struct SweepEvent {}

/// What a sweep did.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct SweepAnswer {
    pub released: u64,
    pub settled: u64,
    pub sent: u64,
    pub failed: u64,
}

/// Sweeps once.
///
/// # Errors
/// [`Failure`]; the next sweep goes on. Cost: a scan of the calls that are not in the ledger yet.
pub async fn handle(app: &App, _event: SweepEvent, now: Timestamp) -> Result<SweepAnswer, Failure> {
    // First: whatever else fails, a budget that is used up stays closed.
    watch_budget(app, now).await?;
    let swept = app.meter.sweep(now).await.map_err(Failure::from)?;
    for (name, count) in [
        ("holds_released_total", swept.released),
        ("calls_settled_by_sweeper_total", swept.settled),
        ("bills_sent_again_total", swept.sent),
        ("sweeps_failed_total", swept.failed),
    ] {
        if count > 0 {
            info!(count, "{name}");
            metric::count(name, count, &[], now);
        }
    }
    Ok(SweepAnswer {
        released: swept.released,
        settled: swept.settled,
        sent: swept.sent,
        failed: swept.failed,
    })
}

/// Stops all spending once all learners together have spent their budget.
async fn watch_budget(app: &App, now: Timestamp) -> Result<(), Failure> {
    let budget = app.policies.current(now).await?.everybody;
    if budget.day_money == 0 && budget.month_money == 0 {
        return Ok(());
    }
    let today = window::date("UTC", now);
    let month = today.get(..MONTH_NAME_BYTES).unwrap_or_default();
    let days = app.ledger.everybody(&format!("{month}-01")).await?;
    let cost = |sums: &Sums| sums.period.cost.get();
    let of_month = days.iter().map(cost).fold(0, u64::saturating_add);
    let of_today = days.iter().filter(|day| day.period.date == today);
    let of_day = of_today.map(cost).fold(0, u64::saturating_add);
    let mut peak = 0;
    for (name, spent, limit) in [
        ("day", of_day, budget.day_money),
        ("month", of_month, budget.month_money),
    ] {
        let Some(percent) = (u128::from(spent) * 100).checked_div(limit.into()) else {
            continue;
        };
        let percent = u64::try_from(percent).unwrap_or(u64::MAX);
        metric::count("finops_budget_percent", percent, &[("window", name)], now);
        peak = peak.max(percent);
        if percent >= 100 {
            error!(window = name, "the budget of all learners is used up");
            app.policies.stop_until(now.after(STOPPED_FOR)).await?;
        }
    }
    // What the alarms of the template watch.
    metric::count("finops_budget_peak_percent", peak, &[], now);
    Ok(())
}
