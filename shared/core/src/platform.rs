//! What a call of a model costs beside the model: an estimate, for reports only; nobody is billed by it.
//!
//! Billionths of a dollar, by the price lists of us-east-1 for arm64 without free tier, as gathered in 2026-11.
//! How much of each a turn takes was measured (`cargo bench -p sparkle-tests --bench cost`: answers of 500 tokens
//! at 83 a second) and is scaled by the length of the answer.

use crate::{ledger::Purpose, unit::MicroUsd};

/// API Gateway: a message of 32 KB begun, in either direction.
pub const GATEWAY_MESSAGE_NANO_USD: u64 = 1_000;
/// API Gateway: a minute of a connection.
pub const GATEWAY_MINUTE_NANO_USD: u64 = 250;
/// Lambda: an invocation.
pub const LAMBDA_REQUEST_NANO_USD: u64 = 200;
/// Lambda: a gigabyte of memory for a second.
pub const LAMBDA_GB_SECOND_NANO_USD: u64 = 13_333;
/// DynamoDB: a write request unit.
pub const DYNAMODB_WRITE_NANO_USD: u64 = 625;
/// DynamoDB: a read request unit.
pub const DYNAMODB_READ_NANO_USD: u64 = 125;
/// SQS: a request.
pub const SQS_REQUEST_NANO_USD: u64 = 400;

/// Tokens in one frame of text.
const FRAME_TOKENS: u64 = 26;
/// Tokens that a model says in a second, which a worker waits for.
const TOKENS_PER_SECOND: u64 = 80;
/// Before the first token and after the last.
const OVERHEAD_MS: u64 = 1_000;
/// `MemorySize` of the functions in template.yaml: a quarter of a gigabyte.
const FUNCTIONS_PER_GB: u64 = 4;
/// How often a worker says that its message is not to be delivered again.
const HIDE_EVERY_MS: u64 = 5_000;

/// What calls took of the platform, in billionths of a dollar by service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Platform {
    pub messages_nano_usd: u64,
    pub lambda_nano_usd: u64,
    pub dynamodb_nano_usd: u64,
    pub sqs_nano_usd: u64,
}

impl Platform {
    /// What one call takes by estimate, whose answer had so many tokens.
    pub fn of_call(purpose: Purpose, answer_tokens: u32) -> Self {
        let answer_tokens = u64::from(answer_tokens);
        let worker_ms = OVERHEAD_MS + answer_tokens * 1_000 / TOKENS_PER_SECOND;
        let frames = answer_tokens.div_ceil(FRAME_TOKENS);
        let is_chat = purpose == Purpose::Chat;
        // The turn, its line in the ledger, and each frame of text: posted, recorded, and looked for listeners.
        let (requests, writes, reads, queued) = if is_chat {
            (4, 42 + frames * 6 / 5, 7 + frames, 7)
        } else {
            (2, 22, 4, 6)
        };
        // Up: the question. Down: ack, states, usage, done and the text.
        let messages = if is_chat { 6 + frames } else { 0 };
        let connected = if is_chat { GATEWAY_MINUTE_NANO_USD } else { 0 };
        let gb_ms = worker_ms / FUNCTIONS_PER_GB;
        Self {
            messages_nano_usd: messages * GATEWAY_MESSAGE_NANO_USD + connected,
            lambda_nano_usd: requests * LAMBDA_REQUEST_NANO_USD
                + gb_ms * LAMBDA_GB_SECOND_NANO_USD / 1_000,
            dynamodb_nano_usd: writes * DYNAMODB_WRITE_NANO_USD + reads * DYNAMODB_READ_NANO_USD,
            sqs_nano_usd: (queued + worker_ms / HIDE_EVERY_MS) * SQS_REQUEST_NANO_USD,
        }
    }

    /// Of these and other calls together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            messages_nano_usd: self
                .messages_nano_usd
                .saturating_add(other.messages_nano_usd),
            lambda_nano_usd: self.lambda_nano_usd.saturating_add(other.lambda_nano_usd),
            dynamodb_nano_usd: self
                .dynamodb_nano_usd
                .saturating_add(other.dynamodb_nano_usd),
            sqs_nano_usd: self.sqs_nano_usd.saturating_add(other.sqs_nano_usd),
        }
    }

    /// All services together, rounded up.
    pub fn cost(self) -> MicroUsd {
        let Self {
            messages_nano_usd,
            lambda_nano_usd,
            dynamodb_nano_usd,
            sqs_nano_usd,
        } = self;
        let parts = [
            messages_nano_usd,
            lambda_nano_usd,
            dynamodb_nano_usd,
            sqs_nano_usd,
        ];
        let nano_usd = parts.into_iter().fold(0, u64::saturating_add);
        MicroUsd::new(nano_usd.div_ceil(1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_of_500_tokens_costs_about_what_was_measured() {
        // 97.69 dollars a million, of which traffic, logs, handshakes and rests of rounding are not estimated.
        let estimated = Platform::of_call(Purpose::Chat, 500).cost().get();
        assert!((92..=102).contains(&estimated), "{estimated}");
    }

    #[test]
    fn longer_answers_cost_more_and_what_nobody_is_shown_needs_no_messages() {
        let of = |tokens| Platform::of_call(Purpose::Chat, tokens).cost();
        assert!(of(0) > MicroUsd::default() && of(100) < of(2_000));
        let summary = Platform::of_call(Purpose::Summary, 500);
        assert_eq!(summary.messages_nano_usd, 0);
        assert!(summary.cost() < of(500));
    }

    #[test]
    fn sums_are_rounded_once() {
        let call = Platform::of_call(Purpose::Chat, 1);
        let thrice = call.plus(call).plus(call).cost().get();
        assert!(thrice <= 3 * call.cost().get() && thrice + 3 > 3 * call.cost().get());
        Platform::of_call(Purpose::Chat, u32::MAX).cost();
    }
}
