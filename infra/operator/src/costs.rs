//! What was spent, as a table: what the models cost by the ledger, and the platform by estimate.

use std::{collections::BTreeMap, io::Write};

use clap::{Args, ValueEnum};
use sparkle_aws::table::ledger::Ledger;
use sparkle_core::{
    id::{SessionId, UserId},
    ledger::Call,
    platform::Platform,
    quota::window,
    unit::{MicroUsd, Timestamp, grouped},
};

use crate::{
    grid::{Grid, money},
    user_id,
};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What to show of what was spent.
#[derive(Debug, Args)]
pub struct Costs {
    /// So many days of UTC, today included
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=400))]
    days: u32,
    /// Of this learner only
    #[arg(long, value_parser = user_id)]
    user: Option<UserId>,
    /// What has a row of its own, in this order
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "day,user,model"
    )]
    by: Vec<By>,
}

/// What calls have in common that are one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// The month of UTC
    Month,
    /// The day of UTC
    Day,
    /// The learner
    User,
    /// The conversation
    Session,
    /// The model
    Model,
    /// What the model was asked for
    Purpose,
}

impl By {
    fn head(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Day => "day",
            Self::User => "user",
            Self::Session => "session",
            Self::Model => "model",
            Self::Purpose => "purpose",
        }
    }

    fn of(self, call: &Call) -> String {
        let day = || window::date("UTC", call.settled_at);
        match self {
            Self::Month => {
                let mut month = day();
                month.truncate(month.rfind('-').unwrap_or(0));
                month
            }
            Self::Day => day(),
            Self::User => call.user_id.to_string(),
            Self::Session => {
                let session = call.session_id.as_ref();
                session.map_or("-", SessionId::as_str).to_owned()
            }
            Self::Model => call.model.clone(),
            Self::Purpose => call.purpose.as_str().to_owned(),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    calls: u64,
    estimated: u64,
    input_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    model: MicroUsd,
    platform: Platform,
}

const FIGURES: [&str; 8] = [
    "calls",
    "estimated",
    "input",
    "cached",
    "output",
    "model cost",
    "platform cost",
    "together",
];

impl Sums {
    fn add(&mut self, call: &Call) {
        let tokens = call.tokens;
        self.plus(&Self {
            calls: 1,
            estimated: call.estimated.into(),
            input_tokens: tokens.prompt_tokens.into(),
            cached_tokens: tokens.cached_tokens.into(),
            output_tokens: tokens.completion_tokens.into(),
            model: call.cost.unwrap_or_default(),
            // What others call and only bill here takes nothing of this platform that is worth a figure.
            platform: if call.source.is_empty() {
                Platform::of_call(call.purpose, tokens.completion_tokens)
            } else {
                Platform::default()
            },
        });
    }

    fn plus(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.estimated = self.estimated.saturating_add(other.estimated);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.model = self.model.plus(other.model);
        self.platform = self.platform.plus(other.platform);
    }

    fn cells(&self) -> [String; FIGURES.len()] {
        let platform = self.platform.cost();
        [
            grouped(self.calls),
            grouped(self.estimated),
            grouped(self.input_tokens),
            grouped(self.cached_tokens),
            grouped(self.output_tokens),
            money(self.model),
            money(platform),
            money(self.model.plus(platform)),
        ]
    }
}

/// Prints the calls of the last days of UTC. Cost: see [`Ledger::lines`].
pub(crate) async fn print(
    ledger: &Ledger,
    costs: &Costs,
    now: Timestamp,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let today_ms = now.unix_ms().div_euclid(DAY_MS).saturating_mul(DAY_MS);
    let since_ms = today_ms.saturating_sub((i64::from(costs.days) - 1).saturating_mul(DAY_MS));
    let since = Timestamp::from_unix_ms(since_ms);
    let mut groups: BTreeMap<Vec<String>, Sums> = BTreeMap::new();
    let line = |call: &Call| {
        let group = costs.by.iter().map(|by| by.of(call)).collect();
        groups.entry(group).or_default().add(call);
    };
    ledger.lines(costs.user.as_ref(), since, line).await?;
    let first = window::date("UTC", since);
    write(&groups, &costs.by, &first, out)?;
    Ok(())
}

fn write(
    groups: &BTreeMap<Vec<String>, Sums>,
    by: &[By],
    first: &str,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let heads = by.iter().map(|by| by.head());
    let mut grid = Grid::new(by.len(), heads.chain(FIGURES));
    let mut all = Sums::default();
    for (group, sums) in groups {
        grid.row(group.iter().cloned().chain(sums.cells()));
        all.plus(sums);
    }
    let names = by.iter().enumerate().map(|(column, _)| match column {
        0 => "total".to_owned(),
        _ => String::new(),
    });
    grid.row(names.chain(all.cells()));
    grid.write(out)?;

    let part = |nano_usd: u64| money(MicroUsd::new(nano_usd.div_ceil(1_000)));
    let Platform {
        messages_nano_usd,
        lambda_nano_usd,
        dynamodb_nano_usd,
        sqs_nano_usd,
    } = all.platform;
    writeln!(
        out,
        "\nFrom {first} on, in days of UTC. Input, cached (a part of it) and output are tokens; `estimated` are \
         calls whose provider sent no count.\nThe platform's cost is an estimate: messages {}, Lambda {}, \
         DynamoDB {}, SQS {}.",
        part(messages_nano_usd),
        part(lambda_nano_usd),
        part(dynamodb_nano_usd),
        part(sqs_nano_usd)
    )
}
