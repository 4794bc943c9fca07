//! Which models there are and what their tokens cost, when.
//!
//! The price list is data: `infra/models.json`, built in, or the one that operators have put in its place. A
//! price is valid from a day on, and where it says so until another; days are those of UTC. All arithmetic is in whole micro-dollars per million tokens and
//! rounds up, so that a cost is never below the bill by rounding.

use jiff::{civil::Date, tz::TimeZone};
use serde::{Deserialize, de::IgnoredAny};

use crate::id;
use crate::unit::{MicroUsd, Timestamp, TokenUsage};

/// The list that is built in, as JSON.
pub const BUILT_IN: &str = include_str!("../../../infra/models.json");
/// The model that needs no provider.
pub const OFFLINE: &str = "offline";

/// A model: its limits, and its prices at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What the provider calls it.
    pub id: String,
    /// Tokens of prompt and answer together.
    pub context_tokens: u32,
    /// Most tokens of one answer.
    pub answer_tokens_max: u32,
    /// Whether the price list has it; of any other model only the upper price is known.
    pub is_listed: bool,
    /// Micro-dollars per million prompt tokens.
    pub input: u64,
    /// Micro-dollars per million prompt tokens that the provider had cached.
    pub cached_input: u64,
    /// Micro-dollars per million answer tokens.
    pub output: u64,
}

/// No model takes or makes more tokens than this in a call.
const USAGE_TOKENS_MAX: u32 = 10_000_000;

impl Model {
    /// Whether a call can have consumed so much.
    pub fn can_consume(&self, usage: TokenUsage) -> bool {
        let most = if self.is_listed {
            self.context_tokens
        } else {
            USAGE_TOKENS_MAX
        };
        usage.prompt_tokens.max(usage.completion_tokens) <= most
            && usage.cached_tokens <= usage.prompt_tokens
    }

