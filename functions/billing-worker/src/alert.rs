//! Who nears a limit is told, once for each share of it, and so is the operator.

use std::time::Duration;

use sparkle_aws::{
    failure::{Failure, causes},
    metric,
};
use sparkle_core::{
    frame::{AlertKind, Body, ServerFrame},
    id::UserId,
    ledger::Bill,
    notice::{self, Language},
    quota::{Account, Fund, window},
    unit::Timestamp,
};
use sparkle_wire::frame;
use tracing::warn;

use crate::App;

/// Shares of a limit, in percent, that are told (R-METER-6).
const THRESHOLDS: [u32; 3] = [100, 80, 50];
/// More than this within [`SPIKE_TIME`], by one learner, is not learning: 100 dollars (R-METER-6).
const SPIKE_MICRO_USD: u64 = 100_000_000;
const SPIKE_TIME: Duration = Duration::from_mins(5);

/// Tells what a learner's account has come to. `account` is as of just now. Cost: nothing far from every
/// limit, else one write for each limit that is near, and a post.
pub(crate) async fn tell(
    app: &App,
    account: &Account,
    bill: &Bill,
    now: Timestamp,
) -> Result<(), Failure> {
    let limits = [
        (AlertKind::QuotaDay, account.day.tokens, &account.day.name),
        (
            AlertKind::QuotaMonth,
            account.month.tokens,
            &account.month.name,
        ),
        (AlertKind::BudgetDay, account.day.money, &account.day.name),
        (
            AlertKind::BudgetMonth,
            account.month.money,
            &account.month.name,
        ),
    ];
    let user = &bill.call.user_id;
    for (kind, fund, window) in limits {
        let Some(threshold) = passed(fund) else {
            continue;
        };
        if app
            .ledger
            .note_alert(user, window, kind.as_str(), threshold.into())
            .await?
        {
            post(app, bill, kind, threshold, fund, now).await;
        }
    }
    let span_ms = i64::try_from(SPIKE_TIME.as_millis()).unwrap_or(0);
    let since = Timestamp::from_unix_ms(now.unix_ms().saturating_sub(span_ms));
    let is_new_day = window::date(&account.day_zone, since) != account.day.name;
    if account.day.money.used < SPIKE_MICRO_USD && !is_new_day {
        return Ok(());
    }
    let spent = app.ledger.cost_since(user, since).await?.get();
    if spent <= SPIKE_MICRO_USD {
        return Ok(());
    }
    // Once in that time: its number only grows.
    let number = u64::try_from(now.unix_ms() / span_ms).unwrap_or(0);
    let (kind, window) = (AlertKind::Spike, &account.day.name);
    if app
        .ledger
        .note_alert(user, window, kind.as_str(), number)
        .await?
    {
        let (limit, used, held) = (SPIKE_MICRO_USD, spent, 0);
        post(app, bill, kind, 100, Fund { limit, used, held }, now).await;
    }
    Ok(())
}

/// The highest share of a limit that is used up; none of a limit of nothing.
fn passed(fund: Fund) -> Option<u32> {
    let percent = (u128::from(fund.used) * 100).checked_div(fund.limit.into())?;
    THRESHOLDS
        .into_iter()
        .find(|&threshold| percent >= threshold.into())
}

async fn post(app: &App, bill: &Bill, kind: AlertKind, threshold: u32, fund: Fund, now: Timestamp) {
    let share = threshold.to_string();
    let labels = [("kind", kind.as_str()), ("threshold", share.as_str())];
    metric::count("finops_alerts_total", 1, &labels, now);
    // An outside producer may name any socket.
    let Some(destination) = bill
        .destination
        .as_ref()
        .filter(|_| bill.call.source.is_empty())
    else {
        return;
    };
    let language = language(app, &bill.call.user_id).await;
    let alert = notice::alert(kind, threshold, fund.used, fund.limit, language);
    let frame = ServerFrame::unasked(Body::Alert(alert));
    let text = frame::encode(&frame, destination.format);
    if let Err(failure) = app.push.post(&destination.connection_id, text).await {
        // Who is away sees it in the next `usage`; the operator has the metric.
        warn!(error = causes(&failure), "an alert is not delivered");
    }
}

/// What a learner is told something in. Cost: one read, for an alert only.
async fn language(app: &App, user: &UserId) -> Language {
    match app.profiles.find(user).await {
        Ok(context) => Language::of_tag(&context.language),
        Err(error) => {
            warn!(
                error = causes(&error),
                "an alert is told in the default language"
            );
            Language::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_share_that_is_used_up_is_told() {
        let fund = |used| Fund {
            limit: 1_000,
            used,
            held: 0,
        };
        let told: Vec<_> = [0, 499, 500, 799, 800, 999, 1_000, 5_000]
            .map(|used| passed(fund(used)))
            .into();
        let expected = [
            None,
            None,
            Some(50),
            Some(50),
            Some(80),
            Some(80),
            Some(100),
            Some(100),
        ];
        assert_eq!(told, expected);
        assert_eq!(passed(Fund::full(0)), None);
    }
}
