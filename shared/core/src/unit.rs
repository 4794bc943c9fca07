//! Quantities: each with its unit in its type, whole numbers only.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment that many milliseconds after the epoch.
    pub const fn from_unix_ms(unix_ms: i64) -> Self {
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

    /// Two sums together.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// To the micro-dollar, with at least the cents: `$100.00`, `$0.000021`.
impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dollars, millionths) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let millionths = format!("{millionths:06}");
        let (cents, rest) = millionths.split_at(2);
        let rest = rest.trim_end_matches('0');
        write!(f, "${}.{cents}{rest}", grouped(dollars))
    }
}

/// The text is no amount of dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("dollars with at most 6 decimals, such as 100 or 2.50")]
pub struct NotMoney;

/// Dollars as people type them: `100`, `$2.50`, `0.000021`, without thousands separators.
impl FromStr for MicroUsd {
    type Err = NotMoney;

    fn from_str(text: &str) -> Result<Self, NotMoney> {
        let number = text.strip_prefix('$').unwrap_or(text);
        let (dollars, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let is_number =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        if !is_number(dollars) || !is_number(decimals) || decimals.len() > 6 {
            return Err(NotMoney);
        }
        let whole = |digits: &str| digits.parse::<u64>().map_err(|_too_large| NotMoney);
        let micro_usd = whole(dollars)?.checked_mul(1_000_000);
        let micro_usd = micro_usd.zip(whole(&format!("{decimals:0<6}")).ok());
        let micro_usd = micro_usd.and_then(|(dollars, decimals)| dollars.checked_add(decimals));
        micro_usd.map(Self).ok_or(NotMoney)
    }
}

/// A number as people read it: `50,000`.
pub fn grouped(number: u64) -> String {
    let mut groups = Vec::new();
    let mut left = number;
    while left >= 1_000 {
        groups.push(format!(",{:03}", left % 1_000));
        left /= 1_000;
    }
    groups.push(left.to_string());
    groups.into_iter().rev().collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_to_the_micro_dollar_with_its_cents() {
        for (micro_usd, shown) in [
            (0, "$0.00"),
            (21, "$0.000021"),
            (12_500, "$0.0125"),
            (100_000_000, "$100.00"),
            (1_234_567_890_000, "$1,234,567.89"),
            (u64::MAX, "$18,446,744,073,709.551615"),
        ] {
            assert_eq!(MicroUsd::new(micro_usd).to_string(), shown);
        }
    }

    #[test]
    fn dollars_are_read_exactly_or_not_at_all() {
        for (text, micro_usd) in [
            ("0", 0),
            ("100", 100_000_000),
            ("$2.5", 2_500_000),
            ("0.000021", 21),
            ("18446744073709.551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(MicroUsd::new(micro_usd)));
        }
        for text in [
            "",
            "$",
            ".5",
            "5.",
            "-1",
            "+1",
            "1,5",
            "1e3",
            "0.0000001",
            "1.2.3",
            "5 ",
            "18446744073709.551616",
            "99999999999999999999",
        ] {
            assert_eq!(text.parse::<MicroUsd>(), Err(NotMoney), "{text}");
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, shown) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_002_030, "1,002,030"),
        ] {
            assert_eq!(grouped(number), shown);
        }
    }
}
