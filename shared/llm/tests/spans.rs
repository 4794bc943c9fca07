//! What a call leaves in traces and logs. Alone in its file: it sets the process's subscriber.
#![expect(
    clippy::expect_used,
    reason = "helpers of tests, outside of test functions"
)]

#[path = "../examples/scripted_provider/server.rs"]
mod server;

use std::io;
use std::sync::{Arc, Mutex};

use sparkle_llm::offline::{Failure, Script};
use sparkle_llm::{ApiKey, Llm, Message, Prompt, Scripting, Settings, Timeouts, TokenUsage};
use tracing_subscriber::fmt::format::FmtSpan;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn spans_have_the_conventional_names_and_no_text_or_key() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(move || writer.clone())
        .init();

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let provider = server::ScriptedProvider::start(listener).expect("a provider");
    let llm = Llm::from_settings(&Settings {
        base_url: Some(provider.base_url()),
        api_key: ApiKey::new("sk-hush"),
        timeouts: Timeouts::default(),
        scripting: Scripting::Ignored,
        roots: None,
        tokenizer: None,
    })
    .expect("a client");

    let usage = TokenUsage {
        prompt_tokens: 11,
        completion_tokens: 7,
        cached_tokens: 5,
    };
    let answer = Script {
        pieces: vec!["whisper".into()],
        usage: Some(usage),
        ..Script::default()
    };
    let failure = Script {
        fail: Some(Failure::RateLimited),
        ..Script::default()
    };
    for script in [answer, failure] {
        let prompt = Prompt::new("test-model", vec![Message::user(script.message())], 10);
        if let Ok(mut reply) = llm.stream(&prompt).await {
            while let Some(piece) = reply.next().await {
                piece.expect("a piece");
            }
        }
    }

    assert_eq!(provider.desk.stats().calls, 2);
    let log = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    for field in [
        r#""otel.name":"chat test-model""#,
        r#""gen_ai.operation.name":"chat""#,
        r#""gen_ai.provider.name":"openai""#,
        r#""gen_ai.request.model":"test-model""#,
        r#""gen_ai.request.max_tokens":10"#,
        r#""gen_ai.response.id":"scripted-1""#,
        r#""gen_ai.response.finish_reasons":"stop""#,
        r#""gen_ai.usage.input_tokens":11"#,
        r#""gen_ai.usage.output_tokens":7"#,
        r#""gen_ai.usage.cache_read.input_tokens":5"#,
        r#""error.type":"rate_limited""#,
    ] {
        assert!(log.contains(field), "{field} is missing in\n{log}");
    }
    assert!(
        !log.contains("whisper") && !log.contains("sk-hush"),
        "{log}"
    );
}
