//! One suite over both models; `wire` adds what only a real connection can do.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, outside of test functions"
)]

#[path = "../../examples/scripted_provider/server.rs"]
mod server;
mod wire;

use std::time::Duration;

use axum::Router;
use axum::routing::any;
use serde_json::{Value, json};
use server::{ScriptedProvider, Stats};
use sparkle_llm::offline::{Failure, Script, ScriptedCall, Tutor};
use sparkle_llm::{
    ApiKey, FinishReason, Llm, LlmError, Message, Phase, Piece, Prompt, Scripting, Settings,
    Timeouts, TokenUsage, Tool, ToolCall, TraceParent,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_secs(20),
    first_byte: Duration::from_secs(20),
    idle: Duration::from_secs(20),
};

async fn loopback() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

async fn provider() -> ScriptedProvider {
    ScriptedProvider::start(loopback().await).expect("a provider")
}

fn client(base_url: &str, timeouts: Timeouts) -> Llm {
    let settings = Settings {
        base_url: Some(base_url.to_owned()),
        timeouts,
        ..Settings::default()
    };
    Llm::from_settings(&settings).expect("a client")
}

fn offline() -> Llm {
    Llm::Offline(Tutor::scripted().paced(Duration::ZERO))
}

fn asks(text: impl Into<String>) -> Prompt {
    Prompt::new("test-model", vec![Message::user(text)], 1000)
}

fn obeys(script: &Script) -> Prompt {
    asks(script.message())
}

fn texts<const N: usize>(pieces: [&str; N]) -> Vec<String> {
    pieces.map(str::to_owned).to_vec()
}

/// Everything that comes, and the error that ends it, if one does.
async fn collect(llm: &Llm, prompt: &Prompt) -> (Vec<Piece>, Option<LlmError>) {
    let mut pieces = Vec::new();
    let mut reply = match llm.stream(prompt).await {
        Ok(reply) => reply,
        Err(error) => return (pieces, Some(error)),
    };
    let mut failure = None;
    while let Some(piece) = reply.next().await {
        match piece {
            Ok(piece) => pieces.push(piece),
            Err(error) => failure = Some(error),
        }
    }
    assert!(reply.next().await.is_none(), "nothing comes after the end");
    (pieces, failure)
}

fn text(pieces: &[Piece]) -> String {
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => Some(text.clone()),
        _ => None,
    };
    pieces.iter().filter_map(text).collect()
}

