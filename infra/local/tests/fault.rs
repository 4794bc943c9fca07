//! The fault layer on the wire: what the service gets to see, and what the caller.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use axum::{Router, extract::State, http::HeaderMap};
use sparkle_local::{
    fault::Faults,
    lambda::{Executable, Processes},
    metrics::Metrics,
    template::Function,
};
use tokio::{
    net::TcpListener,
    task::{JoinSet, yield_now},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER: &str = "a whole answer";

/// A service that numbers its answers, and the fault layer before it.
struct Setting {
    calls: Arc<AtomicU32>,
    metrics: Metrics,
    /// Where the function `f` finds DynamoDB.
    url: String,
    _servers: JoinSet<()>,
}

impl Setting {
    async fn new(rule: &str) -> Result<Setting> {
        let calls = Arc::new(AtomicU32::new(0));
        let service = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&calls));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let mut servers = JoinSet::new();
        servers.spawn(async move { drop(axum::serve(listener, service).await) });

        drop(rustls::crypto::ring::default_provider().install_default());
        let file = std::env::temp_dir().join(format!("faults-{}.yaml", uuid::Uuid::new_v4()));
        std::fs::write(&file, format!("rules: [{rule}]"))?;
        let metrics = Metrics::default();
        let opened = Faults::open(&file, vec!["f".to_owned()], metrics.clone()).await;
        std::fs::remove_file(&file)?;
        let (faults, listener) = opened?;
        let name = "AWS_ENDPOINT_URL_DYNAMODB";
        let environment = BTreeMap::from([
            (name.to_owned(), format!("{origin}/base?v=1")),
            ("SPARKLE_LLM_BASE_URL".to_owned(), String::new()),
        ]);
        let mut executable = Executable {
            function: Function {
                name: "f".to_owned(),
                ..Function::default()
            },
            path: std::path::PathBuf::new(),
            environment,
            processes: Processes::default(),
        };
        faults.divert(&mut executable);
        let mut environment = executable.environment;
        let untouched = environment.get("SPARKLE_LLM_BASE_URL");
        ensure!(untouched.is_some_and(String::is_empty), "{untouched:?}");
        servers.spawn(faults.serve(listener));
        Ok(Setting {
            calls,
            metrics,
            url: environment.remove(name).context("no endpoint")?,
            _servers: servers,
        })
    }

    /// Status and body that the caller gets; none if the connection is cut.
    async fn call(&self) -> Option<(u16, String)> {
        let request = reqwest::Client::new()
            .post(&self.url)
            .header("x-amz-target", "DynamoDB_20120810.PutItem")
            .body("{}");
        let answer = timeout(PATIENCE, request.send());
        let answer = answer.await.ok()?.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    }
}

async fn answer(
    State(calls): State<Arc<AtomicU32>>,
    headers: HeaderMap,
    uri: axum::http::Uri,
    body: String,
) -> String {
    // What came is what was sent, but for the host.
    assert_eq!(
        (uri.path(), uri.query(), &*body),
        ("/base", Some("v=1"), "{}")
    );
    let operation = headers.get("x-amz-target");
    assert!(operation.is_some_and(|name| name == "DynamoDB_20120810.PutItem"));
    let number = calls.fetch_add(1, Ordering::Relaxed) + 1;
    format!("{ANSWER} {number}")
}

#[tokio::test]
async fn each_fault_is_what_it_says_on_the_wire() -> Result<()> {
    let first = || Some((200, format!("{ANSWER} 1")));
    let cases = [
        ("{target: sqs, fault: cut}", 1, first()),
        ("{target: dynamodb, fault: cut}", 0, None),
        ("{target: dynamodb, fault: cut, moment: after}", 1, None),
        (
            "{target: dynamodb, fault: cut, moment: after, bytes: 5}",
            1,
            None,
        ),
        (
            "{target: dynamodb, fault: cut, moment: after, bytes: 500}",
            1,
            first(),
        ),
        // Who calls is no process of the local Lambda: there is nothing to kill.
        ("{target: dynamodb, fault: kill}", 0, None),
        ("{target: dynamodb, fault: kill, moment: after}", 1, None),
        (
            "{target: dynamodb, fault: kill, moment: after, bytes: 5}",
            1,
            None,
        ),
        (
            "{target: dynamodb, fault: duplicate}",
            2,
            Some((200, format!("{ANSWER} 2"))),
        ),
        (
            "{target: dynamodb, fault: duplicate, answer: first}",
            2,
            first(),
        ),
        ("{target: dynamodb, fault: delay, delay_ms: 1}", 1, first()),
    ];
    for (rule, calls, outcome) in cases {
        let setting = Setting::new(rule).await?;
        assert_eq!(setting.call().await, outcome, "{rule}");
        assert_eq!(setting.calls.load(Ordering::Relaxed), calls, "{rule}");
    }
    for (moment, calls) in [("before", 0), ("after", 1)] {
        let rule = "target: dynamodb, fault: status, status: 500";
        let setting = Setting::new(&format!("{{{rule}, moment: {moment}}}")).await?;
        let (status, body) = setting.call().await.unwrap();
        assert_eq!(status, 500);
        assert!(body.contains("#InternalServerError"), "{body}");
        assert_eq!(setting.calls.load(Ordering::Relaxed), calls, "{moment}");
    }
    Ok(())
}

#[tokio::test]
async fn a_cut_lets_exactly_so_many_bytes_through() -> Result<()> {
    let setting = Setting::new("{target: dynamodb, fault: cut, moment: after, bytes: 5}").await?;
    let mut answer = reqwest::Client::new()
        .post(&setting.url)
        .header("x-amz-target", "DynamoDB_20120810.PutItem")
        .body("{}")
        .send()
        .await
        .unwrap();
    let mut came = Vec::new();
    let end = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => came.extend(chunk),
            end => break end,
        }
    };
    assert!(end.is_err());
    assert_eq!(came, ANSWER.as_bytes()[..5]);
    Ok(())
}

#[tokio::test]
async fn a_delay_lies_on_its_side_of_the_effect() -> Result<()> {
    for (moment, calls) in [("before", 0), ("after", 1)] {
        let rule = "target: dynamodb, fault: delay, delay_ms: 900000";
        let setting = Setting::new(&format!("{{{rule}, moment: {moment}}}")).await?;
        let struck = async {
            while !setting.metrics.render().contains("chaos_injection_total{")
                || setting.calls.load(Ordering::Relaxed) < calls
            {
                yield_now().await;
            }
        };
        tokio::select! {
            answer = setting.call() => panic!("{moment}: {answer:?} came at once"),
            struck = timeout(PATIENCE, struck) => struck.unwrap(),
        }
        assert_eq!(setting.calls.load(Ordering::Relaxed), calls, "{moment}");
    }
    Ok(())
}
