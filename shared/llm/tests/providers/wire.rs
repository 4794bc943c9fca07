//! Over a real connection: silence, aborts, what a provider sees of us, what is not a stream.

use futures_util::StreamExt as _;
use sparkle_llm::Heard;

use super::*;

#[tokio::test]
async fn a_call_can_be_a_task_of_its_own() {
    let mut tasks = JoinSet::new();
    tasks.spawn(async { collect(&offline(), &asks("hello")).await.0.len() });
    tasks.spawn(async {
        let provider = provider().await;
        collect(&client(&provider.base_url(), PATIENT), &asks("hello"))
            .await
            .0
            .len()
    });
    assert!(tasks.join_all().await.into_iter().all(|pieces| pieces > 1));
}

#[tokio::test]
async fn a_silent_provider_times_out() {
    let provider = provider().await;
    let hasty = Timeouts {
        first_byte: Duration::from_millis(60),
        ..PATIENT
    };
    let silent = Script {
        fail: Some(Failure::Hang),
        ..Script::default()
    };
    let (_, failure) = collect(&client(&provider.base_url(), hasty), &obeys(&silent)).await;
    let Some(LlmError::Timeout { phase }) = failure else {
        panic!("{failure:?}")
    };
    assert_eq!(phase, Phase::FirstByte);

    let hasty = Timeouts {
        idle: Duration::from_millis(60),
        ..PATIENT
    };
    let stuck = Script {
        pieces: texts(["a", "b"]),
        fail: Some(Failure::Timeout),
        fail_after: 1,
        ..Script::default()
    };
    let (pieces, failure) = collect(&client(&provider.base_url(), hasty), &obeys(&stuck)).await;
    assert_eq!(text(&pieces), "a");
    let Some(LlmError::Timeout { phase }) = failure else {
        panic!("{failure:?}")
    };
    assert_eq!(phase, Phase::Idle);

    // Both calls are closed at the provider, not only given up on.
    stats_when(&provider, |stats| stats.aborted == 2).await;
}

