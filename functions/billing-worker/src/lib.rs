//! Writes the ledger: one line for each call of a model, whoever made it, and tells who nears a limit.
//!
//! Idempotency key: source and call id. A line, the sums that it adds to, and the end of its intent are one
//! transaction, so a message that comes twice changes nothing. What no release of ours can read, or breaks
//! the rules for outside producers, goes to the dead-letter queue with the reason.

mod alert;

use sparkle_aws::{
    event::{self, QueueAnswer, QueueEvent, QueueRecord},
    failure::{Failure, causes},
    metric,
    push::Push,
    queue::DeadLetters,
    table::{
        accounts::Accounts,
        answers::Answers,
        intents::Intents,
        ledger::{Entry, Ledger, Recorded},
        policies::Policies,
        profiles::Profiles,
    },
};
use sparkle_core::{ledger::Bill, quota::window, unit::Timestamp};
use sparkle_wire::job;
use tracing::{Instrument, info, info_span, warn};

/// What a warm instance keeps.
#[derive(Debug)]
#[expect(missing_docs, reason = "each type says what it is")]
pub struct App {
    pub accounts: Accounts,
    pub answers: Answers,
    pub policies: Policies,
    pub intents: Intents,
    pub ledger: Ledger,
    pub profiles: Profiles,
    pub push: Push,
    pub dead_letters: DeadLetters,
}

/// Writes the lines of a batch; those that fail are delivered again, each by itself.
///
/// # Errors
/// Never; what failed is in the answer.
pub async fn handle(app: &App, event: QueueEvent, now: Timestamp) -> Result<QueueAnswer, Failure> {
    let record = async |record: QueueRecord| {
        let bill = match read(&record, now) {
            Ok(bill) => bill,
            Err(reason) => {
                warn!(reason, "not a bill");
                metric::count("bills_refused_total", 1, &[], now);
                return app.dead_letters.bury(&record, &reason).await;
            }
        };
        let trace_id = bill.call.trace_id.as_ref().map_or("", |id| id.as_str());
        let span = info_span!("bill", trace_id);
        record_bill(app, bill, record.body.trim_ascii(), now)
            .instrument(span)
            .await
    };
    Ok(event::each(event, record).await)
}

/// The bill of a message, or why it is none.
fn read(record: &QueueRecord, now: Timestamp) -> Result<Bill, String> {
    let bill = job::decode_bill(&record.body).map_err(|error| causes(&error))?;
    bill.check(now).map_err(|error| causes(&error))?;
    Ok(bill)
}

async fn record_bill(
    app: &App,
    mut bill: Bill,
    message: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    let call = &mut bill.call;
    let catalogue = app.policies.catalogue(now).await?;
    let priced = catalogue.any(&call.model).at(call.settled_at);
    // An outside producer may leave that to us; a model that is not in the price list has its upper price.
    call.cost.get_or_insert_with(|| priced.cost(call.tokens));
    // It may also name as many models as it likes.
    let is_known = priced.is_listed || call.source.is_empty();
    let model = if is_known { &priced.id } else { "other" };
    let account = app.accounts.find(&call.user_id).await?.last(now);
    let zone = account
        .as_ref()
        .map_or(window::ZONE, |account| &account.day_zone);
    let day = window::date(zone, call.settled_at);
    let utc_day = window::date("UTC", call.settled_at);
    let entry = Entry {
        call: &bill.call,
        message,
        model,
        day: &day,
        utc_day: &utc_day,
        served: bill.served.as_ref().map(|place| (&app.answers, place)),
    };
    let recorded = app.ledger.record(&app.intents, &entry).await?;
    info!(is_new = recorded == Recorded::New, "call in the ledger");
    if recorded == Recorded::New {
        let call = &bill.call;
        let cost = call.cost.unwrap_or_default().get();
        let labels = [("model", model), ("purpose", call.purpose.as_str())];
        metric::count("finops_usage_total", cost, &labels, now);
    }
    // Again for a line that was there: its first copy may have died before this.
    match account {
        Some(account) => alert::tell(app, &account, &bill, now).await,
        None => Ok(()),
    }
}
