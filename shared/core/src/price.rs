//! Which models there are and what their tokens cost.
//!
//! The price list is data: `infra/models.json`, built in. All arithmetic is in whole micro-dollars per
//! million tokens and rounds up, so that a cost is never below the bill by rounding.

use serde::Deserialize;

use crate::unit::{MicroUsd, TokenUsage};

/// The model that needs no provider.
pub const OFFLINE: &str = "offline";

/// A model: its limits and prices.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Model {
    /// What the provider calls it.
    pub id: String,
    /// Tokens of prompt and answer together.
    pub context_tokens: u32,
    /// Most tokens of one answer.
    pub answer_tokens_max: u32,
    /// Micro-dollars per million prompt tokens.
    pub input: u64,
    /// Micro-dollars per million prompt tokens that the provider had cached.
    pub cached_input: u64,
    /// Micro-dollars per million answer tokens.
    pub output: u64,
}

impl Model {
    /// What a call cost, rounded up to the micro-dollar.
    pub fn cost(&self, usage: TokenUsage) -> MicroUsd {
        let cached = usage.cached_tokens.min(usage.prompt_tokens);
        let per_million = u128::from(usage.prompt_tokens - cached) * u128::from(self.input)
            + u128::from(cached) * u128::from(self.cached_input)
            + u128::from(usage.completion_tokens) * u128::from(self.output);
        MicroUsd::new(u64::try_from(per_million.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

/// The price list is not one.
#[derive(Debug, thiserror::Error)]
#[error("the price list cannot be read")]
pub struct PriceListError(#[from] serde_json::Error);

/// The models that this deployment offers.
#[derive(Debug, Clone)]
pub struct Catalogue {
    default: Model,
    others: Vec<Model>,
}

#[derive(Deserialize)]
struct PriceList {
    unlisted: Model,
    models: Vec<Model>,
}

impl Catalogue {
    /// The models named in `offered` (ids separated by commas), or the offline one if it names none.
    ///
    /// # Errors
    /// [`PriceListError`] if the built-in price list is damaged.
    pub fn offering(offered: &str) -> Result<Self, PriceListError> {
        let list: PriceList = serde_json::from_str(include_str!("../../../infra/models.json"))?;
        let priced = |id: &str| {
            let listed = list.models.iter().find(|model| model.id == id);
            Model {
                id: id.to_owned(),
                ..listed.unwrap_or(&list.unlisted).clone()
            }
        };
        let mut models = offered
            .split(',')
            .map(str::trim)
            .filter(|id| !id.is_empty())
            .map(priced);
        let default = models.next().unwrap_or_else(|| priced(OFFLINE));
        Ok(Self {
            default,
            others: models.collect(),
        })
    }

    /// The model with that id, or the default for an empty one; none if it is not offered.
    pub fn find(&self, id: &str) -> Option<&Model> {
        if id.is_empty() {
            Some(&self.default)
        } else {
            self.models().find(|model| model.id == id)
        }
    }

    /// The model that answers where none is named.
    pub fn default_model(&self) -> &Model {
        &self.default
    }

    /// All of them, the default first.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        std::iter::once(&self.default).chain(&self.others)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usage(prompt_tokens: u32, cached_tokens: u32, completion_tokens: u32) -> TokenUsage {
        TokenUsage {
            prompt_tokens,
            cached_tokens,
            completion_tokens,
        }
    }

    fn model(id: &str) -> Model {
        Catalogue::offering(id).unwrap().find("").unwrap().clone()
    }

    #[test]
    fn a_cost_is_the_sum_of_its_kinds_rounded_up() {
        let consumed = usage(1_000, 400, 100);
        // 600 x 0.15 + 400 x 0.075 + 100 x 0.60 micro-dollars
        assert_eq!(model("gpt-4o-mini").cost(consumed), MicroUsd::new(180));
        let one = usage(1, 0, 0);
        assert_eq!(model("gpt-4o-mini").cost(one), MicroUsd::new(1));
    }

    #[test]
    fn without_a_name_the_offline_model_is_offered_and_it_is_free() {
        let offline = model("");
        assert_eq!(offline.id, OFFLINE);
        assert_eq!(offline.cost(usage(9, 0, 9)), MicroUsd::new(0));
    }

    #[test]
    fn an_unlisted_model_costs_at_least_as_much_as_any_listed_one() {
        let list: PriceList =
            serde_json::from_str(include_str!("../../../infra/models.json")).unwrap();
        for listed in &list.models {
            assert!(listed.input <= list.unlisted.input && listed.output <= list.unlisted.output);
            assert!(listed.cached_input <= listed.input, "{}", listed.id);
        }
    }

    proptest! {
        #[test]
        fn no_usage_overflows_and_more_tokens_never_cost_less(prompt: u32, cached: u32, completion: u32) {
            let model = model("some-model");
            let cost = model.cost(usage(prompt, cached, completion));
            let more = model.cost(usage(prompt, cached, completion.saturating_add(1)));
            prop_assert!(more >= cost);
        }
    }
}
