//! Laws of costs, and what is no price list.

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
