//! An OpenAI-compatible provider for tests and for trying things by hand: it answers like the
//! offline model and does what scripts tell it to.
//!
//! `cargo run -p sparkle-llm --example scripted_provider -- --port 0` prints its base URL, fit for
//! `SPARKLE_LLM_BASE_URL`, and after Ctrl-C what it served. See `server.rs` for what it understands.

mod server;

use std::io::Write;

use anyhow::Context;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let port: u16 = match (args.next().as_deref(), args.next()) {
        (None, _) => 0,
        (Some("--port"), Some(port)) => port.parse().context("--port takes a number")?,
        _ => anyhow::bail!("usage: scripted_provider [--port PORT]"),
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let provider = server::ScriptedProvider::start(listener)?;
    writeln!(std::io::stdout(), "{}", provider.base_url())?;
    tokio::signal::ctrl_c()
        .await
        .context("cannot wait for Ctrl-C")?;
    writeln!(
        std::io::stdout(),
        "{}",
        serde_json::to_string(&provider.desk.stats())?
    )?;
    Ok(())
}
