//! What operators see of a turn that is over: its metrics and its line in the log.

use sparkle_aws::metric;
use sparkle_core::ledger::Bill;
use tracing::info;

use crate::{Clock, answer::Answer};

pub(crate) fn report(answer: &Answer, bill: Option<&Bill>, clock: Clock) {
    let (now, took, status) = (clock.now(), clock.since.elapsed(), answer.end.as_str());
    metric::seconds(
        "chat_request_duration_seconds",
        took.as_secs_f64(),
        &[("method", "chat")],
        now,
    );
    metric::count(
        "chat_requests_total",
        1,
        &[("method", "turn"), ("status", status)],
        now,
    );
    if let Some(Bill { call, .. }) = bill {
        for (kind, tokens) in [
            ("input", call.tokens.prompt_tokens),
            ("output", call.tokens.completion_tokens),
        ] {
            let labels = [("model", call.model.as_str()), ("type", kind)];
            metric::count("tokens_consumed_total", u64::from(tokens), &labels, now);
        }
    }
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    info!(status, duration_ms, "turn over");
}
