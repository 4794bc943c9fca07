//! One invocation and what becomes of it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde_json::{Value, json};
use sparkle_local::{
    lambda::{Invocation, InvokeError, Lambda, LambdaError, WhenBusy},
    metrics::Metrics,
};
use tokio::process::Command;

use crate::stack::{Folder, echo, eventually, invoke, pid, start, state};

#[tokio::test]
async fn an_invocation_carries_lambdas_context_and_its_answer_comes_back() -> Result<()> {
    let lambda = start(echo(Duration::from_secs(10))?).await?;
    let invocation = Invocation {
        trace_header: Some("Root=1-2-3;Parent=4;Sampled=1".to_owned()),
        when_busy: WhenBusy::Wait,
    };
    let event = Bytes::from(r#"{"hello":"world"}"#);
    let answer = lambda.invoke("echo:live", event, invocation).await?;
    let answer: Value = serde_json::from_slice(&answer)?;
    assert_eq!(answer["event"], json!({"hello": "world"}));
    assert_eq!(
        answer["arn"],
        "arn:aws:lambda:us-east-1:000000000000:function:echo"
    );
    assert_eq!(answer["trace"], "Root=1-2-3;Parent=4;Sampled=1");
    assert_eq!(answer["request_id"].as_str().map(str::len), Some(36));
    let deadline = answer["deadline_unix_ms"].as_u64().context("no deadline")?;
    assert!(
        deadline > 1_700_000_000_000,
        "{deadline} is not Unix time in ms"
    );

    let environment = invoke(&lambda, json!({"do": "environment"})).await?;
    assert_eq!(environment["GIVEN"], "yes");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "echo");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "128");
    assert_eq!(
        environment["CARGO_MANIFEST_DIR"],
        Value::Null,
        "the stack's variables leak"
    );
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn one_process_serves_one_after_the_other_and_is_frozen_in_between() -> Result<()> {
    let lambda = start(echo(Duration::from_secs(10))?).await?;
    let first = pid(&invoke(&lambda, json!({})).await?)?;
    eventually("the process is stopped", || state(first) == Some('T')).await?;
    assert_eq!(pid(&invoke(&lambda, json!({})).await?)?, first);
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn two_at_once_use_two_processes() -> Result<()> {
    let folder = Folder::new("meet")?;
    let lambda = start(echo(Duration::from_secs(30))?).await?;
    let event = json!({"do": "meet", "folder": folder.0});
    let (one, other) = tokio::join!(invoke(&lambda, event.clone()), invoke(&lambda, event));
    assert_ne!(pid(&one?)?, pid(&other?)?);
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn at_the_limit_callers_wait_their_turn_or_are_refused() -> Result<()> {
    let mut executable = echo(Duration::from_secs(1))?;
    executable.function.concurrency_max = Some(1);
    let lambda = start(executable).await?;
    let refuse = Invocation {
        when_busy: WhenBusy::Refuse,
        ..Invocation::default()
    };
    let hanging = invoke(&lambda, json!({"do": "hang"}));
    let others = async {
        let refused = lambda.invoke("echo", Bytes::from("{}"), refuse).await;
        (refused, invoke(&lambda, json!({})).await)
    };
    // Polled in this order: the hanging one has the instance.
    let (hung, (refused, waited)) = tokio::join!(biased; hanging, others);
    assert!(
        matches!(hung, Err(InvokeError::TimedOut { .. })),
        "{hung:?}"
    );
    assert!(
        matches!(refused, Err(InvokeError::Throttled { .. })),
        "{refused:?}"
    );
    pid(&waited?)?;
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_timeout_kills_the_process_and_the_next_invocation_has_a_new_one() -> Result<()> {
    let lambda = start(echo(Duration::from_secs(1))?).await?;
    let first = pid(&invoke(&lambda, json!({})).await?)?;
    let error = invoke(&lambda, json!({"do": "hang"}))
        .await
        .expect_err("it hangs");
    let payload: Value = serde_json::from_slice(&error.payload().context("no payload")?)?;
    assert_eq!(payload["errorType"], "Sandbox.Timedout");
    let message = payload["errorMessage"].as_str().unwrap_or_default();
    assert!(
        message.ends_with("Error: Task timed out after 1.00 seconds"),
        "{message}"
    );
    eventually("the process is gone", || state(first).is_none()).await?;
    assert_ne!(pid(&invoke(&lambda, json!({})).await?)?, first);
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_process_that_ends_fails_its_invocation_only() -> Result<()> {
    let lambda = start(echo(Duration::from_secs(10))?).await?;
    let error = invoke(&lambda, json!({"do": "exit"}))
        .await
        .expect_err("it exits");
    let InvokeError::Crashed { how, log, .. } = &error else {
        anyhow::bail!("{error}")
    };
    assert_eq!(how, "with error: exit status 1");
    assert!(log.contains("the event asked for an exit"), "{log}");
    pid(&invoke(&lambda, json!({})).await?)?;
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_functions_error_comes_back_as_it_said_it() -> Result<()> {
    let lambda = start(echo(Duration::from_secs(10))?).await?;
    let error = invoke(&lambda, json!({"do": "fail"}))
        .await
        .expect_err("it fails");
    let payload: Value = serde_json::from_slice(&error.payload().context("no payload")?)?;
    assert_eq!(payload["errorMessage"], "it failed");
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn an_answer_over_the_limit_is_an_error_and_the_process_lives() -> Result<()> {
    let lambda = start(echo(Duration::from_secs(20))?).await?;
    let first = pid(&invoke(&lambda, json!({})).await?)?;
    let error = invoke(&lambda, json!({"do": "grow"}))
        .await
        .expect_err("it is too large");
    assert!(
        matches!(error, InvokeError::ResponseTooLarge { .. }),
        "{error}"
    );
    // Idle again, and not ended: without this a second process might be quicker.
    eventually("the process is stopped", || state(first) == Some('T')).await?;
    assert_eq!(pid(&invoke(&lambda, json!({})).await?)?, first);
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_function_that_does_not_start_says_why() -> Result<()> {
    let mut executable = echo(Duration::from_secs(10))?;
    executable
        .environment
        .insert("ECHO_INIT".to_owned(), "error".to_owned());
    let lambda = start(executable).await?;
    for _ in 0..2 {
        let error = invoke(&lambda, json!({}))
            .await
            .expect_err("it does not start");
        let InvokeError::InitFailed {
            function,
            reason,
            log,
        } = &error
        else {
            anyhow::bail!("{error}")
        };
        assert_eq!(function, "echo");
        assert_eq!(reason, "the process exited with error: exit status 1");
        assert!(log.contains("ECHO_INIT says so"), "{log}");
    }
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_missing_binary_is_named_at_the_start() -> Result<()> {
    let mut executable = echo(Duration::from_secs(10))?;
    executable.path = PathBuf::from("/nowhere/echo");
    let error = Lambda::start(vec![executable], Metrics::default())
        .await
        .err();
    let error = error.context("it starts")?;
    assert!(matches!(&error, LambdaError::NoBinary { function, .. } if function == "echo"));
    assert!(error.to_string().contains("/nowhere/echo"), "{error}");
    Ok(())
}

#[tokio::test]
async fn an_invocation_whose_caller_left_runs_to_its_end() -> Result<()> {
    let folder = Folder::new("left")?;
    let lambda = start(echo(Duration::from_secs(30))?).await?;
    let event = json!({"do": "meet", "folder": folder.0});
    {
        let caller = invoke(&lambda, event.clone());
        tokio::pin!(caller);
        let seen = eventually("the first one has begun", || folder.files() == 1);
        tokio::select! {
            result = &mut caller => anyhow::bail!("nobody to meet yet: {result:?}"),
            begun = seen => begun?,
        }
    }
    // The second one can only meet the first if that still runs.
    pid(&invoke(&lambda, event).await?)?;
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_metrics_line_goes_to_the_metrics() -> Result<()> {
    let metrics = Metrics::default();
    let lambda = Lambda::start(vec![echo(Duration::from_secs(10))?], metrics.clone()).await?;
    let line = r#"{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Namespace":"n","Dimensions":[["tier"]],"Metrics":[{"Name":"turns","Unit":"Count"}]}]},"tier":"free","turns":3}"#;
    invoke(&lambda, json!({"do": "print", "line": line})).await?;
    let recorded = || metrics.render().contains(r#"turns_total{tier="free"} 3"#);
    eventually("the metric is rendered", recorded).await?;
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_shutdown_ends_what_runs_and_leaves_no_process() -> Result<()> {
    let folder = Folder::new("shutdown")?;
    let lambda = start(echo(Duration::from_mins(1))?).await?;
    let event = json!({"do": "meet", "folder": folder.0});
    let (result, ended) = tokio::join!(invoke(&lambda, event), async {
        let begun = eventually("it has begun", || folder.files() == 1).await;
        lambda.shutdown().await;
        begun
    });
    ended?;
    assert_eq!(result, Err(InvokeError::ShuttingDown));
    let met = std::fs::read_dir(&folder.0)?
        .next()
        .context("nobody began")??
        .file_name();
    let met: u64 = met.to_string_lossy().parse()?;
    assert_eq!(state(met), None, "the process is still there");
    assert_eq!(
        invoke(&lambda, json!({})).await,
        Err(InvokeError::ShuttingDown)
    );
    Ok(())
}

#[tokio::test]
async fn a_stack_that_is_killed_leaves_no_process() -> Result<()> {
    const FOLDER: &str = "ECHO_KILLED_STACK_FOLDER";
    if let Some(folder) = std::env::var_os(FOLDER) {
        // This is the stack that will be killed. Both processes are busy: the kernel itself ends
        // a group that is left behind with a frozen one in it.
        let lambda = start(echo(Duration::from_mins(1))?).await?;
        let wait_in = |name| json!({"do": "meet", "folder": Path::new(&folder).join(name)});
        let (one, other) = (
            invoke(&lambda, wait_in("one")),
            invoke(&lambda, wait_in("other")),
        );
        anyhow::bail!("nobody killed it: {:?}", tokio::join!(one, other));
    }
    let folder = Folder::new("killed")?;
    let waiting = [folder.0.join("one"), folder.0.join("other")];
    for folder in &waiting {
        std::fs::create_dir(folder)?;
    }
    let mut stack = Command::new(std::env::current_exe()?)
        .args([
            "--exact",
            "invocations::a_stack_that_is_killed_leaves_no_process",
        ])
        .env(FOLDER, &folder.0)
        .kill_on_drop(true)
        .spawn()?;
    let pids = || -> Vec<u64> {
        let files = waiting
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flatten();
        let names = files.filter_map(|file| Some(file.ok()?.file_name()));
        names
            .filter_map(|name| name.to_str()?.parse().ok())
            .collect()
    };
    eventually("both processes are busy", || pids().len() == 2).await?;
    let pids = pids();
    let gone = |pid: &u64| matches!(state(*pid), None | Some('Z'));
    assert!(!pids.iter().any(gone), "{pids:?} do not run");
    stack.kill().await?;
    eventually("all are gone", || pids.iter().all(gone)).await
}