#[tokio::test]
async fn a_provider_that_accepts_and_does_not_shake_hands_times_out_as_a_connection() {
    let listener = loopback().await;
    let base_url = format!("https://{}/v1", listener.local_addr().expect("bound"));
    let hasty = Timeouts {
        connect: Duration::from_millis(60),
        ..PATIENT
    };
    let (_, failure) = collect(&client(&base_url, hasty), &asks("hello")).await;
    let Some(LlmError::Timeout { phase }) = failure else {
        panic!("{failure:?}")
    };
    assert_eq!(phase, Phase::Connect);
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_unavailable() {
    let listener = loopback().await;
    let base_url = format!("http://{}/v1", listener.local_addr().expect("bound"));
    drop(listener);
    let (_, failure) = collect(&client(&base_url, PATIENT), &asks("hello")).await;
    let failure = failure.expect("an error");
    assert_eq!(failure.kind(), "unavailable");
    assert!(failure.is_retryable());
}

#[tokio::test]
async fn dropping_a_reply_aborts_the_call_at_the_provider() {
    let provider = provider().await;
    let llm = client(&provider.base_url(), PATIENT);
    let endless = Script {
        pieces: vec!["word ".into(); 5_000],
        pause_ms: 5,
        ..Script::default()
    };
    let mut reply = llm.stream(&obeys(&endless)).await.expect("an answer");
    for _ in 0..3 {
        assert!(matches!(reply.next().await, Some(Ok(Piece::Text(_)))));
    }
    drop(reply);
    let stats = stats_when(&provider, |stats| stats.aborted == 1).await;
    assert!((3..5_000).contains(&stats.pieces), "{stats:?}");
    assert_eq!(stats.completion_tokens, (stats.pieces * 5).div_ceil(4));
    assert_eq!((stats.calls, stats.finished), (1, 0));

    // Before the first byte, too.
    let silent = obeys(&Script {
        fail: Some(Failure::Hang),
        ..Script::default()
    });
    let asking = tokio::time::timeout(Duration::from_millis(60), llm.stream(&silent));
    assert!(asking.await.is_err());
    stats_when(&provider, |stats| stats.calls == 2 && stats.aborted == 2).await;
}

#[tokio::test]
async fn the_provider_counts_what_it_served() {
    let provider = provider().await;
    let llm = client(&provider.base_url(), PATIENT);
    let usage = TokenUsage {
        prompt_tokens: 10,
        completion_tokens: 20,
        cached_tokens: 0,
    };
    let script = Script {
        pieces: texts(["a", "b"]),
        usage: Some(usage),
        ..Script::default()
    };
    collect(&llm, &obeys(&script)).await;
    let cut = Script {
        fail: Some(Failure::Unavailable),
        ..Script::default()
    };
    provider.desk.order(&cut, 2);
    for _ in 0..2 {
        let (_, failure) = collect(&llm, &obeys(&script)).await;
        assert_eq!(failure.map(|failure| failure.kind()), Some("unavailable"));
    }
    let (_, failure) = collect(&llm, &obeys(&script)).await;
    assert!(failure.is_none(), "the order is carried out");
    let stats = stats_when(&provider, |stats| stats.finished + stats.failed == 4).await;
    let expected = Stats {
        connections: stats.connections,
        calls: 4,
        finished: 2,
        failed: 2,
        aborted: 0,
        pieces: 4,
        prompt_tokens: 20,
        completion_tokens: 40,
    };
    assert_eq!(stats, expected);
}

#[tokio::test]
async fn answers_that_are_read_to_their_end_share_a_connection() {
    let provider = provider().await;
    let llm = client(&provider.base_url(), PATIENT);
    for _ in 0..20 {
        let (_, failure) = collect(&llm, &asks("What is osmosis?")).await;
        assert!(failure.is_none());
    }
    // Not always one: a call may begin before the connection of the last one is back in the pool.
    let connections = provider.desk.stats().connections;
    assert!(connections < 10, "{connections} connections for 20 calls");
}

#[tokio::test]
async fn a_query_lays_a_fault_over_the_answer() {
    let provider = provider().await;
    let base_url = format!("{}?fail=cut&fail_after=2", provider.base_url());
    let (pieces, failure) = collect(&client(&base_url, PATIENT), &asks("hello")).await;
    assert_eq!(text(&pieces), "one two ");
    assert_eq!(failure.map(|failure| failure.kind()), Some("cut"));
}

#[tokio::test]
async fn the_provider_sees_the_whole_prompt_the_key_and_the_trace() {
    let provider = provider().await;
    let settings = Settings {
        base_url: Some(provider.base_url()),
        api_key: ApiKey::new("sk-test"),
        timeouts: PATIENT,
        scripting: Scripting::Ignored,
        roots: None,
        tokenizer: None,
    };
    let llm = Llm::from_settings(&settings).expect("a client");
    let mut prompt = asks("hello");
    prompt.messages.insert(0, Message::system("be kind"));
    prompt.tools.push(Tool {
        name: "now".into(),
        description: "the time".into(),
        parameters: json!({"type": "object", "properties": {}}),
    });
    prompt.trace_parent = TraceParent::new("4bf92f3577b34da6a3ce929d0e0e4736", 7);
    collect(&llm, &prompt).await;

    let requests = provider.desk.requests();
    let [request] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert_eq!(
        request["body"]["messages"][0],
        json!({"role": "system", "content": "be kind"})
    );
    assert_eq!(request["body"]["tools"][0]["function"]["name"], "now");
    assert_eq!(request["body"]["max_tokens"], 1000);
    assert_eq!(request["body"]["stream_options"]["include_usage"], true);
    assert_eq!(
        request["headers"]["traceparent"],
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000007-01"
    );
    assert!(
        !request.to_string().contains("sk-test"),
        "the provider does not tell the key on"
    );
}

#[tokio::test]
async fn what_came_after_the_last_piece_is_paid_when_a_wait_is_given_up() {
    let said = [
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ab\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"let me think of that\"}}]}\n\n",
    ];
    let answer = any(move || async move {
        let begun = futures_util::stream::iter(said).then(|event| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok::<_, std::io::Error>(event)
        });
        let silent = begun.chain(futures_util::stream::pending());
        let body = axum::body::Body::from_stream(silent);
        ([("content-type", "text/event-stream")], body)
    });
    let listener = loopback().await;
    let base_url = format!("http://{}/v1", listener.local_addr().expect("bound"));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });

    let (llm, prompt) = (client(&base_url, PATIENT), asks("hello"));
    let mut heard = Heard::default();
    let listening = heard.listen(&llm, &prompt);
    let waited = tokio::time::timeout(Duration::from_millis(500), listening).await;
    assert!(waited.is_err());
    let consumed = heard.consumed(&prompt);
    assert_eq!((&*heard.text, heard.counted), ("ab", None));
    assert_eq!(consumed.completion_tokens, 2 + 20);
}

