//! What operators decide without a deploy: limits of tiers and learners, budgets, a stop (R-METER-8).

use serde::{Deserialize, Serialize};

use crate::quota::Limits;

/// What a learner may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The default.
    #[default]
    Free,
    /// Paying.
    Pro,
}

impl Tier {
    /// The word in tokens and storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Pro => "pro",
        }
    }

    /// The tier that a word names; any other word is no claim to more than the free one.
    pub fn of_word(word: &str) -> Self {
        if word == Self::Pro.as_str() {
            Self::Pro
        } else {
            Self::Free
        }
    }
}

/// What applies to all learners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Of the free tier.
    pub free: Limits,
    /// Of the paying tier.
    pub pro: Limits,
    /// Of all learners together.
    pub everybody: Budget,
    /// No model is asked for anybody.
    pub is_stopped: bool,
}

/// Micro-dollars for all learners together; 0 for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Budget {
    pub day_money: u64,
    pub month_money: u64,
}

/// What applies to one learner instead of what the tier says; what is absent does not differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Allowance {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day_money: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month_money: Option<u64>,
}

/// The text is no policy.
#[derive(Debug, thiserror::Error)]
#[error("the policy cannot be read")]
pub struct PolicyError(#[from] serde_json::Error);

impl Policy {
    /// The one that is built in: `infra/policy.json`.
    ///
    /// # Errors
    /// [`PolicyError`] if that file is damaged.
    pub fn built_in() -> Result<Self, PolicyError> {
        Self::parse(include_str!("../../../infra/policy.json"))
    }

    /// Reads a policy from JSON.
    ///
    /// # Errors
    /// [`PolicyError`] names what is missing or wrong.
    pub fn parse(json: &str) -> Result<Self, PolicyError> {
        Ok(serde_json::from_str(json)?)
    }

    /// What a learner of a tier may spend. The tier is the token's, unless an operator set another.
    pub fn limits(&self, tier: Tier, allowance: &Allowance) -> Limits {
        let of_tier = match allowance.tier.unwrap_or(tier) {
            Tier::Free => &self.free,
            Tier::Pro => &self.pro,
        };
        Limits {
            day_tokens: allowance.day_tokens.unwrap_or(of_tier.day_tokens),
            month_tokens: allowance.month_tokens.unwrap_or(of_tier.month_tokens),
            day_money: allowance.day_money.unwrap_or(of_tier.day_money),
            month_money: allowance.month_money.unwrap_or(of_tier.month_money),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_has_its_limits_and_a_learner_may_have_others() {
        let policy = Policy::built_in().unwrap();
        let limits = |tier, allowance: &Allowance| policy.limits(tier, allowance).day_tokens;
        assert_eq!(limits(Tier::Free, &Allowance::default()), 50_000);
        assert_eq!(limits(Tier::Pro, &Allowance::default()), 500_000);
        let raised = Allowance {
            tier: Some(Tier::Pro),
            month_tokens: Some(7),
            ..Allowance::default()
        };
        assert_eq!(limits(Tier::Free, &raised), 500_000);
        assert_eq!(policy.limits(Tier::Free, &raised).month_tokens, 7);
    }
}
