//! Functions that do what no function should: each is named, and nothing else suffers.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sparkle_local::{
    lambda::{Executable, InvokeError, Lambda},
    metrics::Metrics,
};

use crate::stack::{echo, eventually, invoke, pid, start, start_hurried, state};

/// The echo function with a variable that spoils its start.
fn spoiled(variable: &str, value: &str) -> Result<Executable> {
    let mut executable = echo(Duration::from_secs(1))?;
    let (variable, value) = (variable.to_owned(), value.to_owned());
    executable.environment.insert(variable, value);
    Ok(executable)
}

#[tokio::test]
async fn whatever_keeps_a_function_from_starting_is_said() -> Result<()> {
    for (init, expected_reason, expected_log) in [
        (
            "error",
            "exited with error: exit status 1",
            "ECHO_INIT says so",
        ),
        ("panic", "exited with error: exit status 101", "panicked"),
        ("exit", "exited without providing a reason", ""),
        ("hang", "has not asked for an event within 2 s", ""),
        ("leak", "out of memory", ""),
        ("report", "Extension.SaidSo", ""),
    ] {
        let lambda = start_hurried(spoiled("ECHO_INIT", init)?).await?;
        let error = invoke(&lambda, json!({})).await.err();
        let Some(InvokeError::InitFailed { reason, log, .. }) = &error else {
            anyhow::bail!("{init}: {error:?}")
        };
        assert!(reason.contains(expected_reason), "{init}: {reason}");
        assert!(log.contains(expected_log), "{init}: {log}");
        lambda.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_function_that_starts_slowly_is_given_its_timeout_the_second_time() -> Result<()> {
    let mut executable = echo(Duration::from_secs(20))?;
    let variable = ("ECHO_INIT".to_owned(), "slow".to_owned());
    executable.environment.extend([variable]);
    let lambda = start_hurried(executable).await?;
    pid(&invoke(&lambda, json!({})).await?)?;
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn one_that_does_not_start_does_not_keep_others_from_starting() -> Result<()> {
    let mut broken = spoiled("ECHO_INIT", "exit")?;
    broken.function.name = "broken".to_owned();
    let executables = vec![broken, echo(Duration::from_secs(20))?];
    let lambda = Lambda::start(executables, Metrics::default()).await?;
    pid(&invoke(&lambda, json!({})).await?)?;
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_function_that_uses_more_memory_than_it_has_is_killed() -> Result<()> {
    let lambda = start(echo(Duration::from_secs(30))?).await?;
    let first = pid(&invoke(&lambda, json!({})).await?)?;
    let error = invoke(&lambda, json!({"do": "leak"})).await.err();
    let error = error.context("it got away with it")?;
    let InvokeError::OutOfMemory {
        memory_mb: 128,
        used_mb,
        ..
    } = &error
    else {
        anyhow::bail!("{error}")
    };
    assert!(*used_mb > 128, "{used_mb} MB");
    let payload: Value = serde_json::from_slice(&error.payload().context("no payload")?)?;
    assert_eq!(payload["errorType"], "Runtime.OutOfMemory");
    let message = payload["errorMessage"].as_str().unwrap_or_default();
    assert!(
        message.ends_with("Error: Runtime exited with error: signal: killed"),
        "{message}"
    );
    eventually("the process is gone", || state(first).is_none()).await?;
    assert_ne!(pid(&invoke(&lambda, json!({})).await?)?, first);
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_function_that_ignores_its_end_is_killed() -> Result<()> {
    let lambda = start(spoiled("ECHO_TERM", "ignore")?).await?;
    let process = pid(&invoke(&lambda, json!({})).await?)?;
    lambda.shutdown().await;
    assert_eq!(state(process), None, "the process is still there");
    Ok(())
}

#[tokio::test]
async fn a_flood_in_the_log_delays_nobody_and_is_not_kept() -> Result<()> {
    let lambda = start(echo(Duration::from_mins(1))?).await?;
    // 100 MB, of which 1 MB is shown; a line without an end among them.
    let event = json!({"do": "flood", "lines": 1000, "bytes": 100_000});
    assert_eq!(invoke(&lambda, event).await?["written"], 100_000_000);
    let event = json!({"do": "flood", "lines": 1, "bytes": 20_000_000});
    assert_eq!(invoke(&lambda, event).await?["written"], 20_000_000);
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak_kb = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let peak_kb = peak_kb.context("no peak")?;
    assert!(peak_kb < 400_000, "this process has had {peak_kb} kB");
    pid(&invoke(&lambda, json!({})).await?)?;
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn nonsense_to_the_runtime_api_hurts_nobody() -> Result<()> {
    let lambda = start(echo(Duration::from_secs(30))?).await?;
    let first = pid(&invoke(&lambda, json!({})).await?)?;
    let answers = invoke(&lambda, json!({"do": "garbage"})).await?;
    for (what, status) in [
        ("nonsense", 400),
        ("no_such_path", 404),
        ("no_such_method", 405),
        ("no_such_request", 400),
        ("next_before_answer", 403),
    ] {
        assert_eq!(answers[what], status, "{what}: {answers}");
    }
    assert_eq!(pid(&invoke(&lambda, json!({})).await?)?, first);
    lambda.shutdown().await;
    Ok(())
}
