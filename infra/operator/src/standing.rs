//! How things stand, for an operator to read: a learner's account and profile, the models that are offered.

use std::io::Write;

use sparkle_core::{
    id::UserId,
    price::Catalogue,
    profile::{Analytics, Percent, UserContext},
    quota::{Account, Fund, window},
    unit::{MicroUsd, Timestamp, grouped},
};

use crate::grid::{Grid, money};

/// Prints what a learner may spend and has spent in the windows that run.
pub(crate) fn write_account(
    user: &UserId,
    account: &Account,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let allowance = account.allowance;
    let tier = match allowance.tier {
        Some(tier) => format!("tier {}, by an operator", tier.as_str()),
        // Nothing but the token says more.
        None => "the tier of their token; limits of the free one are shown".to_owned(),
    };
    let mut said = vec![tier];
    if account.is_suspended {
        said.push("suspended: no model is asked".to_owned());
    }
    if account.is_stopped {
        said.push("all spending is stopped".to_owned());
    }
    if !account.holds.is_empty() {
        said.push(format!("{} calls held", account.holds.len()));
    }
    writeln!(out, "{user}: {}", said.join("; "))?;
    let mut grid = Grid::new(1, ["", "limit", "used", "held", "left", "", ""]);
    let (day, month) = (&account.day, &account.month);
    let plain: fn(u64) -> String = grouped;
    let dollars: fn(u64) -> String = |micro_usd| money(MicroUsd::new(micro_usd));
    for (window, unit, fund, own, shown) in [
        (day, "tokens", day.tokens, allowance.day_tokens, plain),
        (day, "money", day.money, allowance.day_money, dollars),
        (month, "tokens", month.tokens, allowance.month_tokens, plain),
        (month, "money", month.money, allowance.month_money, dollars),
    ] {
        let Fund { limit, used, held } = fund;
        let figures = [limit, used, held, fund.left()].map(shown);
        let ends = window::clock(&account.zone, window.ends_at);
        let name = std::iter::once(format!("{} {unit}", window.name));
        let rest = [
            format!("until {ends}"),
            own.map_or_else(String::new, |_limit| "by an operator".to_owned()),
        ];
        grid.row(name.chain(figures).chain(rest));
    }
    grid.write(out)?;
    Ok(writeln!(out, "in the time zone {}", account.zone)?)
}

/// Prints who a learner is and how they like to be taught.
pub(crate) fn write_profile(context: &UserContext, out: &mut impl Write) -> anyhow::Result<()> {
    let analytics = Analytics::of(context);
    let preferences = &context.preferences;
    let slots: Vec<String> = context
        .active_slots
        .iter()
        .map(ToString::to_string)
        .collect();
    let is_pro = if context.is_pro() { "yes" } else { "no" };
    writeln!(
        out,
        "{}: version {} of the profile",
        context.user_id, context.version
    )?;
    let percent = |percent: Percent| format!("{} %", percent.get());
    let mut grid = Grid::new(2, ["", ""]);
    for (name, value) in [
        ("nickname", context.nickname.clone()),
        ("time zone", context.timezone.clone()),
        ("language", context.language.clone()),
        ("persona", context.persona_type.clone()),
        ("depth", percent(preferences.depth)),
        ("curiosity", percent(preferences.curiosity)),
        ("active slots", slots.join(", ")),
        ("daily cap", context.daily_cap.to_string()),
        ("flame level", preferences.flame_level.to_string()),
        ("flame brightness", percent(preferences.flame_brightness)),
        ("pro in the app", is_pro.to_owned()),
        ("engagement", analytics.engagement_level.as_str().to_owned()),
        ("came by", context.registration_source.clone()),
    ] {
        grid.row([name.to_owned(), value]);
    }
    Ok(grid.write(out)?)
}

/// Prints the models that a list offers, at the prices of a moment.
pub(crate) fn write_models(
    list: &Catalogue,
    now: Timestamp,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let head = [
        "model", "", "context", "answer", "input", "cached", "output",
    ];
    let mut grid = Grid::new(2, head);
    let offered = list.offered_by_list();
    for listed in list.listed() {
        let model = listed.at(now);
        let place = match offered.iter().position(|id| *id == model.id) {
            Some(0) => "the default",
            Some(_) => "offered",
            None => "",
        };
        let tokens = [model.context_tokens, model.answer_tokens_max];
        let prices = [model.input, model.cached_input, model.output];
        let names = [model.id, place.to_owned()];
        let prices = prices.map(|price| money(MicroUsd::new(price)));
        grid.row(
            names
                .into_iter()
                .chain(tokens.map(|tokens| grouped(tokens.into())))
                .chain(prices),
        );
    }
    grid.write(out)?;
    writeln!(
        out,
        "context and answer in tokens; today's dollars for a million tokens"
    )?;
    if offered.is_empty() {
        writeln!(
            out,
            "offered are those that the deployment names (SPARKLE_LLM_MODEL)"
        )?;
    }
    Ok(())
}
