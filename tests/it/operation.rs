//! What an operator and a newcomer see: restarts, logs, metrics, mistakes at the start.

use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sparkle_tests::{Folder, Options, PATIENCE, Stack, binaries, http, request, root};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

#[tokio::test]
async fn history_survives_a_kill_of_the_stack() -> Result<()> {
    let folder = Folder::new()?;
    let stack = Options::default().data_dir(folder.path()).start().await?;
    let said = stack
        .connect("ann")
        .await?
        .chat("s1", "什么是导数?")
        .await?;
    stack.kill().await?;

    let stack = Options::default().data_dir(folder.path()).start().await?;
    let mut client = stack.connect("ann").await?;
    let history = client.ask("history", json!({ "session_id": "s1" })).await?;
    assert_eq!(history["payload"]["entries"][1]["text"], said.text.as_str());
    assert!(
        client
            .chat("s1", "What did I ask before?")
            .await?
            .text
            .contains("什么是导数?")
    );
    Ok(())
}

#[tokio::test]
async fn logs_follow_a_trace_through_the_queue_and_hold_no_text_and_no_token() -> Result<()> {
    let stack = Options::default()
        .variable("RUST_LOG", "debug")
        .start()
        .await?;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let canary = "canary-7f3a9";
    let token = stack.token("ann", "1h")?;
    let mut client = stack
        .connect_with("Authorization", &format!("Bearer {token}"))
        .await?;
    let mut chat: Value = serde_json::from_str(&request(
        "chat",
        "r1",
        json!({ "session_id": "s1", "message": format!("{canary} 什么是导数?") }),
    ))?;
    chat["trace_id"] = json!(trace);
    client.send(chat.to_string()).await?;
    client.answer("r1").await?;
    client.send(format!("{canary} is no frame")).await?;
    client.frame().await?;

    let log = stack.kill().await?;
    let lines: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let traced: Vec<&str> = lines
        .iter()
        .filter(|line| line["span"]["trace_id"] == trace)
        .filter_map(|line| line["message"].as_str())
        .collect();
    assert!(traced.contains(&"turn accepted"), "{traced:?}");
    assert!(traced.contains(&"turn over"), "{traced:?}");
    for secret in [canary, "什么是导数", token.as_str(), "离线模型"] {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
    Ok(())
}

#[tokio::test]
async fn metrics_count_what_happened() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    client.chat("s1", "thanks").await?;
    client.send("?").await?;
    client.frame().await?;
    let expected = [
        r#"chat_requests_total{method="chat",status="ok"} 1"#,
        r#"chat_requests_total{method="turn",status="stop"} 1"#,
        r#"chat_requests_total{method="unreadable",status="BAD_FRAME"} 1"#,
        r#"tokens_consumed_total{model="offline",type="output"}"#,
        r#"chat_request_duration_seconds_count{method="chat"} 1"#,
        "active_sessions 1",
    ];
    for _ in 0..100 {
        let metrics = stack.get("/metrics").await?;
        if expected.iter().all(|line| metrics.contains(line)) {
            return Ok(());
        }
    }
    panic!("{}", stack.get("/metrics").await?);
}

