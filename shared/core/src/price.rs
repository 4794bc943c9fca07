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
mod tests;