    /// What a call cost, rounded up to the micro-dollar.
    pub fn cost(&self, usage: TokenUsage) -> MicroUsd {
        let cached = usage.cached_tokens.min(usage.prompt_tokens);
        let per_million = u128::from(usage.prompt_tokens - cached) * u128::from(self.input)
            + u128::from(cached) * u128::from(self.cached_input)
            + u128::from(usage.completion_tokens) * u128::from(self.output);
        MicroUsd::new(u64::try_from(per_million.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

/// Why a price list is refused.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PriceListError {
    #[error("the price list cannot be read")]
    Unreadable(#[from] serde_json::Error),
    #[error("the price list has {model} twice")]
    Twice { model: String },
    #[error("{model:?} cannot name a model: 1 to 64 of A-Za-z0-9_-.:/@ can")]
    Name { model: String },
    #[error("{model} has no price")]
    Priceless { model: String },
    #[error("{model}: a price begins on {from} and ends on {until}, which is not later")]
    Empty {
        model: String,
        from: Date,
        until: Date,
    },
    #[error("{model} has no price from {from} until {until}")]
    Gap {
        model: String,
        from: Date,
        until: Date,
    },
    #[error("{model} has two prices from {from} on")]
    Overlap { model: String, from: Date },
    #[error("{model}: from {from} on a cached token costs more than one that is not")]
    CachedAboveInput { model: String, from: Date },
    #[error("{model}: from {from} on it costs more than a model that is not listed")]
    AboveUnlisted { model: String, from: Date },
    #[error("{model}: an answer has at least 1 token and fits into the context")]
    Answerless { model: String },
    #[error("{model} is offered, but it is not listed")]
    OfferedUnlisted { model: String },
}

/// A model with all its prices.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// What the provider calls it.
    pub id: String,
    context_tokens: u32,
    answer_tokens_max: u32,
    /// In the order of their days, none missing between the first and the last.
    prices: Vec<Price>,
    /// What it costs on days before the first price and after the last.
    #[serde(skip)]
    otherwise: Rate,
}

/// Micro-dollars per million tokens, on the days from `from` on and before `until`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    from: Date,
    until: Option<Date>,
    input: u64,
    cached_input: u64,
    output: u64,
}

impl Price {
    fn rate(&self) -> Rate {
        Rate {
            input: self.input,
            cached_input: self.cached_input,
            output: self.output,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
struct Rate {
    input: u64,
    cached_input: u64,
    output: u64,
}

impl Listed {
    /// The model as it is priced at a moment. A moment for which the list has no price has that of a model
    /// that is not listed, so that nothing is billed too low.
    pub fn at(&self, moment: Timestamp) -> Model {
        let day = day_of(moment);
        let is_valid = |price: &&Price| {
            day.is_some_and(|day| price.from <= day && price.until.is_none_or(|until| day < until))
        };
        let valid = self.prices.iter().find(is_valid);
        let rate = valid.map_or(self.otherwise, Price::rate);
        Model {
            id: self.id.clone(),
            context_tokens: self.context_tokens,
            answer_tokens_max: self.answer_tokens_max,
            is_listed: !self.prices.is_empty(),
            input: rate.input,
            cached_input: rate.cached_input,
            output: rate.output,
        }
    }

    /// Puts the prices in order and sees to it that each day between the first and the last has one.
    fn checked(mut self, unlisted: Rate) -> Result<Self, PriceListError> {
        let model = || self.id.clone();
        self.prices.sort_by_key(|price| price.from);
        if self.prices.is_empty() {
            return Err(PriceListError::Priceless { model: model() });
        }
        if self.answer_tokens_max == 0 || self.answer_tokens_max > self.context_tokens {
            return Err(PriceListError::Answerless { model: model() });
        }
        for price in &self.prices {
            let (&Price { from, until, .. }, rate) = (price, price.rate());
            if let Some(until) = until.filter(|&until| until <= from) {
                let model = model();
                return Err(PriceListError::Empty { model, from, until });
            }
            if rate.cached_input > rate.input {
                let model = model();
                return Err(PriceListError::CachedAboveInput { model, from });
            }
            if rate.input > unlisted.input
                || rate.cached_input > unlisted.cached_input
                || rate.output > unlisted.output
            {
                let model = model();
                return Err(PriceListError::AboveUnlisted { model, from });
            }
        }
        for (earlier, later) in self.prices.iter().zip(self.prices.iter().skip(1)) {
            let begins = later.from;
            match earlier.until {
                Some(ends) if ends == begins => {}
                Some(ends) if ends < begins => {
                    let (model, from, until) = (model(), ends, begins);
                    return Err(PriceListError::Gap { model, from, until });
                }
                _ => {
                    let (model, from) = (model(), begins);
                    return Err(PriceListError::Overlap { model, from });
                }
            }
        }
        self.otherwise = unlisted;
        Ok(self)
    }
}

/// The day of a moment in UTC; none outside of the years that calendars have.
fn day_of(moment: Timestamp) -> Option<Date> {
    let moment = jiff::Timestamp::from_millisecond(moment.unix_ms()).ok()?;
    Some(moment.to_zoned(TimeZone::UTC).date())
}

/// The models that this deployment offers, and what all cost.
#[derive(Debug, Clone)]
pub struct Catalogue {
    default: Listed,
    others: Vec<Listed>,
    list: PriceList,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceList {
    #[serde(default, rename = "comment")]
    _comment: IgnoredAny,
    unlisted: Unlisted,
    models: Vec<Listed>,
    /// Ids, the default first; empty: the deployment says it.
    #[serde(default)]
    offered: Vec<String>,
}

/// Above every price in the list, on every day.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Unlisted {
    context_tokens: u32,
    answer_tokens_max: u32,
    #[serde(flatten)]
    rate: Rate,
}

impl PriceList {
    fn parse(json: &str) -> Result<Self, PriceListError> {
        let mut list: Self = serde_json::from_str(json)?;
        let mut checked: Vec<Listed> = Vec::with_capacity(list.models.len());
        for listed in list.models {
            if checked.iter().any(|before| before.id == listed.id) {
                return Err(PriceListError::Twice { model: listed.id });
            }
            checked.push(listed.checked(list.unlisted.rate)?);
        }
        list.models = checked;
        let is_listed = |id: &&String| list.models.iter().any(|model| model.id == **id);
        if let Some(model) = list.offered.iter().find(|id| !is_listed(id)) {
            let model = model.clone();
            return Err(PriceListError::OfferedUnlisted { model });
        }
        Ok(list)
    }

    fn listed(&self, id: &str) -> Listed {
        let Unlisted {
            context_tokens,
            answer_tokens_max,
            rate,
        } = self.unlisted;
        let listed = self.models.iter().find(|model| model.id == id);
        listed.cloned().unwrap_or_else(|| Listed {
            id: id.to_owned(),
            context_tokens,
            answer_tokens_max,
            prices: Vec::new(),
            otherwise: rate,
        })
    }
}

impl Catalogue {
    /// By the list that is built in, `infra/models.json`: see [`Self::parse`].
    ///
    /// # Errors
    /// [`PriceListError`] if that file is damaged.
    pub fn offering(offered: &str) -> Result<Self, PriceListError> {
        Self::parse(BUILT_IN, offered)
    }

    /// Reads a price list from JSON of the form of `infra/models.json`. Offered are the models that the list
    /// names in `offered`; if it names none, those of `offered` here (ids separated by commas); else the offline
    /// one.
    ///
    /// # Errors
    /// [`PriceListError`] names what is wrong with which model, and on which day.
    pub fn parse(json: &str, offered: &str) -> Result<Self, PriceListError> {
        let list = PriceList::parse(json)?;
        let of_deployment = offered
            .split(',')
            .map(str::trim)
            .filter(|id| !id.is_empty() && list.offered.is_empty());
        let of_list = list.offered.iter().map(String::as_str);
        let ids: Vec<&str> = of_list.chain(of_deployment).collect();
        if let Some(id) = ids.iter().find(|id| !id::is_name(id)) {
            let model = (*id).to_owned();
            return Err(PriceListError::Name { model });
        }
        let mut models = ids.into_iter().map(|id| list.listed(id));
        let default = models.next().unwrap_or_else(|| list.listed(OFFLINE));
        let others = models.collect();
        Ok(Self {
            default,
            others,
            list,
        })
    }

    /// The model with that id, offered or not, listed or not.
    pub fn any(&self, id: &str) -> Listed {
        self.list.listed(id)
    }

    /// The model with that id, or the default for an empty one; none if it is not offered.
    pub fn find(&self, id: &str) -> Option<&Listed> {
        if id.is_empty() {
            Some(&self.default)
        } else {
            self.models().find(|model| model.id == id)
        }
    }

    /// All that the list holds, offered or not.
    pub fn listed(&self) -> &[Listed] {
        &self.list.models
    }

    /// Ids of the models that the list itself offers, the default first; none if it leaves that to the
    /// deployment.
    pub fn offered_by_list(&self) -> &[String] {
        &self.list.offered
    }

    /// The model that answers where none is named.
    pub fn default_model(&self) -> &Listed {
        &self.default
    }

    /// The model to which a call of such a usage costs least at a moment; of equals the first.
    pub fn cheapest(&self, usage: TokenUsage, moment: Timestamp) -> Model {
        let others = self.others.iter().map(|listed| listed.at(moment));
        others.fold(self.default.at(moment), |cheapest, model| {
            if model.cost(usage) < cheapest.cost(usage) {
                model
            } else {
                cheapest
            }
        })
    }

    /// All of them, the default first.
    pub fn models(&self) -> impl Iterator<Item = &Listed> {
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

    fn at(text: &str) -> Timestamp {
        let at: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_unix_ms(at.as_millisecond())
    }

    fn model(id: &str) -> Model {
        let catalogue = Catalogue::offering(id).unwrap();
        catalogue.default_model().at(at("2026-11-24T12:00:00Z"))
    }

    /// A list of one model whose prices are (from, until, input, cached input).
    fn list(prices: &[(&str, Option<&str>, u64, u64)]) -> Result<PriceList, PriceListError> {
        let prices: Vec<_> = prices
            .iter()
            .map(|&(from, until, input, cached_input)| {
                serde_json::json!({
                    "from": from, "until": until,
                    "input": input, "cached_input": cached_input, "output": 1,
                })
            })
            .collect();
        let limits = |more: serde_json::Value| {
            let mut all = serde_json::json!({ "context_tokens": 9, "answer_tokens_max": 9 });
            let members = more.as_object().unwrap().clone();
            all.as_object_mut().unwrap().extend(members);
            all
        };
        let list = serde_json::json!({
            "unlisted": limits(serde_json::json!({ "input": 1000, "cached_input": 1000, "output": 1000 })),
            "models": [limits(serde_json::json!({ "id": "m", "prices": prices }))],
        });
        PriceList::parse(&list.to_string())
    }

    fn refusal(prices: &[(&str, Option<&str>, u64, u64)]) -> String {
        list(prices).err().unwrap().to_string()
    }

    #[test]
    fn the_cheapest_is_so_for_what_is_consumed() {
        let cheapest = |offered: &str| {
            let catalogue = Catalogue::offering(offered).unwrap();
            let moment = at("2026-11-24T12:00:00Z");
            catalogue.cheapest(usage(2_048, 0, 512), moment).id
        };
        assert_eq!(cheapest("gpt-4.1,gpt-4o-mini,gpt-4.1-mini"), "gpt-4o-mini");
        assert_eq!(cheapest("gpt-4.1"), "gpt-4.1");
        assert_eq!(cheapest("unheard-of,gpt-4.1"), "gpt-4.1");
        assert_eq!(cheapest("unheard-of,another"), "unheard-of");
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
    fn a_call_is_priced_by_its_moment_and_days_begin_in_utc() {
        let list = list(&[
            ("2026-03-01", None, 30, 3),
            ("2026-01-01", Some("2026-03-01"), 20, 2),
        ])
        .unwrap();
        let input = |moment| list.listed("m").at(at(moment)).input;
        assert_eq!(input("2026-01-01T00:00:00Z"), 20);
        assert_eq!(input("2026-02-28T23:59:59.999Z"), 20);
        assert_eq!(input("2026-03-01T00:00:00Z"), 30);
        assert_eq!(input("2099-01-01T00:00:00Z"), 30);
        assert_eq!(input("2025-12-31T23:59:59.999Z"), 1_000, "as if unlisted");
    }

    #[test]
    fn a_price_that_ended_without_another_leaves_the_upper_price() {
        let list = list(&[("2026-01-01", Some("2026-02-01"), 20, 2)]).unwrap();
        let model = list.listed("m").at(at("2026-02-01T00:00:00Z"));
        assert_eq!((model.input, model.context_tokens), (1_000, 9));
    }

    #[test]
    fn a_list_that_is_wrong_is_refused_with_the_model_and_the_day() {
        let (first, until) = ("2026-01-01", Some("2026-03-01"));
        assert_eq!(
            refusal(&[(first, until, 1, 1), ("2026-03-02", None, 1, 1)]),
            "m has no price from 2026-03-01 until 2026-03-02"
        );
        assert_eq!(
            refusal(&[(first, until, 1, 1), ("2026-02-28", None, 1, 1)]),
            "m has two prices from 2026-02-28 on"
        );
        assert_eq!(
            refusal(&[(first, None, 1, 1), ("2026-02-28", None, 1, 1)]),
            "m has two prices from 2026-02-28 on"
        );
        assert_eq!(
            refusal(&[(first, None, 1, 2)]),
            "m: from 2026-01-01 on a cached token costs more than one that is not"
        );
        assert_eq!(
            refusal(&[(first, Some(first), 1, 1)]),
            "m: a price begins on 2026-01-01 and ends on 2026-01-01, which is not later"
        );
        assert_eq!(
            refusal(&[(first, None, 1_001, 1)]),
            "m: from 2026-01-01 on it costs more than a model that is not listed"
        );
        assert_eq!(refusal(&[]), "m has no price");
        assert_eq!(
            refusal(&[("2026-02-30", None, 1, 1)]),
            "the price list cannot be read"
        );
    }

    #[test]
    fn a_model_that_is_listed_twice_is_refused() {
        let one = r#"{"id":"m","context_tokens":1,"answer_tokens_max":1,
            "prices":[{"from":"2026-01-01","input":1,"cached_input":1,"output":1}]}"#;
        let twice = format!(
            r#"{{"unlisted":{{"context_tokens":1,"answer_tokens_max":1,
            "input":1,"cached_input":1,"output":1}},"models":[{one},{one}]}}"#
        );
        let refused = PriceList::parse(&twice).err().unwrap();
        assert_eq!(refused.to_string(), "the price list has m twice");
    }

    #[test]
    fn a_list_may_name_what_is_offered_and_otherwise_the_deployment_does() {
        let ids = |json: &str, offered| -> Vec<String> {
            let catalogue = Catalogue::parse(json, offered).unwrap();
            catalogue.models().map(|model| model.id.clone()).collect()
        };
        assert_eq!(ids(BUILT_IN, " gpt-4o, mine "), ["gpt-4o", "mine"]);
        assert_eq!(ids(BUILT_IN, ""), [OFFLINE]);
        let with = |more| BUILT_IN.replacen('{', more, 1);
        let naming = with(r#"{"offered": ["gpt-4.1", "gpt-4o"],"#);
        assert_eq!(ids(&naming, "mine"), ["gpt-4.1", "gpt-4o"]);
        let catalogue = Catalogue::parse(&naming, "mine").unwrap();
        assert_eq!(catalogue.find("mine"), None);
        assert_eq!(catalogue.any("offline").id, "offline");

        let refused = |more| Catalogue::parse(&with(more), "").err().unwrap().to_string();
        assert_eq!(
            refused(r#"{"offered": ["gpt-5o"],"#),
            "gpt-5o is offered, but it is not listed"
        );
        assert_eq!(
            refused(r#"{"offers": [],"#),
            "the price list cannot be read"
        );
    }

    #[test]
    fn what_is_unknown_or_leaves_no_answer_is_refused() {
        let list = |price: &str, answer: u32| {
            let json = format!(
                r#"{{"unlisted": {{"context_tokens": 1, "answer_tokens_max": 1,
                "input": 9, "cached_input": 9, "output": 9}}, "models": [{{"id": "m", "context_tokens": 5,
                "answer_tokens_max": {answer}, "prices": [{{"from": "2026-01-01", {price}
                "input": 1, "cached_input": 1, "output": 1}}]}}]}}"#
            );
            PriceList::parse(&json).map(|_list| ())
        };
        list("", 5).unwrap();
        list(r#""ends": "2026-02-01","#, 5).unwrap_err();
        for answer in [0, 6] {
            let refused = list("", answer).unwrap_err().to_string();
            assert_eq!(
                refused,
                "m: an answer has at least 1 token and fits into the context"
            );
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

        #[test]
        fn every_moment_has_one_price_that_is_no_more_than_the_upper_one(
            spans in prop::collection::vec(1..400_i64, 1..8),
            moment: i64,
        ) {
            // Prices that follow each other, each its own number, in any order of the file.
            let mut day: Date = "2020-01-01".parse().unwrap();
            let mut days = vec![day];
            for span in spans {
                day = day.checked_add(jiff::ToSpan::days(span)).unwrap();
                days.push(day);
            }
            let texts: Vec<String> = days.iter().map(ToString::to_string).collect();
            let mut prices: Vec<_> = texts
                .windows(2)
                .zip(1..)
                .map(|(pair, price)| (&*pair[0], Some(&*pair[1]), price, price))
                .collect();
            prices.reverse();
            let list = list(&prices).unwrap();
            let moment = Timestamp::from_unix_ms(moment % 4_000_000_000_000);
            let input = list.listed("m").at(moment).input;
            let began = |day: &&Date| **day <= day_of(moment).unwrap();
            let place = days.iter().filter(began).count();
            let expected = if place == 0 || place == days.len() { 1_000 } else { place as u64 };
            prop_assert_eq!(input, expected);
        }

        #[test]
        fn prices_that_leave_days_out_or_share_days_are_refused(
            first in 1..400_i64, shift in prop::sample::select(vec![-3_i64, -2, -1, 1, 2, 3]),
        ) {
            let from: Date = "2020-01-01".parse().unwrap();
            let until = from.checked_add(jiff::ToSpan::days(first + 3)).unwrap();
            let next = until.checked_add(jiff::ToSpan::days(shift)).unwrap();
            let (from, until, next) = (from.to_string(), until.to_string(), next.to_string());
            let refused = refusal(&[(&from, Some(&until), 1, 1), (&next, None, 1, 1)]);
            let said = if shift > 0 { "no price" } else { "two prices" };
            prop_assert!(refused.contains(said) && refused.contains(&next), "{}", refused);
        }
    }
}
