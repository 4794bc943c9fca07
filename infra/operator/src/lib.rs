//! What an operator does: `sparkle admin` decides what learners may spend, shows and erases what is known of
//! one; `sparkle costs` shows what was spent; `sparkle cache` shows the answers that are kept, and removes them.
//!
//! Who runs it needs AWS credentials that may use the tables; nothing else says who an operator is. Credentials,
//! region and the tables' names come from the environment (`sparkle_aws::config`); for a local stack `sparkle`
//! sets them.

mod admin;
mod cache;
mod costs;
mod erase;
mod grid;
mod standing;
mod tables;

use std::io::Write;

use clap::{Parser, Subcommand};
use sparkle_aws::boot::Aws;
use sparkle_core::{id::UserId, unit::Timestamp};

pub use admin::Admin;
pub use cache::Cache;
pub use costs::Costs;
use tables::Tables;

/// Decides and shows what Sparkle's learners may spend and have spent.
#[derive(Debug, Parser)]
#[command(name = "sparkle", version, about)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Decide what learners may spend; show or erase what is known of one
    #[command(subcommand)]
    Admin(Admin),
    /// What was spent, by day, learner and model, or otherwise
    Costs(Costs),
    /// Show or remove the answers that are kept for who asks the same
    #[command(subcommand)]
    Cache(Cache),
}

/// What a command needs beside its words.
#[derive(Debug)]
struct Desk<'a, W> {
    tables: &'a Tables,
    now: Timestamp,
    out: &'a mut W,
}

/// Does what is asked, and says on `out` what came of it. `pseudonym` is what an erased learner is called.
///
/// # Errors
/// What could not be done, and what to do about it.
pub async fn run(
    aws: &Aws,
    command: Command,
    pseudonym: &UserId,
    now: Timestamp,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let tables = &Tables::open(aws)?;
    match command {
        Command::Admin(admin) => Desk { tables, now, out }.administer(admin, pseudonym).await,
        Command::Costs(costs) => costs::print(&tables.ledger, &costs, now, out).await,
        Command::Cache(cache) => cache::run(&tables.answers, cache, now, out).await,
    }
}

fn user_id(text: &str) -> Result<UserId, String> {
    let wanted = "a learner's id has 1 to 128 bytes and no control characters";
    UserId::parse(text).map_err(|_invalid| wanted.to_owned())
}
