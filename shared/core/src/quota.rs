//! Whether a call may be paid for, and what is held for it until its bill is known (R-METER-2).
//!
//! A learner has an [`Account`] with two windows, the day and the month of their own time zone, and in each
//! two [`Fund`]s, tokens and money. Before a model is asked, the most that the call can cost is held in all
//! four; afterwards the hold makes way for what it did cost. So what is used and held together never passes
//! a limit, whatever runs at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    frame::{self, ErrorBody, ErrorCode},
    id::CallId,
    notice::{self, Exhaustion, Language},
    policy::{Allowance, Tier},
    price::Model,
    unit::{MicroUsd, Timestamp, TokenUsage},
};

pub mod window;

/// Fewer tokens of answer than this are not worth a call (R-METER-2).
pub const ANSWER_TOKENS_MIN: u32 = 64;
/// Most holds of one learner at once: their account is one item, written with each of them.
pub const HOLDS_MAX: usize = 100;

/// Something that is used up: tokens, or micro-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fund {
    /// As much as there is.
    pub limit: u64,
    /// Gone.
    pub used: u64,
    /// Kept for calls whose bill is not known yet.
    pub held: u64,
}

impl Fund {
    /// Nothing of it used yet.
    pub fn full(limit: u64) -> Self {
        let (used, held) = (0, 0);
        Self { limit, used, held }
    }

    /// What may still be held: nothing where a limit was lowered below what is used.
    pub fn left(&self) -> u64 {
        let taken = self.used.saturating_add(self.held);
        self.limit.saturating_sub(taken)
    }
}

/// A day or a month of a learner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// `2026-11-24` or `2026-11`, in the learner's time zone.
    pub name: String,
    /// When the next one begins.
    pub ends_at: Timestamp,
    /// Prompt and answer together.
    pub tokens: Fund,
    /// Micro-dollars.
    pub money: Fund,
}

/// How much a learner may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it; money in micro-dollars")]
pub struct Limits {
    pub day_tokens: u64,
    pub month_tokens: u64,
    pub day_money: u64,
    pub month_money: u64,
}

/// What a learner has spent, holds and may spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// IANA name of the zone in which the next windows begin.
    pub zone: String,
    /// Of the zone in which the day that runs began.
    pub day_zone: String,
    /// The day that runs.
    pub day: Window,
    /// The month that runs.
    pub month: Window,
    /// What an operator has set for this learner.
    pub allowance: Allowance,
    /// An operator has stopped this learner.
    pub is_suspended: bool,
    /// An operator has stopped all spending.
    pub is_stopped: bool,
    /// What is held, by call.
    pub holds: BTreeMap<CallId, Hold>,
}

/// What is held for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Tokens and money; nothing once it was given back before the bill came.
    pub amount: Amount,
    /// The day in which it is held, and settled.
    pub day: String,
    /// The month likewise.
    pub month: String,
}

/// Tokens and what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Prompt and answer together.
    pub tokens: u64,
    /// At the call's prices.
    pub money: MicroUsd,
}

impl Amount {
    /// What a call consumed, at a model's prices.
    pub fn of(usage: TokenUsage, model: &Model) -> Self {
        Self {
            tokens: u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens),
            money: model.cost(usage),
        }
    }
}

/// A call that somebody would like to make.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The model to be asked.
    pub model: &'a Model,
    /// Its prompt has no more tokens than this.
    pub prompt_tokens: u32,
    /// Its answer need not have more.
    pub answer_tokens_max: u32,
}

/// What is granted for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// To be held: the most that it can cost.
    pub amount: Amount,
    /// The answer may have so many tokens, and the provider is told so.
    pub answer_tokens_max: u32,
}

/// Why a call is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// Too few tokens are left.
    Tokens(Exhausted),
    /// Too little money is left.
    Money(Exhausted),
    /// An operator has stopped this learner.
    Suspended,
    /// An operator has stopped all spending.
    Stopped,
    /// Too many calls of this learner run at once.
    Busy,
}

