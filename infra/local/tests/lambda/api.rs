//! The Invoke API, as the AWS SDKs and the AWS CLI speak it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use sparkle_local::template::AsyncRetries;

use crate::stack::{Folder, echo, eventually, lines, post, start, start_hurried};

#[tokio::test]
async fn the_invoke_api_answers_as_lambda_does() -> Result<()> {
    let lambda = start(echo(Duration::from_secs(20))?).await?;
    let arn = "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Aecho%3Alive";
    for name in ["echo", "echo:live", arn] {
        let path = format!("{name}/invocations");
        let trace = "x-amzn-trace-id: Root=1-2-3\r\n";
        let (status, answer) = post(&lambda, &path, trace, br#"{"a":1}"#).await?;
        assert_eq!(status, 200, "{answer}");
        assert!(answer.contains(r#""event":{"a":1}"#), "{answer}");
        assert!(answer.contains("Root=1-2-3"), "{answer}");
        assert!(!answer.contains("x-amz-function-error"), "{answer}");
    }
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes();
    let (large, too_large) = (text(1_048_577), text(6_291_457));
    let asynchronous = "x-amz-invocation-type: Event\r\n";
    for (path, headers, body, expected) in [
        (
            "echo",
            "",
            &br#"{"do":"fail"}"#[..],
            (200, "x-amz-function-error: Unhandled"),
        ),
        ("echo", asynchronous, b"{}", (202, "x-amzn-requestid")),
        (
            "echo",
            asynchronous,
            &large,
            (413, "RequestTooLargeException"),
        ),
        (
            "echo",
            "x-amz-invocation-type: DryRun\r\n",
            b"{}",
            (204, "x-amzn-requestid"),
        ),
        (
            "echo",
            "x-amz-invocation-type: Odd\r\n",
            b"{}",
            (400, "InvalidParameterValue"),
        ),
        ("echo", "", &large, (200, "xxx")),
        ("echo", "", b"{", (400, "InvalidRequestContentException")),
        ("echo", "", &too_large, (413, "RequestTooLargeException")),
        (
            "gone",
            "",
            b"{}",
            (404, "x-amzn-errortype: ResourceNotFoundException"),
        ),
    ] {
        let (status, answer) = post(&lambda, &format!("{path}/invocations"), headers, body).await?;
        assert_eq!(status, expected.0, "{answer}");
        assert!(
            answer.contains(expected.1),
            "{} is not in {answer}",
            expected.1
        );
    }
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn the_end_of_the_log_comes_with_the_answer_to_whoever_asks() -> Result<()> {
    let lambda = start(echo(Duration::from_secs(20))?).await?;
    let tail = "x-amz-log-type: Tail\r\n";
    let event = json!({"do": "print", "line": "from the function"}).to_string();
    for (headers, expected) in [(tail, true), ("", false), (tail, true)] {
        let (status, answer) = post(&lambda, "echo/invocations", headers, event.as_bytes()).await?;
        assert_eq!(status, 200, "{answer}");
        let log = answer
            .lines()
            .find_map(|line| line.strip_prefix("x-amz-log-result: "));
        assert_eq!(log.is_some(), expected, "{answer}");
        let Some(log) = log else { continue };
        let log = String::from_utf8(STANDARD.decode(log.trim())?)?;
        let lines: Vec<_> = log.lines().collect();
        assert!(lines[0].starts_with("START RequestId: "), "{log}");
        assert_eq!(lines[1], "from the function", "{log}");
        assert!(lines[2].starts_with("END RequestId: "), "{log}");
        assert!(
            lines[3].contains("Memory Size: 128 MB\tMax Memory Used: "),
            "{log}"
        );
    }
    // 4 KB, and also of an invocation that fails.
    let event = json!({"do": "flood", "lines": 1000, "bytes": 100, "then": "exit"}).to_string();
    let (_, answer) = post(&lambda, "echo/invocations", tail, event.as_bytes()).await?;
    let log = answer
        .lines()
        .find_map(|line| line.strip_prefix("x-amz-log-result: "));
    let log = STANDARD.decode(log.context("no log")?.trim())?;
    assert_eq!(log.len(), 4096);
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_failed_asynchronous_invocation_is_tried_again_as_often_as_the_template_says()
-> Result<()> {
    let folder = Folder::new("later")?;
    let asynchronous = "x-amz-invocation-type: Event\r\n";
    for (retries_max, file) in [(2, "two"), (0, "none")] {
        let mut executable = echo(Duration::from_secs(20))?;
        executable.function.async_retries = AsyncRetries {
            retries_max,
            ..AsyncRetries::default()
        };
        let lambda = start_hurried(executable).await?;
        let file = folder.0.join(file);
        // It would succeed with the fourth try.
        let event = json!({"do": "fail_times", "file": file, "times": 3}).to_string();
        let (status, answer) =
            post(&lambda, "echo/invocations", asynchronous, event.as_bytes()).await?;
        assert_eq!(status, 202, "{answer}");
        let tries = usize::try_from(retries_max)? + 1;
        eventually("all tries are made", || lines(&file).len() == tries).await?;
        // One that succeeds is a fence: what was begun before it has been dealt with.
        let fence = folder.0.join(format!("fence-{retries_max}"));
        let event = json!({"do": "fail_times", "file": fence, "times": 0}).to_string();
        post(&lambda, "echo/invocations", asynchronous, event.as_bytes()).await?;
        eventually("the fence is reached", || lines(&fence).len() == 1).await?;
        let tried = lines(&file);
        assert_eq!(tried.len(), tries);
        assert!(
            tried.iter().all(|id| *id == tried[0]),
            "one request id for all: {tried:?}"
        );
        lambda.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn asynchronous_invocations_are_bounded() -> Result<()> {
    let mut executable = echo(Duration::from_mins(5))?;
    executable.function.concurrency_max = Some(1);
    let lambda = start(executable).await?;
    let asynchronous = "x-amz-invocation-type: Event\r\n";
    let mut refused = None;
    for _ in 0..1_100 {
        let event = br#"{"do":"hang"}"#;
        let (status, answer) = post(&lambda, "echo/invocations", asynchronous, event).await?;
        if status != 202 {
            refused = Some((status, answer));
            break;
        }
    }
    let (status, answer) = refused.context("all were taken")?;
    assert_eq!(status, 429, "{answer}");
    assert!(answer.contains("TooManyRequestsException"), "{answer}");
    lambda.shutdown().await;
    Ok(())
}