#[tokio::test]
async fn a_function_is_invoked_directly() -> Result<()> {
    let stack = Stack::start().await?;
    let url = format!(
        "{}/2015-03-31/functions/authorizer/invocations",
        stack.address("http")
    );
    let event = json!({ "type": "REQUEST", "methodArn": "arn:x", "headers": {} });
    let answer = http().post(url).body(event.to_string()).send().await?;
    assert_eq!(
        answer
            .headers()
            .get("x-amz-function-error")
            .context("an error")?,
        "Unhandled"
    );
    assert!(
        answer
            .text()
            .await?
            .contains(r#""errorMessage":"Unauthorized""#)
    );
    Ok(())
}

#[tokio::test]
async fn the_page_comes_with_a_policy_and_its_token_only_for_this_machine() -> Result<()> {
    let stack = Stack::start().await?;
    let http = http();
    let page = http.get(stack.address("http")).send().await?;
    let policy = page
        .headers()
        .get("content-security-policy")
        .context("a policy")?
        .to_str()?;
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe-eval"));
    let url = format!("{}/token", stack.address("http"));
    let token: Value = serde_json::from_str(&stack.get("/token?user=ann").await?)?;
    assert_eq!(token["user"], "ann");
    let foreign = http
        .get(url)
        .header("Host", "sparkle.example:3000")
        .send()
        .await?;
    assert_eq!(foreign.status().as_u16(), 403);
    Ok(())
}

#[tokio::test]
async fn a_template_that_cannot_be_served_is_refused_by_the_resources_name() -> Result<()> {
    let folder = Folder::new()?;
    let template = std::fs::read_to_string(root().join("template.yaml"))?;
    let strange = format!("{template}\n").replace(
        "\nOutputs:",
        "\n  LearnerSearch:\n    Type: AWS::OpenSearchService::Domain\n\nOutputs:",
    );
    let path = folder.path().join("template.yaml");
    std::fs::write(&path, strange)?;
    let (status, said) = Options::default()
        .argument("--template")
        .argument(path.display().to_string())
        .fail()
        .await?;
    assert!(!status.success());
    assert!(
        said.contains("LearnerSearch") && said.contains("AWS::OpenSearchService::Domain"),
        "{said}"
    );
    Ok(())
}

/// What the functions log and the client hears where one permission of the template is another.
async fn without(
    permission: &str,
    another: &str,
    request: (&str, Value),
) -> Result<(Value, String)> {
    let template = std::fs::read_to_string(root().join("template.yaml"))?;
    anyhow::ensure!(template.contains(permission), "no {permission}");
    // Below the repository: what stands in it is built from where the template is.
    let path = binaries().join(format!("template-{}.yaml", uuid::Uuid::new_v4().simple()));
    std::fs::write(&path, template.replacen(permission, another, 1))?;
    let stack = Options::default()
        .argument("--template")
        .argument(path.display().to_string())
        .start()
        .await?;
    std::fs::remove_file(path)?;
    let mut client = stack.connect("ann").await?;
    client.request(request.0, request.1).await?;
    let heard = client.frame().await?;
    Ok((heard, stack.kill().await?))
}

#[tokio::test]
async fn a_call_that_the_template_does_not_permit_is_refused_here_too() -> Result<()> {
    let update = "Action: dynamodb:UpdateItem\n              Resource: !GetAtt RatesTable.Arn";
    let get = update.replace("UpdateItem", "GetItem");
    let (heard, said) = without(update, &get, ("ping", json!({}))).await?;
    assert_eq!(heard["message"], "Internal server error", "{heard}");
    let denied = "ws-message is not authorized to perform: dynamodb:UpdateItem on resource: \
                  arn:aws:dynamodb:us-east-1:000000000000:table/RatesTable";
    assert!(said.contains(denied), "{said}");

    let post = "${StageName}/POST/@connections/*";
    let (heard, said) = without(post, &post.replace("POST", "GET"), ("ping", json!({}))).await?;
    assert_eq!(heard["message"], "Internal server error", "{heard}");
    let denied = "ws-message is not authorized to perform: execute-api:ManageConnections on resource: \
                  arn:aws:execute-api:us-east-1:000000000000:WebSocketApi/dev/POST/@connections/";
    assert!(said.contains(denied), "{said}");

    let chat = ("chat", json!({ "session_id": "s1", "message": "hi" }));
    let (heard, said) = without("sqs:SendMessage", "sqs:GetQueueUrl", chat).await?;
    // It stands in line, so it is accepted; whoever may use the queue again has it run.
    assert_eq!(heard["type"], "ack", "{heard}");
    let denied = "ws-message is not authorized to perform: sqs:SendMessage on resource: \
                  arn:aws:sqs:us-east-1:000000000000:TurnQueue.fifo";
    assert!(said.contains(denied), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_way_out() -> Result<()> {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let port = taken.local_addr()?.port().to_string();
    let (status, said) = Options::default()
        .argument("--sqs-port")
        .argument(&port)
        .fail()
        .await?;
    assert!(!status.success());
    assert!(
        said.contains(&port) && said.contains("--sqs-port"),
        "{said}"
    );
    Ok(())
}

/// The functions of the template, by name: the worker before the front door that gives it work.
fn functions() -> Result<Vec<String>> {
    let template = std::fs::read_to_string(root().join("template.yaml"))?;
    let folders = template
        .lines()
        .filter_map(|line| line.split_once("CodeUri: functions/"));
    let mut names: Vec<String> = folders.map(|(_, name)| name.trim().to_owned()).collect();
    names.sort();
    Ok(names)
}

/// `sparkle invoke` with these arguments and this on stdin: exit code, stdout, stderr.
async fn invoke(
    stack: &Stack,
    arguments: &[&str],
    stdin: &str,
) -> Result<(Option<i32>, String, String)> {
    let port = stack.address("http").rsplit(':').next().context("a port")?;
    let mut process = Command::new(binaries().join("sparkle"))
        .args(["invoke", "--port", port])
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut pipe = process.stdin.take().context("no stdin")?;
    pipe.write_all(stdin.as_bytes()).await?;
    drop(pipe);
    let output = timeout(PATIENCE, process.wait_with_output()).await??;
    Ok((
        output.status.code(),
        String::from_utf8(output.stdout)?,
        String::from_utf8(output.stderr)?,
    ))
}

#[tokio::test]
async fn every_function_has_an_event_that_it_takes() -> Result<()> {
    let stack = Stack::start().await?;
    let functions = functions()?;
    assert!(functions.len() >= 5, "{functions:?}");
    for function in &functions {
        let file = format!("tests/events/{function}.json");
        let (code, answer, said) = invoke(&stack, &[function, &file], "").await?;
        assert_eq!(code, Some(0), "{function}: {answer}{said}");
        let answer: Value = serde_json::from_str(&answer).context(answer)?;
        match function.as_str() {
            "authorizer" => {
                let effect = &answer["policyDocument"]["Statement"][0]["Effect"];
                assert_eq!(
                    (effect, &answer["context"]["user_id"]),
                    (&json!("Allow"), &json!("learner"))
                );
            }
            "turn-worker" | "billing-worker" | "summary-worker" => {
                assert_eq!(answer["batchItemFailures"], json!([]), "{function}");
            }
            "quota-check" => assert_eq!(answer["tier"], "free", "{answer}"),
            "cache-lookup" => assert_eq!(answer["level"], "none", "{answer}"),
            "sweeper" => assert_eq!(answer["released"], 0, "{function}: {answer}"),
            _ => assert_eq!(answer["statusCode"], 200, "{function}: {answer}"),
        }
    }
    for entry in std::fs::read_dir(root().join("tests/events"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let function = name.trim_end_matches(".json").to_owned();
        assert!(
            name == "README.md" || functions.contains(&function),
            "{name} is no function's"
        );
    }
    // The question that the front door took has been answered by the worker, once.
    let mut client = stack.connect("learner").await?;
    for _ in 0..1_000 {
        let history = client
            .ask("history", json!({ "session_id": "example" }))
            .await?;
        if let Some(entries) = history["payload"]["entries"].as_array() {
            assert_eq!(entries.len(), 2, "{history}");
            assert_eq!(entries[0]["text"], "什么是导数?");
            return Ok(());
        }
    }
    panic!("the question is not answered");
}

#[tokio::test]
async fn invoke_shows_answers_and_says_what_is_wrong() -> Result<()> {
    let stack = Stack::start().await?;
    let batch = r#"{"Records":[]}"#;
    let (code, answer, _) = invoke(&stack, &["turn-worker", "-"], batch).await?;
    assert_eq!(
        (code, &*answer),
        (Some(0), "{\n  \"batchItemFailures\": []\n}\n")
    );
    let (code, answer, _) = invoke(&stack, &["turn-worker", "-", "--raw"], batch).await?;
    assert_eq!((code, &*answer), (Some(0), r#"{"batchItemFailures":[]}"#));

    let refused = json!({ "type": "REQUEST", "methodArn": "arn:x", "headers": {} }).to_string();
    let (code, answer, said) = invoke(&stack, &["authorizer", "-"], &refused).await?;
    assert_eq!(code, Some(1));
    assert!(
        answer.contains(r#""errorMessage": "Unauthorized""#),
        "{answer}"
    );
    assert!(
        said.contains("authorizer answered with an error: Unhandled"),
        "{said}"
    );

    let cases: [(&[&str], &str, &[&str]); 4] = [
        (
            &["no-such"],
            "",
            &[
                "no-such",
                "authorizer, billing-worker, cache-lookup, quota-check, summary-worker, sweeper, turn-worker",
            ],
        ),
        (
            &["turn-worker", "no/such.json"],
            "",
            &["no/such.json", "No such file"],
        ),
        (
            &["turn-worker", "README.md"],
            "",
            &["README.md is not JSON", "line 1"],
        ),
        (
            &["turn-worker", "-"],
            "{",
            &["on stdin is not JSON", "line 1"],
        ),
    ];
    for (arguments, stdin, expected) in cases {
        let (code, answer, said) = invoke(&stack, arguments, stdin).await?;
        assert_eq!((code, &*answer), (Some(1), ""), "{arguments:?}");
        assert!(expected.iter().all(|part| said.contains(part)), "{said}");
    }
    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let port = nobody.port().to_string();
    let output = Command::new(binaries().join("sparkle"))
        .args(["invoke", "turn-worker", "--port", &port])
        .output()
        .await?;
    let said = String::from_utf8(output.stderr)?;
    assert!(
        said.contains("no stack answers") && said.contains("cargo run"),
        "{said}"
    );
    Ok(())
}
