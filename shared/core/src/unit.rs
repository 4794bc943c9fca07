//! Quantities: each with its unit in its type, whole numbers only.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment that many milliseconds after the epoch.
    pub fn from_unix_ms(unix_ms: i64) -> Self {
        Self(unix_ms)
    }

    /// Milliseconds since the epoch.
    pub fn unix_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down: the unit of DynamoDB's TTL and of JWT claims.
    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The moment `span` later, or the last one there is.
    pub fn after(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

/// Money: millionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MicroUsd(u64);

impl MicroUsd {
    /// That many micro-dollars.
    pub const fn new(micro_usd: u64) -> Self {
        Self(micro_usd)
    }

    /// The number of micro-dollars.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// What one model call consumed, as the provider counted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenUsage {
    /// Tokens of the prompt, the cached ones included.
    pub prompt_tokens: u32,
    /// Tokens of the prompt that the provider had cached.
    pub cached_tokens: u32,
    /// Tokens of the answer, reasoning included.
    pub completion_tokens: u32,
}

impl TokenUsage {
    /// What a call cannot have exceeded, where the provider did not say: the tokenizers of today's
    /// models never make more tokens than there are bytes, and put at most 8 around a message.
    pub fn bound(prompt_bytes: usize, prompt_messages: usize, completion_bytes: usize) -> Self {
        let tokens = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            prompt_tokens: tokens(prompt_bytes.saturating_add(prompt_messages.saturating_mul(8))),
            cached_tokens: 0,
            completion_tokens: tokens(completion_bytes),
        }
    }

    /// Of two calls together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            cached_tokens: self.cached_tokens.saturating_add(other.cached_tokens),
            completion_tokens: self
                .completion_tokens
                .saturating_add(other.completion_tokens),
        }
    }

    /// Prompt and answer together.
    pub fn total(self) -> u32 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}
