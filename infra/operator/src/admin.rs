//! `sparkle admin`: its words, and what they do.

use std::{fs, io::Write, path::PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use sparkle_aws::table::{accounts::Payer, policies::Spending};
use sparkle_core::{
    id::UserId,
    policy::{Allowance, Policy, Tier},
    price::Catalogue,
    profile::{Adjustment, DAILY_CAP_MAX, FLAME_LEVEL_MAX, Percent, UserContext},
    unit::MicroUsd,
};

use crate::{Desk, standing, user_id};

/// A decision, or what it rests on.
#[derive(Debug, Subcommand)]
pub enum Admin {
    /// Show what a learner may spend and has spent
    Show(Learner),
    /// Give a learner a tier, whatever their token says
    Tier {
        /// The learner's id
        #[arg(value_parser = user_id)]
        user: UserId,
        /// `token` goes back to what the token says
        tier: TierWord,
    },
    /// Give a learner limits of their own; `tier` in place of one goes back to that of the tier
    Limit(Limit),
    /// Show who a learner is, and set what they may not set themselves; no quota follows from it
    Profile(Known),
    /// Have no model asked for a learner; what runs is not cut short
    Suspend(Learner),
    /// Let a learner go on who was suspended
    Resume(Learner),
    /// What applies to all learners
    #[command(subcommand)]
    Policy(Document),
    /// Which models there are, which are offered, and what they cost
    #[command(subcommand)]
    Models(Document),
    /// Have no model asked for anybody, within 10 s
    Stop,
    /// Let everybody go on
    Start,
    /// Print all that is known of a learner, as JSON
    Export(Learner),
    /// Erase a learner for good: the ledger keeps tokens and money, without a name
    Erase(Learner),
}

/// Who is meant.
#[derive(Debug, Args)]
pub struct Learner {
    /// The learner's id
    #[arg(value_parser = user_id)]
    user: UserId,
}

/// A tier, or none of one's own.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum TierWord {
    Free,
    Pro,
    Token,
}

/// Limits of one learner.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("limits").required(true).multiple(true))]
pub struct Limit {
    /// The learner's id
    #[arg(value_parser = user_id)]
    user: UserId,
    /// Tokens a day
    #[arg(long, value_parser = tokens, value_name = "TOKENS", group = "limits")]
    day_tokens: Option<Own>,
    /// Tokens a month
    #[arg(long, value_parser = tokens, value_name = "TOKENS", group = "limits")]
    month_tokens: Option<Own>,
    /// Dollars a day, such as 2.50
    #[arg(long, value_parser = dollars, value_name = "DOLLARS", group = "limits")]
    day_usd: Option<Own>,
    /// Dollars a month
    #[arg(long, value_parser = dollars, value_name = "DOLLARS", group = "limits")]
    month_usd: Option<Own>,
}

/// What is known of one learner, and what of it is to be changed.
#[derive(Debug, Args)]
pub struct Known {
    /// The learner's id
    #[arg(value_parser = user_id)]
    user: UserId,
    /// From 3 on the app treats them as a pro
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(..=i64::from(FLAME_LEVEL_MAX)))]
    flame_level: Option<u32>,
    /// In percent
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    flame_brightness: Option<Percent>,
    /// So many times a day the app turns to them by itself
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(..=i64::from(DAILY_CAP_MAX)))]
    daily_cap: Option<u32>,
}

/// A limit of a learner's own, or that of the tier.
#[derive(Debug, Clone, Copy)]
struct Own(Option<u64>);

/// What is kept as JSON.
#[derive(Debug, Subcommand)]
pub enum Document {
    /// Print what applies, as JSON
    Show,
    /// Replace it: within 10 s another applies, without a deployment
    Set {
        /// A file of the form that `show` prints
        file: PathBuf,
    },
    /// Go back to what is deployed
    Unset,
}

