//! `sparkle`: starts the local cloud, and the commands that go with it.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use clap::Parser;
use sparkle_local::{
    chat::Chat,
    settings::{Command, CommandLine, Settings},
    stack::{self, Addresses},
    token::Mint,
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In one line, outermost first; a closed stderr is nobody to tell.
            drop(writeln!(std::io::stderr(), "sparkle: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let CommandLine { settings, command } = CommandLine::parse();
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        // A file or a pipe is read by programs.
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .with_env_filter(level)
        .init();
    // Another one is there already only if this were called twice.
    drop(rustls::crypto::ring::default_provider().install_default());

    let address = format!("127.0.0.1:{}", settings.port);
    match command {
        None => stack::run(settings.clone(), |addresses| announce(&settings, addresses)).await,
        Some(Command::Token { user, tier, ttl }) => {
            say(&Mint::open(&settings)?.token(&user, &tier, ttl)?.token);
            Ok(())
        }
        Some(Command::Chat {
            user,
            session,
            message,
        }) => {
            let message = Some(message.join(" ")).filter(|message| !message.is_empty());
            Chat::new(address, user, session).run(message).await
        }
        Some(Command::Invoke(request)) => request.send(&address).await,
        Some(Command::Admin(operation)) => operation.run("admin", &settings),
        Some(Command::Costs(operation)) => operation.run("costs", &settings),
        Some(Command::Cache(operation)) => operation.run("cache", &settings),
    }
}

fn announce(settings: &Settings, addresses: &Addresses) {
    if settings.json {
        say(&serde_json::to_string(addresses).unwrap_or_default());
        return;
    }
    let Addresses {
        ws,
        http,
        dynamodb,
        sqs,
        token,
        ..
    } = addresses;
    let kept = if settings.ephemeral {
        "in memory only".to_owned()
    } else {
        settings.data_dir.display().to_string()
    };
    say(&format!(
        "\nSparkle is ready. Ctrl-C stops it.\n\n\
         \x20 chat page   {http}/\n\
         \x20 WebSocket   {ws}\n\
         \x20 DynamoDB    {dynamodb}\n\
         \x20 SQS         {sqs}\n\
         \x20 data        {kept}\n\
         \x20 in a terminal: cargo run -- chat\n\n\
         \x20 token of \"learner\", valid for 24 h:\n\x20 {token}\n"
    ));
}

/// Writes a line; a closed stdout is nobody to tell.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
