//! What the local cloud can be told: flags, their variables and defaults.

mod sockets;

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Parser, Subcommand};

pub use sockets::Sockets;

use crate::{invoke::Request, lambda::Share, operator::Operation};

/// Where DynamoDB is served unless another port is named.
pub const DYNAMODB_PORT: u16 = 8000;

/// Sparkle on your machine: every function, queue, table and route of template.yaml.
#[derive(Debug, Parser)]
#[command(
    name = "sparkle",
    version,
    about,
    args_conflicts_with_subcommands = false
)]
pub struct CommandLine {
    /// Flags of the stack.
    #[command(flatten)]
    pub settings: Settings,
    /// What to do; without a command the stack is started.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags of the stack.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Port of the WebSocket, the chat page and the Invoke API; 0 picks free ports for everything
    #[arg(long, env = "SPARKLE_PORT", default_value_t = 3000, global = true)]
    pub port: u16,
    /// Port of DynamoDB [default: 8000]
    #[arg(long, env = "SPARKLE_DYNAMODB_PORT", global = true)]
    pub dynamodb_port: Option<u16>,
    /// Use this DynamoDB instead of the built-in one
    #[arg(
        long,
        env = "SPARKLE_DYNAMODB_ENDPOINT",
        global = true,
        value_name = "URL"
    )]
    pub dynamodb_endpoint: Option<String>,
    /// Port of SQS [default: 9324]
    #[arg(long, env = "SPARKLE_SQS_PORT", global = true)]
    pub sqs_port: Option<u16>,
    /// Use this SQS instead of the built-in one; the template's queues are created there
    #[arg(long, env = "SPARKLE_SQS_ENDPOINT", global = true, value_name = "URL")]
    pub sqs_endpoint: Option<String>,
    /// Deliver this share of all queue messages twice, as SQS may: 0 to 1
    #[arg(
        long,
        env = "SPARKLE_DUPLICATES",
        default_value = "0",
        global = true,
        value_name = "SHARE"
    )]
    pub duplicates: Share,
    /// Hold this share of all queue messages back a little, so that others overtake them, as SQS may:
    /// 0 to 1. The order inside a FIFO queue's message group is kept
    #[arg(
        long,
        env = "SPARKLE_REORDER",
        default_value = "0",
        global = true,
        value_name = "SHARE"
    )]
    pub reorder: Share,
    /// Chooses what is left to chance, so that a run can be repeated
    #[arg(long, env = "SPARKLE_SEED", default_value_t = 0, global = true)]
    pub seed: u64,
    /// Where conversations, queues and the development secret are kept
    #[arg(
        long,
        env = "SPARKLE_DATA_DIR",
        default_value = ".sparkle",
        global = true
    )]
    pub data_dir: PathBuf,
    /// Keep nothing: everything lives in memory and ends with the process
    #[arg(long, global = true)]
    pub ephemeral: bool,
    /// Inject the faults of this file between the functions and the services; see infra/local/src/fault.rs
    #[arg(long, env = "SPARKLE_FAULT", global = true, value_name = "FILE")]
    pub fault: Option<PathBuf>,
    /// Rebuild the functions when their sources change, and run what was built
    #[arg(long, global = true)]
    pub watch: bool,
    /// The template; looked for in this directory and above
    #[arg(long, default_value = "template.yaml", global = true)]
    pub template: PathBuf,
    /// Print one JSON object on stdout once everything is ready, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Key of HS256 tokens [default: random, kept in the data directory]
    #[arg(
        long,
        env = "SPARKLE_JWT_SECRET",
        hide_env_values = true,
        global = true
    )]
    pub jwt_secret: Option<String>,
    /// What tokens must name as their issuer
    #[arg(
        long,
        env = "SPARKLE_JWT_ISSUER",
        default_value = "sparkle-local",
        global = true
    )]
    pub jwt_issuer: String,
    /// What tokens must name as their audience
    #[arg(
        long,
        env = "SPARKLE_JWT_AUDIENCE",
        default_value = "sparkle",
        global = true
    )]
    pub jwt_audience: String,
    /// Flags of the gateway.
    #[command(flatten)]
    pub sockets: Sockets,
}

/// What to do besides starting the stack.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print a development token
    Token {
        /// The learner's id
        #[arg(long, default_value = "learner")]
        user: String,
        /// The learner's tier
        #[arg(long, default_value = "free", value_parser = ["free", "pro"])]
        tier: String,
        /// How long it is valid: a number and s, m, h or d
        #[arg(long, default_value = "24h", value_parser = span_seconds)]
        ttl: u64,
    },
    /// Chat in the terminal with a running stack
    Chat {
        /// The learner's id
        #[arg(long, default_value = "learner")]
        user: String,
        /// Go on with this conversation
        #[arg(long)]
        session: Option<String>,
        /// Say this and leave; without it, say what is typed
        message: Vec<String>,
    },
    /// Invoke a function of a running stack once
    Invoke(Request),
    /// Decide what learners may spend; show or erase what is known of one
    Admin(Operation),
    /// Show what was spent, by day, learner and model
    Costs(Operation),
    /// Show or remove the answers that are kept for who asks the same
    Cache(Operation),
}

/// How long a token is valid: whole seconds.
fn span_seconds(text: &str) -> Result<u64, String> {
    match sockets::span(text)?.as_secs() {
        0 => Err(format!("{text} is less than a second")),
        seconds => Ok(seconds),
    }
}

/// Variables of the shell that functions see: those of Sparkle, the log level and whom TLS trusts.
pub fn shell_environment() -> BTreeMap<String, String> {
    let is_for_functions =
        |name: &str| name.starts_with("SPARKLE_") || matches!(name, "RUST_LOG" | "SSL_CERT_FILE");
    std::env::vars()
        .filter(|(name, _)| is_for_functions(name))
        .collect()
}

/// Variables with which cargo tells a program what package it is of.
pub fn cargo_variables() -> impl Iterator<Item = String> {
    let of_package = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_CRATE_",
        "CARGO_BIN_",
    ];
    let names = std::env::vars().map(|(name, _)| name);
    names.filter(move |name| of_package.iter().any(|prefix| name.starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_for_whole_seconds() {
        assert_eq!(span_seconds("90s"), Ok(90));
        assert_eq!(span_seconds("24h"), Ok(86_400));
        for bad in ["", "h", "10", "-1h", "0s", "500ms", "99999999999999999999d"] {
            assert!(span_seconds(bad).is_err(), "{bad}");
        }
    }
}