impl<W: Write> Desk<'_, W> {
    pub(crate) async fn administer(
        &mut self,
        admin: Admin,
        pseudonym: &UserId,
    ) -> anyhow::Result<()> {
        let policies = &self.tables.policies;
        match admin {
            Admin::Show(Learner { user }) => self.show(&user).await,
            Admin::Tier { user, tier } => {
                let tier = match tier {
                    TierWord::Free => Some(Tier::Free),
                    TierWord::Pro => Some(Tier::Pro),
                    TierWord::Token => None,
                };
                self.allow(&user, |allowance| allowance.tier = tier).await
            }
            Admin::Limit(limit) => {
                self.allow(&limit.user, |allowance| limit.apply(allowance))
                    .await
            }
            Admin::Suspend(Learner { user }) => {
                self.suspend(&user).await?;
                self.show(&user).await
            }
            Admin::Resume(Learner { user }) => {
                self.tables.accounts.resume(&user).await?;
                self.show(&user).await
            }
            Admin::Profile(known) => self.profile(&known).await,
            Admin::Policy(document) => self.policy(document).await,
            Admin::Models(document) => self.models(document).await,
            Admin::Stop => {
                policies.switch(Spending::Stopped).await?;
                self.say("within 10 s no model is asked any more for anybody; `sparkle admin start` ends it")
            }
            Admin::Start => {
                policies.switch(Spending::Allowed).await?;
                self.say("within 10 s models are asked again")
            }
            Admin::Export(Learner { user }) => {
                let all = self.tables.export(&user, self.now).await?;
                self.say(&serde_json::to_string_pretty(&all)?)
            }
            Admin::Erase(Learner { user }) => self.erase(&user, pseudonym).await,
        }
    }

    async fn profile(&mut self, known: &Known) -> anyhow::Result<()> {
        let tables = self.tables;
        let adjustment = Adjustment {
            flame_level: known.flame_level,
            flame_brightness: known.flame_brightness,
            daily_cap: known.daily_cap,
        };
        let adjust = |context: &mut UserContext| context.adjust(&adjustment);
        let beside = (&tables.rates, &tables.accounts);
        let changing = tables
            .profiles
            .change(&known.user, adjust, beside, self.now);
        standing::write_profile(&changing.await?, self.out)
    }

    async fn policy(&mut self, document: Document) -> anyhow::Result<()> {
        let policies = &self.tables.policies;
        match document {
            Document::Show => {
                let policy = policies.decided().await?;
                self.say(&serde_json::to_string_pretty(&policy)?)
            }
            Document::Set { file } => {
                let (_json, policy) = read(&file, Policy::parse)?;
                policies.set(&policy).await?;
                self.say("within 10 s this policy applies")
            }
            Document::Unset => {
                policies.unset().await?;
                self.say("within 10 s the deployed policy applies")
            }
        }
    }

    async fn models(&mut self, document: Document) -> anyhow::Result<()> {
        let policies = &self.tables.policies;
        match document {
            Document::Show => {
                let json = policies.models().await?;
                self.say(json.trim_ascii_end())
            }
            Document::Set { file } => {
                let (json, list) = read(&file, |json| Catalogue::parse(json, ""))?;
                policies.set_models(&json).await?;
                self.say("within 10 s these models and prices apply:")?;
                standing::write_models(&list, self.now, self.out)
            }
            Document::Unset => {
                policies.unset_models().await?;
                self.say("within 10 s the deployed models and prices apply")
            }
        }
    }

    fn say(&mut self, words: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.out, "{words}")?)
    }

    async fn show(&mut self, user: &UserId) -> anyhow::Result<()> {
        let (accounts, policies) = (&self.tables.accounts, &self.tables.policies);
        // What the token says is in the token only.
        let tier = Tier::default();
        let account = accounts.standing(policies, user, tier, self.now).await?;
        standing::write_account(user, &account, self.out)
    }

    async fn allow(
        &mut self,
        user: &UserId,
        change: impl Fn(&mut Allowance),
    ) -> anyhow::Result<()> {
        let policy = self.tables.policies.current(self.now).await?;
        let payer = Payer {
            user_id: user,
            tier: Tier::default(),
            policy: &policy,
        };
        let accounts = &self.tables.accounts;
        accounts.set_allowance(payer, change, self.now).await?;
        self.show(user).await
    }

    pub(crate) async fn suspend(&self, user: &UserId) -> anyhow::Result<()> {
        let policy = self.tables.policies.current(self.now).await?;
        let payer = Payer {
            user_id: user,
            tier: Tier::default(),
            policy: &policy,
        };
        Ok(self.tables.accounts.suspend(payer, self.now).await?)
    }
}