/// Waits for what the provider's own tasks have yet to notice.
async fn stats_when(provider: &ScriptedProvider, settled: impl Fn(&Stats) -> bool) -> Stats {
    let poll = async {
        loop {
            let stats = provider.desk.stats();
            if settled(&stats) {
                return stats;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), poll)
        .await
        .unwrap_or_else(|_| panic!("not seen by the provider: {:?}", provider.desk.stats()))
}

/// Runs the test over the offline model and over HTTP.
macro_rules! over_both {
    ($llm:ident, $test:block) => {{
        let $llm = offline();
        $test;
        let provider = provider().await;
        let $llm = client(&provider.base_url(), PATIENT);
        $test;
    }};
}

#[tokio::test]
async fn text_tool_calls_usage_and_end_are_carried() {
    let usage = TokenUsage {
        prompt_tokens: 11,
        completion_tokens: 7,
        cached_tokens: 5,
    };
    let script = Script {
        pieces: texts(["导", "数 🙂", "\n$x^2$\r\n"]),
        usage: Some(usage),
        tool_calls: vec![
            ScriptedCall {
                id: Some("a".into()),
                name: "add".into(),
                arguments: json!({"甲": 1}),
            },
            ScriptedCall {
                id: None,
                name: "now".into(),
                arguments: Value::Null,
            },
        ],
        ..Script::default()
    };
    let call = |id: &str, name: &str, arguments: &str| {
        Piece::ToolCall(ToolCall {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
        })
    };
    over_both!(llm, {
        let (pieces, failure) = collect(&llm, &obeys(&script)).await;
        assert!(failure.is_none());
        let (end, pieces) = pieces.split_last().expect("an end");
        assert_eq!(
            pieces,
            [
                Piece::Text("导".into()),
                Piece::Text("数 🙂".into()),
                Piece::Text("\n$x^2$\r\n".into()),
                call("a", "add", "{\"甲\":1}"),
                call("call_1", "now", "{}"),
            ]
        );
        let Piece::Finish {
            reason,
            usage: reported,
            response_id,
        } = end
        else {
            panic!("{end:?}")
        };
        assert_eq!(*reason, FinishReason::ToolCalls);
        assert_eq!(*reported, Some(usage));
        assert!(response_id.is_some());
    });
}

#[tokio::test]
async fn every_reason_to_end_is_carried() {
    over_both!(llm, {
        for reason in [
            FinishReason::Stop,
            FinishReason::Length,
            FinishReason::ContentFilter,
        ] {
            let script = Script {
                pieces: texts(["a"]),
                finish: Some(reason),
                ..Script::default()
            };
            let (pieces, failure) = collect(&llm, &obeys(&script)).await;
            assert!(failure.is_none());
            assert!(
                matches!(pieces.last(), Some(Piece::Finish { reason: end, .. }) if *end == reason)
            );
        }
    });
}

#[tokio::test]
async fn every_failure_is_told_apart_before_and_within_an_answer() {
    over_both!(llm, {
        for (fail, kind) in [
            (Failure::Cut, "cut"),
            (Failure::Garbage, "garbage"),
            (Failure::RateLimited, "rate_limited"),
            (Failure::Unavailable, "unavailable"),
            (Failure::Refused, "refused"),
            (Failure::Invalid, "invalid"),
            (Failure::TooLong, "too_long"),
            (Failure::Blocked, "blocked"),
        ] {
            for served in [0, 2] {
                let script = Script {
                    pieces: texts(["a", "b", "c"]),
                    fail: Some(fail),
                    fail_after: served,
                    ..Script::default()
                };
                let (pieces, failure) = collect(&llm, &obeys(&script)).await;
                assert_eq!(text(&pieces), &"abc"[..served], "{fail:?}");
                let failure = failure.unwrap_or_else(|| panic!("{fail:?} after {served}"));
                assert_eq!(failure.kind(), kind, "after {served}");
            }
        }
    });
}

#[tokio::test]
async fn a_pause_that_the_provider_asks_for_is_carried() {
    let script = Script {
        fail: Some(Failure::RateLimited),
        retry_after_s: Some(7),
        ..Script::default()
    };
    over_both!(llm, {
        let (_, failure) = collect(&llm, &obeys(&script)).await;
        let Some(LlmError::RateLimited { retry_after, .. }) = failure else {
            panic!("{failure:?}")
        };
        assert_eq!(retry_after, Some(Duration::from_secs(7)));
    });
}

#[tokio::test]
async fn tool_results_lead_to_the_next_answer_of_the_script() {
    let call = ScriptedCall {
        id: Some("a".into()),
        name: "add".into(),
        arguments: json!({}),
    };
    let then = Script {
        pieces: texts(["it is 2"]),
        ..Script::default()
    };
    let script = Script {
        tool_calls: vec![call],
        then: Some(Box::new(then)),
        ..Script::default()
    };
    over_both!(llm, {
        let mut prompt = obeys(&script);
        for expected in ["", "it is 2", "ok"] {
            let (pieces, _) = collect(&llm, &prompt).await;
            assert_eq!(text(&pieces), expected);
            let call = ToolCall {
                id: "a".into(),
                name: "add".into(),
                arguments: "{}".into(),
            };
            prompt
                .messages
                .push(Message::tool_calls(expected, vec![call]));
            prompt.messages.push(Message::tool_result("a", "2"));
        }
    });
}

#[tokio::test]
async fn the_tutor_answers_alike_in_process_and_over_http() {
    let provider = provider().await;
    let http = client(&provider.base_url(), PATIENT);
    for question in [
        "什么是勾股定理？",
        "What is osmosis?",
        "明天下雨吗",
        "#script {broken",
    ] {
        let mut prompt = asks(question);
        prompt.answer_tokens_max = 20;
        let (mut here, _) = collect(&offline(), &prompt).await;
        let (mut there, _) = collect(&http, &prompt).await;
        for pieces in [&mut here, &mut there] {
            if let Some(Piece::Finish { response_id, .. }) = pieces.last_mut() {
                *response_id = None;
            }
        }
        assert_eq!(here, there, "{question}");
    }
}

#[test]
fn without_a_base_url_the_model_is_the_offline_one() {
    for base_url in [None, Some(String::new()), Some("  ".to_owned())] {
        let llm = Llm::from_settings(&Settings {
            base_url,
            ..Settings::default()
        });
        assert!(matches!(llm, Ok(Llm::Offline(_))));
    }
    let settings = Settings {
        base_url: Some("localhost".into()),
        ..Settings::default()
    };
    let error = Llm::from_settings(&settings)
        .expect_err("not a URL")
        .to_string();
    assert!(error.contains("SPARKLE_LLM_BASE_URL"), "{error}");
}
