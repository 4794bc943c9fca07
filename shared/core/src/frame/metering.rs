//! What clients are told of tokens and money: what an answer cost, what is left, what was spent.

use crate::unit::{MicroUsd, Timestamp, TokenUsage};

/// Of `2026-11`.
const MONTH_NAME_BYTES: usize = 7;

/// What an answer consumed and cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Tokens, as the provider counted them.
    pub tokens: TokenUsage,
    /// Whether the provider sent no count and this is ours.
    pub estimated: bool,
    /// At the price list's rate.
    pub cost: MicroUsd,
    /// Tokens that were not paid for again, since the answer was there already.
    pub saved_tokens: u32,
}

/// How much a learner may use, and has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// The tier's word, such as `free`.
    pub tier: String,
    /// The learner's day.
    pub day: Window,
    /// The learner's month.
    pub month: Window,
}

/// The tokens of a day or a month, prompt and answer together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Used and settled.
    pub used: u64,
    /// Held for answers that are being written.
    pub reserved: u64,
    /// The most that used and reserved may be together.
    pub limit: u64,
    /// When the next window begins.
    pub resets_at: Timestamp,
}

impl Window {
    /// What may still be reserved, in tokens; none where the limit was lowered below what is used.
    pub fn remaining(&self) -> u64 {
        self.limit
            .saturating_sub(self.used.saturating_add(self.reserved))
    }
}

/// What was used and what it cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// Oldest first.
    pub days: Vec<Period>,
    /// Oldest first.
    pub months: Vec<Period>,
    /// This month's money.
    pub budget: Budget,
}

/// What was used in a day or a month of a learner.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Period {
    /// `2026-11-24` or `2026-11`, in the learner's time zone.
    pub date: String,
    /// Tokens of prompts, the cached ones included.
    pub input_tokens: u64,
    /// Tokens of prompts that the provider had cached.
    pub cached_input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// What the calls cost.
    pub cost: MicroUsd,
    /// Calls of a model.
    pub requests: u64,
    /// Questions that were answered without one.
    pub cache_hits: u64,
}

impl Period {
    /// Adds what was used in another.
    pub fn add(&mut self, other: &Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.input_tokens, other.input_tokens);
        add(&mut self.cached_input_tokens, other.cached_input_tokens);
        add(&mut self.output_tokens, other.output_tokens);
        add(&mut self.requests, other.requests);
        add(&mut self.cache_hits, other.cache_hits);
        self.cost = self.cost.plus(other.cost);
    }

    /// Days, oldest first, as months.
    pub fn months(days: &[Self]) -> Vec<Self> {
        let mut months: Vec<Self> = Vec::new();
        for day in days {
            let name = day.date.get(..MONTH_NAME_BYTES).unwrap_or_default();
            match months.last_mut().filter(|month| month.date == name) {
                Some(month) => month.add(day),
                None => months.push(Self {
                    date: name.to_owned(),
                    ..day.clone()
                }),
            }
        }
        months
    }
}

/// Money that may be spent, and was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The most that may be spent.
    pub limit: MicroUsd,
    /// Spent so far.
    pub used: MicroUsd,
    /// Spent by the end, if it goes on like this.
    pub forecast: MicroUsd,
}

impl Budget {
    /// What may still be spent; nothing where the limit was lowered below what is used.
    pub fn remaining(&self) -> MicroUsd {
        MicroUsd::new(self.limit.get().saturating_sub(self.used.get()))
    }

    /// How much of it is spent, in whole percent rounded down, so that 100 means all; 100 of no budget.
    pub fn percentage(&self) -> u32 {
        let spent = u128::from(self.used.get()) * 100;
        let percent = spent.checked_div(u128::from(self.limit.get()));
        percent.map_or(100, |percent| u32::try_from(percent).unwrap_or(u32::MAX))
    }
}

/// A limit comes near, is reached, or is approached suspiciously fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Which limit.
    pub kind: AlertKind,
    /// For the person who reads it, in their language.
    pub message: String,
    /// The share of the limit that was passed, in percent.
    pub threshold: u32,
    /// Tokens or micro-dollars, as the kind says.
    pub used: u64,
    /// In the same unit.
    pub limit: u64,
}

/// The limit that an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertKind {
    /// Tokens of a day.
    QuotaDay,
    /// Tokens of a month.
    QuotaMonth,
    /// Micro-dollars of a day.
    BudgetDay,
    /// Micro-dollars of a month.
    BudgetMonth,
    /// Micro-dollars of a few minutes.
    Spike,
}

impl AlertKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::QuotaDay,
        Self::QuotaMonth,
        Self::BudgetDay,
        Self::BudgetMonth,
        Self::Spike,
    ];

    /// The word on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QuotaDay => "quota_day",
            Self::QuotaMonth => "quota_month",
            Self::BudgetDay => "budget_day",
            Self::BudgetMonth => "budget_month",
            Self::Spike => "spike",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_lowered_below_what_is_used_leaves_nothing() {
        let window = Window {
            used: 60,
            reserved: 50,
            limit: 100,
            resets_at: Timestamp::default(),
        };
        assert_eq!(window.remaining(), 0);
        let budget = Budget {
            limit: MicroUsd::new(100),
            used: MicroUsd::new(250),
            forecast: MicroUsd::new(250),
        };
        assert_eq!(budget.remaining(), MicroUsd::new(0));
        assert_eq!(budget.percentage(), 250);
    }

    #[test]
    fn no_share_is_shown_before_it_is_spent_and_no_budget_is_always_spent() {
        let budget = |used, limit| Budget {
            limit: MicroUsd::new(limit),
            used: MicroUsd::new(used),
            forecast: MicroUsd::new(used),
        };
        assert_eq!(budget(999, 1_000).percentage(), 99);
        assert_eq!(budget(1_000, 1_000).percentage(), 100);
        assert_eq!(budget(0, 0).percentage(), 100);
        assert_eq!(budget(u64::MAX, 1).percentage(), u32::MAX);
    }
}