/// A file's text, and what it means.
fn read<T, E>(
    file: &PathBuf,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> anyhow::Result<(String, T)>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let name = file.display();
    let json = fs::read_to_string(file).with_context(|| format!("{name} cannot be read"))?;
    let parsed = parse(&json).with_context(|| format!("{name} is not used"))?;
    Ok((json, parsed))
}

impl Limit {
    fn apply(&self, allowance: &mut Allowance) {
        for (given, kept) in [
            (self.day_tokens, &mut allowance.day_tokens),
            (self.month_tokens, &mut allowance.month_tokens),
            (self.day_usd, &mut allowance.day_money),
            (self.month_usd, &mut allowance.month_money),
        ] {
            if let Some(Own(limit)) = given {
                *kept = limit;
            }
        }
    }
}

fn percent(text: &str) -> Result<Percent, String> {
    let percent = text.parse().ok().and_then(Percent::new);
    percent.ok_or_else(|| "a whole number from 0 to 100".to_owned())
}

fn tokens(text: &str) -> Result<Own, String> {
    if text == "tier" {
        return Ok(Own(None));
    }
    let limit = text.parse().map(|limit| Own(Some(limit)));
    limit.map_err(|_other| "a whole number, or `tier`".to_owned())
}

fn dollars(text: &str) -> Result<Own, String> {
    if text == "tier" {
        return Ok(Own(None));
    }
    let limit = text.parse::<MicroUsd>();
    let limit = limit.map(|limit| Own(Some(limit.get())));
    limit.map_err(|error| format!("{error}, or `tier`"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{Command, CommandLine};

    fn limit(arguments: &[&str], mut allowance: Allowance) -> Allowance {
        let all = ["sparkle", "admin", "limit", "ann"].iter().chain(arguments);
        let Command::Admin(Admin::Limit(limit)) = CommandLine::parse_from(all).command else {
            panic!("another command");
        };
        limit.apply(&mut allowance);
        allowance
    }

    #[test]
    fn limits_that_are_not_named_stay_and_tier_takes_one_back() {
        let set = limit(
            &["--day-tokens", "5", "--month-usd", "2.50"],
            Allowance::default(),
        );
        let expected = Allowance {
            day_tokens: Some(5),
            month_money: Some(2_500_000),
            ..Allowance::default()
        };
        assert_eq!(set, expected);
        let back = limit(&["--day-tokens", "tier", "--day-usd", "0"], set);
        let limits = (back.day_tokens, back.day_money, back.month_money);
        assert_eq!(limits, (None, Some(0), Some(2_500_000)));
    }

    #[test]
    fn what_is_no_limit_no_learner_and_no_tier_is_refused() {
        for arguments in [
            &["admin", "limit", "ann"][..],
            &["admin", "limit", "ann", "--day-tokens", "-1"],
            &["admin", "limit", "ann", "--day-tokens", "many"],
            &["admin", "limit", "ann", "--day-usd", "1,5"],
            &["admin", "suspend", ""],
            &["admin", "tier", "ann", "gold"],
            &["admin", "profile", "ann", "--flame-level", "101"],
            &["admin", "profile", "ann", "--flame-brightness", "101"],
            &["admin", "profile", "ann", "--nickname", "Ann"],
            &["costs", "--days", "0"],
            &["costs", "--by", "hour"],
        ] {
            let all = ["sparkle"].iter().chain(arguments);
            assert!(CommandLine::try_parse_from(all).is_err(), "{arguments:?}");
        }
    }
}