/// What is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// Tokens or micro-dollars a window.
    pub limit: u64,
    /// How much of it is used or held.
    pub used: u64,
    /// When the next window begins.
    pub resets_at: Timestamp,
}

impl Account {
    /// As a learner is told of it. `tier` is the token's, unless an operator set another.
    pub fn shown(&self, tier: Tier) -> frame::Quota {
        let window = |window: &Window| frame::Window {
            used: window.tokens.used,
            reserved: window.tokens.held,
            limit: window.tokens.limit,
            resets_at: window.ends_at,
        };
        frame::Quota {
            tier: self.allowance.tier.unwrap_or(tier).as_str().to_owned(),
            day: window(&self.day),
            month: window(&self.month),
        }
    }

    /// As much of a wish as the account has room for.
    ///
    /// # Errors
    /// [`Denied`] if that is no whole prompt with at least [`ANSWER_TOKENS_MIN`] tokens of answer.
    pub fn grant(&self, wish: &Wish<'_>) -> Result<Grant, Denied> {
        if self.is_stopped {
            return Err(Denied::Stopped);
        }
        if self.is_suspended {
            return Err(Denied::Suspended);
        }
        if self.holds.len() >= HOLDS_MAX {
            return Err(Denied::Busy);
        }
        let (model, prompt) = (wish.model, wish.prompt_tokens);
        let answer_min = ANSWER_TOKENS_MIN.min(wish.answer_tokens_max);
        let least = u64::from(prompt) + u64::from(answer_min);
        let windows = [&self.day, &self.month];
        if let Some(short) = windows.iter().find(|window| window.tokens.left() < least) {
            return Err(Denied::Tokens(exhausted(short.tokens, short.ends_at)));
        }
        let answer_for = |window: &&Window| affordable(model, prompt, window.money.left());
        let mut answer = wish.answer_tokens_max;
        for window in &windows {
            let room = window.tokens.left().saturating_sub(u64::from(prompt));
            answer = answer.min(u32::try_from(room).unwrap_or(u32::MAX));
            match answer_for(window) {
                Some(affordable) if affordable >= answer_min => answer = answer.min(affordable),
                _ => return Err(Denied::Money(exhausted(window.money, window.ends_at))),
            }
        }
        let most = TokenUsage {
            prompt_tokens: prompt,
            cached_tokens: 0,
            completion_tokens: answer,
        };
        Ok(Grant {
            amount: Amount::of(most, model),
            answer_tokens_max: answer,
        })
    }
}

/// When a learner with too many calls at once may try again, in milliseconds.
const BUSY_RETRY_MS: u64 = 5_000;

