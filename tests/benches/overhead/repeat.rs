//! A question that was answered before: how long its answer takes to come again, which no model is asked for.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use sparkle_tests::{
    Client,
    bench::{Stack, Store, against, percentile, report, say},
};
use tokio::time::{Instant, sleep};

use crate::{at_rest, model::Model, used};

/// One after the other.
const TIMES: u32 = 300;
/// Between them: a learner may send 50 frames a second.
const PAUSE: Duration = Duration::from_millis(25);
/// R-CACHE-1: end to end.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// R-CACHE-1: the goal for 99 of 100.
const WAIT_GOAL: Duration = Duration::from_millis(10);
/// Stands by itself, so that it is kept.
pub(crate) const QUESTION: &str = "什么是光合作用？";
/// Nothing of them is waited for, but it is paid for.
const FUNCTIONS: [&str; 2] = ["ws-message", "billing-worker"];

/// Prints the waits and the CPU of one learner's question, asked again and again in one conversation.
pub(crate) async fn measure(programs: &Path, model: &Model) -> Result<()> {
    say("\na repeated question, one at a time, answered by what was kept")?;
    for store in [Store::Memory, Store::File] {
        let stack = Stack::start(programs, store, Some(&model.base_url)).await?;
        let mut client = stack.connect("ann").await?;
        while ask(&mut client).await?.is_none() {}
        let before = at_rest(&stack).await?;
        let (mut texts, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            sleep(PAUSE).await;
            let (text, end) = ask(&mut client).await?.context("it was kept")?;
            texts.push(text);
            ends.push(end);
        }
        let after = at_rest(&stack).await?;
        say(&format!("store in {}", store.name()))?;
        report("frame to text", &texts, "")?;
        report("frame to done", &ends, "")?;
        for function in FUNCTIONS {
            let used = used(function, &before, &after) / TIMES;
            say(&format!("  {function:<14} {used:.2?} of CPU a message"))?;
        }
        for (what, percent, most) in [
            ("R-CACHE-1: under 50 ms end to end, p99", 99, WAIT_MAX),
            ("R-CACHE-1, goal: p99 under 10 ms", 99, WAIT_GOAL),
        ] {
            let figure = percentile(&ends, percent);
            against(what, &format!("{figure:.2?}"), figure < most)?;
        }
        stack.process.stop().await?;
    }
    Ok(())
}

/// How long it took from the frame to the first text and to the end; none if a model was asked.
async fn ask(client: &mut Client) -> Result<Option<(Duration, Duration)>> {
    let begun = Instant::now();
    let payload = json!({ "session_id": "s1", "message": QUESTION });
    client.request("chat", payload).await?;
    let mut text = None;
    loop {
        let frame = client.frame().await?;
        match frame["type"].as_str() {
            Some("delta") => text = text.or(Some(begun.elapsed())),
            Some("error") => bail!("a turn failed: {frame}"),
            Some("done") => {
                let end = begun.elapsed();
                let text = text.context("an answer without text")?;
                let level = frame["payload"]["cache"].as_str().unwrap_or_default();
                ensure!(level != "semantic", "{frame}");
                return Ok((level == "exact").then_some((text, end)));
            }
            _ => {}
        }
    }
}