/// A server that answers every call alike.
async fn stub(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> (JoinSet<()>, String) {
    let listener = loopback().await;
    let base_url = format!("http://{}/v1", listener.local_addr().expect("bound"));
    let answer = any(move |request: axum::extract::Request| async move {
        let key = request
            .headers()
            .get("authorization")
            .and_then(|key| key.to_str().ok());
        let body = body.replace("{KEY}", key.unwrap_or_default());
        let mut response = axum::http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response
            .body(axum::body::Body::from(body))
            .expect("a response")
    });
    let mut server = JoinSet::new();
    server.spawn(async move {
        axum::serve(listener, Router::new().fallback(answer))
            .await
            .expect("a server");
    });
    (server, base_url)
}

#[tokio::test]
async fn what_is_not_a_stream_is_read_for_what_it_is() {
    let json = &[("content-type", "application/json; charset=utf-8")];
    let whole = r#"{"id":"r","choices":[{"message":{"content":"ab"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    for (status, headers, body, expected) in [
        (200, &json[..], whole, Ok("ab")),
        (
            200,
            &json[..],
            r#"{"error":{"message":"x","code":"rate_limit_exceeded"}}"#,
            Err("rate_limited"),
        ),
        (200, &json[..], "{\"choices\":[]}", Err("garbage")),
        (200, &json[..], "{", Err("garbage")),
        (
            200,
            &[("content-type", "text/html")][..],
            "<html>",
            Err("garbage"),
        ),
        (200, &[][..], "hello", Err("cut")),
        (200, &[][..], "", Err("cut")),
        (
            302,
            &[("location", "http://127.0.0.1:1/")][..],
            "",
            Err("refused"),
        ),
        (
            404,
            &[("content-type", "text/html")][..],
            "<html>",
            Err("refused"),
        ),
        (502, &[][..], "bad gateway", Err("unavailable")),
    ] {
        let (_server, base_url) = stub(status, headers, body).await;
        let (pieces, failure) = collect(&client(&base_url, PATIENT), &asks("hello")).await;
        let result = match failure {
            None => Ok(text(&pieces)),
            Some(failure) => Err(failure.kind()),
        };
        assert_eq!(
            result.as_deref().map_err(|kind| *kind),
            expected,
            "{status} {body}"
        );
    }
}

#[tokio::test]
async fn a_key_that_the_provider_quotes_is_not_kept() {
    let (_server, base_url) = stub(401, &[], "{\"error\":{\"message\":\"bad key: {KEY}\"}}").await;
    let settings = Settings {
        base_url: Some(base_url),
        api_key: ApiKey::new("sk-very-secret"),
        timeouts: PATIENT,
        scripting: Scripting::Ignored,
        roots: None,
        tokenizer: None,
    };
    let llm = Llm::from_settings(&settings).expect("a client");
    let Err(LlmError::Refused { status, said }) = llm.stream(&asks("hello")).await else {
        panic!("not refused")
    };
    assert_eq!(status, 401);
    assert_eq!(said.as_str(), "bad key: Bearer [key]");
}