impl Denied {
    /// How a learner in a time zone is told.
    pub fn notice(&self, zone: &str, now: Timestamp, language: Language) -> ErrorBody {
        let error = |code| notice::error(code, language);
        let (exhausted, tell): (&Exhausted, fn(&Exhaustion<'_>, Language) -> ErrorBody) = match self
        {
            Self::Tokens(exhausted) => (exhausted, notice::quota_exceeded),
            Self::Money(exhausted) => (exhausted, notice::budget_exceeded),
            Self::Suspended => return error(ErrorCode::Forbidden),
            Self::Stopped => return error(ErrorCode::Unavailable),
            Self::Busy => {
                return ErrorBody {
                    retry_after_ms: Some(BUSY_RETRY_MS),
                    ..error(ErrorCode::RateLimited)
                };
            }
        };
        let exhaustion = Exhaustion {
            used: exhausted.used,
            limit: exhausted.limit,
            resets: &window::clock(zone, exhausted.resets_at),
        };
        let wait_ms = exhausted.resets_at.unix_ms().saturating_sub(now.unix_ms());
        ErrorBody {
            retry_after_ms: Some(u64::try_from(wait_ms).unwrap_or(0)),
            ..tell(&exhaustion, language)
        }
    }
}

/// The longest answer to a prompt that so much money pays for; none if it does not even pay the prompt.
fn affordable(model: &Model, prompt_tokens: u32, micro_usd: u64) -> Option<u32> {
    let money = u128::from(micro_usd) * 1_000_000;
    let prompt = u128::from(prompt_tokens) * u128::from(model.input);
    let left = money.checked_sub(prompt)?;
    let tokens = left.checked_div(u128::from(model.output));
    Some(tokens.map_or(u32::MAX, |tokens| u32::try_from(tokens).unwrap_or(u32::MAX)))
}

fn exhausted(fund: Fund, resets_at: Timestamp) -> Exhausted {
    Exhausted {
        limit: fund.limit,
        used: fund.used.saturating_add(fund.held),
        resets_at,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::price::Catalogue;

    fn model() -> Model {
        let catalogue = Catalogue::offering("gpt-4o-mini").unwrap();
        catalogue
            .default_model()
            .at(Timestamp::from_unix_ms(1_764_000_000_000))
    }

    fn account(day: Fund, month: Fund, money: Fund) -> Account {
        let window = |name: &str, tokens| Window {
            name: name.to_owned(),
            ends_at: Timestamp::from_unix_ms(1),
            tokens,
            money,
        };
        Account {
            zone: window::ZONE.to_owned(),
            day_zone: window::ZONE.to_owned(),
            day: window("2026-11-24", day),
            month: window("2026-11", month),
            allowance: Allowance::default(),
            is_suspended: false,
            is_stopped: false,
            holds: BTreeMap::new(),
        }
    }

    fn wish(model: &Model, prompt_tokens: u32, answer_tokens_max: u32) -> Wish<'_> {
        Wish {
            model,
            prompt_tokens,
            answer_tokens_max,
        }
    }

    #[test]
    fn an_answer_is_cut_to_what_is_left_and_refused_below_64_tokens() {
        let model = model();
        let rich = Fund::full(u64::MAX);
        let left = |tokens| account(Fund::full(tokens), rich, rich);
        let granted = |tokens| left(tokens).grant(&wish(&model, 100, 2_048));
        assert_eq!(granted(10_000).unwrap().answer_tokens_max, 2_048);
        assert_eq!(granted(1_000).unwrap().answer_tokens_max, 900);
        assert_eq!(granted(164).unwrap().answer_tokens_max, 64);
        let denied = granted(163).unwrap_err();
        let resets_at = Timestamp::from_unix_ms(1);
        let (limit, used) = (163, 0);
        let exhausted = Exhausted {
            limit,
            used,
            resets_at,
        };
        assert_eq!(denied, Denied::Tokens(exhausted));
    }

    #[test]
    fn a_limit_lowered_below_what_is_used_leaves_nothing() {
        let overdrawn = Fund {
            limit: 10,
            used: 100,
            held: 5,
        };
        assert_eq!(overdrawn.left(), 0);
    }

    proptest! {
        #[test]
        fn what_is_granted_is_left_in_every_fund_and_pays_for_the_longest_answer(
            day in 0..5_000_u64, month in 0..5_000_u64, money in 0..3_000_u64,
            prompt in 0..4_000_u32, cap in 1..4_000_u32,
        ) {
            let model = model();
            let account = account(Fund::full(day), Fund::full(month), Fund::full(money));
            let room = u64::from(prompt) + u64::from(ANSWER_TOKENS_MIN.min(cap));
            match account.grant(&wish(&model, prompt, cap)) {
                Ok(Grant { amount, answer_tokens_max }) => {
                    prop_assert!(amount.tokens <= day.min(month));
                    prop_assert!(amount.money.get() <= money);
                    prop_assert!(answer_tokens_max <= cap);
                    prop_assert_eq!(amount.tokens, u64::from(prompt) + u64::from(answer_tokens_max));
                }
                Err(Denied::Tokens(_)) => prop_assert!(room > day.min(month)),
                Err(Denied::Money(_)) => {
                    let least = TokenUsage {
                        prompt_tokens: prompt,
                        cached_tokens: 0,
                        completion_tokens: ANSWER_TOKENS_MIN.min(cap),
                    };
                    prop_assert!(model.cost(least).get() > money);
                }
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
