//! Items of the table as accounts, and back.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use sparkle_core::{
    id::CallId,
    policy::Allowance,
    quota::{Account, Amount, Fund, Hold, Window},
    unit::{MicroUsd, Timestamp},
};

use super::Stored;
use crate::table::{Item, TableError, number, number_of, text, text_of};

pub(super) fn stored(item: Option<&Item>) -> Result<Stored, TableError> {
    Ok(Stored {
        account: item.map(account).transpose()?,
        windows: item.map(window_names).unwrap_or_default(),
        closings: item.map_or(Ok(0), |item| number_of(item, "closings"))?,
    })
}

fn account(item: &Item) -> Result<Account, TableError> {
    let windows = map_of(item, "windows")?;
    let running = |kind| {
        let name = text_of(item, kind)?;
        window_of(
            name,
            map_of(windows, name).map_err(|_absent| TableError::Corrupt(kind))?,
        )
    };
    let allowance = match item.get("allowance").and_then(|json| json.as_s().ok()) {
        Some(json) => {
            serde_json::from_str(json).map_err(|_damaged| TableError::Corrupt("allowance"))?
        }
        None => Allowance::default(),
    };
    let mut holds = BTreeMap::new();
    for (call, hold) in map_of(item, "holds")? {
        let call = CallId::parse(call.as_str()).map_err(|_damaged| TableError::Corrupt("holds"))?;
        let hold = hold.as_m().map_err(|_other| TableError::Corrupt("holds"))?;
        holds.insert(call, hold_of(hold)?);
    }
    Ok(Account {
        zone: text_of(item, "zone")?.to_owned(),
        day_zone: text_of(item, "day_zone")?.to_owned(),
        day: running("day")?,
        month: running("month")?,
        allowance,
        is_suspended: item.contains_key("suspended"),
        is_stopped: false,
        holds,
    })
}

fn window_names(item: &Item) -> Vec<String> {
    let windows = map_of(item, "windows");
    windows
        .map(|windows| windows.keys().cloned().collect())
        .unwrap_or_default()
}

pub(super) fn of_window(window: &Window) -> AttributeValue {
    let Window { tokens, money, .. } = *window;
    let left = |fund: Fund| i128::from(fund.limit) - i128::from(fund.used) - i128::from(fund.held);
    let numbers = [
        ("ends_at", i128::from(window.ends_at.unix_ms())),
        ("tokens_limit", tokens.limit.into()),
        ("tokens_used", tokens.used.into()),
        ("tokens_held", tokens.held.into()),
        ("tokens_left", left(tokens)),
        ("money_limit", money.limit.into()),
        ("money_used", money.used.into()),
        ("money_held", money.held.into()),
        ("money_left", left(money)),
    ];
    let numbers = numbers.map(|(name, amount)| (name.to_owned(), number(amount)));
    AttributeValue::M(HashMap::from(numbers))
}

fn window_of(name: &str, map: &Item) -> Result<Window, TableError> {
    Ok(Window {
        name: name.to_owned(),
        ends_at: Timestamp::from_unix_ms(number_of(map, "ends_at")?),
        tokens: Fund {
            limit: number_of(map, "tokens_limit")?,
            used: number_of(map, "tokens_used")?,
            held: number_of(map, "tokens_held")?,
        },
        money: Fund {
            limit: number_of(map, "money_limit")?,
            used: number_of(map, "money_used")?,
            held: number_of(map, "money_held")?,
        },
    })
}

/// A hold as it is written.
pub(super) fn of_hold(hold: &Hold) -> AttributeValue {
    AttributeValue::M(HashMap::from([
        ("tokens".to_owned(), number(hold.amount.tokens)),
        ("money".to_owned(), number(hold.amount.money.get())),
        ("day".to_owned(), text(&hold.day)),
        ("month".to_owned(), text(&hold.month)),
    ]))
}

fn hold_of(map: &Item) -> Result<Hold, TableError> {
    Ok(Hold {
        amount: Amount {
            tokens: number_of(map, "tokens")?,
            money: MicroUsd::new(number_of(map, "money")?),
        },
        day: text_of(map, "day")?.to_owned(),
        month: text_of(map, "month")?.to_owned(),
    })
}

fn map_of<'a>(item: &'a Item, name: &str) -> Result<&'a Item, TableError> {
    let value = item.get(name).and_then(|value| value.as_m().ok());
    value.ok_or(TableError::Corrupt("windows or holds"))
}
