//! What the parser of a provider's answer makes of good and bad streams.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;
use crate::prompt::ToolCall;
use crate::reply::FinishReason;
use sparkle_core::unit::TokenUsage;

/// What a body becomes when it arrives in these parts and then ends.
fn read(parts: &[&[u8]]) -> (Vec<Piece>, Option<LlmError>) {
    let mut wire = Wire::default();
    for part in parts {
        if wire.error.is_none() && !wire.assembly.is_over() {
            wire.push(part);
        }
    }
    if wire.error.is_none() {
        wire.end(None);
    }
    let pieces: Vec<Piece> = wire.assembly.ready.drain(..).collect();
    // A finished answer is finished, whatever follows it.
    let is_finished = matches!(pieces.last(), Some(Piece::Finish { .. }));
    (pieces, wire.error.filter(|_| !is_finished))
}

fn read_whole(body: &str) -> (Vec<Piece>, Option<&'static str>) {
    let (pieces, error) = read(&[body.as_bytes()]);
    (pieces, error.map(|error| error.kind()))
}

fn texts(pieces: &[Piece]) -> String {
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => Some(text.clone()),
        _ => None,
    };
    pieces.iter().filter_map(text).collect()
}

fn finish(reason: FinishReason, usage: Option<(u32, u32, u32)>, id: Option<&str>) -> Piece {
    let usage = usage.map(
        |(prompt_tokens, completion_tokens, cached_tokens)| TokenUsage {
            prompt_tokens,
            completion_tokens,
            cached_tokens,
        },
    );
    Piece::Finish {
        reason,
        usage,
        response_id: id.map(str::to_owned),
    }
}

/// An answer with multi-byte text, every line break, comments, tool calls woven into each other.
const BODY: &str = concat!(
    ": keep-alive\r\n\r\n",
    "data: {\"id\":\"r1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
    "data: {\"id\":\"r1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"导数 🙂\"},\"finish_reason\":null}],\"usage\":null}\r\n\r\n",
    "event: message\rdata:{\"choices\":[{\"delta\":{\"content\":\" é\\n$x^2$ \\ud83d\\ude42\"}}]}\r\r",
    ":\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":null,\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"add\",\"arguments\":\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"查\",\"arguments\":\"{\\\"词\\\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"a\\\":1}\"}},{\"index\":1,\"function\":{\"arguments\":\":\\\"极限\\\"}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n",
    "data: [DONE]\n\n",
);

fn body_pieces() -> Vec<Piece> {
    let call = |id: &str, name: &str, arguments: &str| {
        Piece::ToolCall(ToolCall {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
        })
    };
    vec![
        Piece::Text("导数 🙂".into()),
        Piece::Text(" é\n$x^2$ 🙂".into()),
        call("a", "add", "{\"a\":1}"),
        call("b", "查", "{\"词\":\"极限\"}"),
        finish(FinishReason::ToolCalls, Some((7, 9, 4)), Some("r1")),
    ]
}

#[test]
fn every_way_to_cut_the_bytes_gives_the_same_pieces() {
    let body = BODY.as_bytes();
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(read(&bytes).0, body_pieces());
    for cut in 0..=body.len() {
        let (head, tail) = body.split_at(cut);
        let (pieces, error) = read(&[head, tail]);
        assert_eq!(pieces, body_pieces(), "cut at {cut}");
        assert!(error.is_none(), "cut at {cut}");
    }
}

#[test]
fn an_answer_that_ends_early_is_cut_and_keeps_what_came() {
    let last_word = BODY
        .find("\"finish_reason\":\"tool_calls\"")
        .expect("a last word");
    for end in 0..last_word {
        let (pieces, error) = read(&[&BODY.as_bytes()[..end]]);
        assert_eq!(
            error.map(|error| error.kind()),
            Some("cut"),
            "ended at {end}"
        );
        assert!(
            texts(&body_pieces()).starts_with(&texts(&pieces)),
            "ended at {end}"
        );
        assert!(
            !pieces
                .iter()
                .any(|piece| matches!(piece, Piece::ToolCall(_)))
        );
    }
}

#[test]
fn an_answer_without_its_last_lines_is_complete() {
    let done = BODY.find("data: [DONE]").expect("an end mark");
    assert_eq!(read_whole(&BODY[..done]), (body_pieces(), None));
    assert_eq!(read_whole(BODY.trim_end()), (body_pieces(), None));
    let usage = BODY.find("data: {\"choices\":[],").expect("a report");
    let (pieces, error) = read_whole(&BODY[..usage]);
    assert_eq!(error, None);
    assert_eq!(
        pieces.last(),
        Some(&finish(FinishReason::ToolCalls, None, Some("r1")))
    );
}

#[test]
fn nothing_after_the_end_mark_counts() {
    let body = format!("{BODY}{AB}data: garbage\n\ndata: {{\"error\":\"late\"}}\n\n");
    assert_eq!(read_whole(&body), (body_pieces(), None));
}

#[test]
fn a_report_from_before_the_last_word_is_not_the_bill() {
    let (pieces, _) = read_whole(concat!(
        "data: {\"choices\":[{\"delta\":{\"content\":\"ab\"}}],\"usage\":{\"prompt_tokens\":3}}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: [DONE]\n\n",
    ));
    assert_eq!(pieces.last(), Some(&finish(FinishReason::Stop, None, None)));
}

#[test]
fn dialects_of_other_servers_are_understood() {
    let cases: [(&str, &str, Piece); 9] = [
        (
            "usage along the way, the last one counts, null erases nothing",
            r#"{"choices":[{"delta":{"content":"ab"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}
               {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}
               {"choices":null,"usage":null}"#,
            finish(FinishReason::Stop, Some((3, 2, 0)), None),
        ),
        (
            "usage inside of the choice, and DeepSeek's name for cached tokens",
            r#"{"choices":[{"delta":{"content":"ab"},"finish_reason":"stop","usage":{"prompt_tokens":3,"completion_tokens":2,"prompt_cache_hit_tokens":1}}]}"#,
            finish(FinishReason::Stop, Some((3, 2, 1)), None),
        ),
        (
            "a report that makes no sense is none",
            r#"{"choices":[{"delta":{"content":"ab"},"finish_reason":"length"}],"usage":{"prompt_tokens":-1}}"#,
            finish(FinishReason::Length, None, None),
        ),
        (
            "a refusal is what the model says",
            r#"{"choices":[{"delta":{"content":null,"refusal":"ab"},"finish_reason":"stop"}]}"#,
            finish(FinishReason::Refused, None, None),
        ),
        (
            "other choices and events without meaning",
            r#"{"choices":[{"index":1,"delta":{"content":"no"}}]}
               {}
               {"type":"ping"}
               {"choices":[{"index":0,"delta":{"content":"ab","reasoning_content":"hm"},"finish_reason":""}]}
               {"choices":[{"delta":null,"finish_reason":"eos"}]}"#,
            finish(FinishReason::Stop, None, None),
        ),
        (
            "a filter's end",
            r#"{"id":"","choices":[{"delta":{"content":"ab"},"finish_reason":"content_filter"}]}"#,
            finish(FinishReason::ContentFilter, None, None),
        ),
        (
            "an answer in one go",
            r#"{"choices":[{"message":{"role":"assistant","content":"ab"},"finish_reason":"stop"}]}"#,
            finish(FinishReason::Stop, None, None),
        ),
        (
            "a call that ran into the limit is not a call",
            r#"{"choices":[{"delta":{"content":"ab","tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":"}}]}}]}
               {"choices":[{"delta":{},"finish_reason":"length"}]}"#,
            finish(FinishReason::Length, None, None),
        ),
        (
            "error: null is no error",
            r#"{"error":null,"choices":[{"delta":{"content":"ab"},"finish_reason":"stop"}]}"#,
            finish(FinishReason::Stop, None, None),
        ),
    ];
    for (name, events, end) in cases {
        let body = events.lines().fold(String::new(), |body, event| {
            body + "data: " + event.trim() + "\n\n"
        });
        let (pieces, error) = read_whole(&body);
        assert_eq!(error, None, "{name}");
        assert_eq!(texts(&pieces), "ab", "{name}");
        assert_eq!(pieces.last(), Some(&end), "{name}");
        assert!(
            !pieces
                .iter()
                .any(|piece| matches!(piece, Piece::ToolCall(_))),
            "{name}"
        );
    }
}

#[test]
fn tool_calls_without_index_id_or_text_arguments_are_completed() {
    let body = concat!(
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":\"}\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":{\"x\":1}}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":7,\"function\":{\"name\":\"h\"}}]},\"finish_reason\":\"stop\"}]}\n\n",
    );
    let call = |id: &str, name: &str, arguments: &str| {
        Piece::ToolCall(ToolCall {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
        })
    };
    let expected = vec![
        call("a", "f", "{}"),
        call("b", "g", "{\"x\":1}"),
        call("call_2", "h", "{}"),
        finish(FinishReason::ToolCalls, None, None),
    ];
    assert_eq!(read_whole(body), (expected, None));
}

#[test]
fn what_is_not_an_answer_is_an_error_after_what_came_before() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"ab\"}}]}\n\n";
    let nameless = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]},\"finish_reason\":\"stop\"}]}\n\n";
    for (rest, kind) in [
        ("data: {\"choi\n\n", "garbage"),
        ("data: [1,2]\n\n", "garbage"),
        ("data: \"x\"\n\n", "garbage"),
        ("data: {\"choices\":7}\n\n", "garbage"),
        (nameless, "garbage"),
        (
            "data: {\"error\":{\"message\":\"x\",\"code\":429}}\n\n",
            "rate_limited",
        ),
        (
            "event: error\ndata: {\"error\":\"overloaded\"}\n\n",
            "unavailable",
        ),
        (
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}\n\n",
            "cut",
        ),
        ("data: [DONE]\n\n", "cut"),
        ("data: {\"choi", "cut"),
        ("<html>\n\n", "cut"),
    ] {
        let (pieces, error) = read_whole(&format!("{text}{rest}"));
        assert_eq!(pieces, [Piece::Text("ab".into())], "{rest}");
        assert_eq!(error, Some(kind), "{rest}");
    }
    let (pieces, error) = read(&[text.as_bytes(), b"data: \xff\n\n"]);
    assert_eq!(pieces.len(), 1);
    assert_eq!(error.map(|error| error.kind()), Some("garbage"));
}

proptest! {
    #[test]
    fn arbitrary_bytes_end_in_an_error_or_a_finish(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
    ) {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let (pieces, error) = read(&parts);
        prop_assert!(pieces.is_empty() && error.is_some());
    }

    #[test]
    fn a_damaged_answer_ends_in_an_error_or_a_finish(
        at in 0..BODY.len(), byte in any::<u8>(), cut in 0..BODY.len(),
    ) {
        let mut body = BODY.as_bytes().to_vec();
        body[at] = byte;
        let (head, tail) = body.split_at(cut);
        let (pieces, error) = read(&[head, tail]);
        let finishes = pieces.iter().filter(|piece| matches!(piece, Piece::Finish { .. })).count();
        prop_assert_eq!(finishes, usize::from(error.is_none()));
        // However it arrives, it is the same damage.
        prop_assert_eq!(pieces, read(&[&body]).0);
    }

    #[test]
    fn arbitrary_json_is_never_more_than_an_error(event in "\\PC{0,60}") {
        let (pieces, error) = read_whole(&format!("data: {event}\n\n"));
        prop_assert!(pieces.is_empty() && error.is_some());
    }
}

/// An answer whose bytes the test sends, on a clock that stands still until nothing else moves.
fn answer(first_byte_s: u64, idle_s: u64) -> (mpsc::Sender<&'static str>, Answer) {
    let (sender, receiver) = mpsc::channel::<&'static str>(8);
    let bytes = stream::unfold(receiver, |mut receiver| async {
        let text = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), receiver))
    });
    let response = axum::http::Response::new(reqwest::Body::wrap_stream(bytes));
    let (first_byte, idle) = (
        Duration::from_secs(first_byte_s),
        Duration::from_secs(idle_s),
    );
    (
        sender,
        Answer::from_events(response.into(), first_byte, idle),
    )
}

const AB: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"ab\"}}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

async fn seconds_until<T>(what: impl Future<Output = T>) -> (u64, T) {
    let begun = Instant::now();
    let result = what.await;
    (begun.elapsed().as_secs(), result)
}

fn phase(result: &Result<Piece, LlmError>) -> Option<Phase> {
    match result {
        Err(LlmError::Timeout { phase }) => Some(*phase),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn silence_times_out_before_and_within_an_answer() {
    let (sender, mut silent) = answer(30, 10);
    let (seconds, piece) = seconds_until(silent.next()).await;
    assert_eq!((seconds, phase(&piece)), (30, Some(Phase::FirstByte)));
    assert!(
        sender.is_closed(),
        "the response is dropped, not only forgotten"
    );

    let (sender, mut stuck) = answer(30, 10);
    sender.send(AB).await.expect("open");
    assert_eq!(stuck.next().await.ok(), Some(Piece::Text("ab".into())));
    let (seconds, piece) = seconds_until(stuck.next()).await;
    assert_eq!((seconds, phase(&piece)), (10, Some(Phase::Idle)));
}

#[tokio::test(start_paused = true)]
async fn keep_alive_comments_do_not_prolong_the_wait() {
    let (sender, mut answer) = answer(30, 10);
    let comments = async {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if sender.send(": working\n\n").await.is_err() {
                break;
            }
        }
    };
    let ((seconds, piece), ()) = tokio::join!(seconds_until(answer.next()), comments);
    assert_eq!((seconds, phase(&piece)), (30, Some(Phase::FirstByte)));
}

#[tokio::test(start_paused = true)]
async fn asking_in_short_turns_neither_prolongs_the_wait_nor_loses_pieces() {
    let (sender, mut answer) = answer(30, 10);
    let begun = Instant::now();
    sender.send(AB).await.expect("open");
    let (mut pieces, mut turns) = (Vec::new(), 0);
    let error = loop {
        match timeout(Duration::from_millis(300), answer.next()).await {
            Ok(Ok(piece)) => pieces.push(piece),
            Ok(Err(error)) => break error,
            Err(_elapsed) => turns += 1,
        }
    };
    assert_eq!(pieces, [Piece::Text("ab".into())]);
    assert_eq!(error.kind(), "timeout");
    assert!(turns > 30);
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_slow_caller_is_not_a_silent_provider() {
    let (sender, mut answer) = answer(30, 10);
    sender.send(AB).await.expect("open");
    answer.next().await.expect("a piece");
    tokio::time::sleep(Duration::from_secs(100)).await;
    let late = async {
        tokio::time::sleep(Duration::from_secs(9)).await;
        sender.send(AB).await.expect("open");
    };
    let (piece, ()) = tokio::join!(answer.next(), late);
    assert_eq!(piece.ok(), Some(Piece::Text("ab".into())));
}

#[tokio::test(start_paused = true)]
async fn a_complete_answer_does_not_wait_long_for_its_cost() {
    let (sender, mut answer) = answer(30, 10);
    sender.send(AB).await.expect("open");
    sender.send(STOP).await.expect("open");
    answer.next().await.expect("a piece");
    let (seconds, piece) = seconds_until(answer.next()).await;
    assert_eq!(seconds, 3);
    assert_eq!(piece.ok(), Some(finish(FinishReason::Stop, None, None)));
    assert!(sender.is_closed());
}

#[tokio::test(start_paused = true)]
async fn the_end_mark_frees_the_connection_without_waiting_for_the_end_of_the_body() {
    let (sender, mut answer) = answer(30, 10);
    sender.send(STOP).await.expect("open");
    sender.send("data: [DONE]\n\n").await.expect("open");
    let (seconds, piece) = seconds_until(answer.next()).await;
    assert_eq!((seconds, piece.is_ok()), (0, true));
    assert!(sender.is_closed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_is_cut_short() {
    let (sender, mut answer) = answer(30, 10);
    let flood: &'static str = ":\n".repeat(512 * 1024).leak();
    let pour = async { while sender.send(flood).await.is_ok() {} };
    let (piece, ()) = tokio::join!(answer.next(), pour);
    assert_eq!(piece.map_err(|error| error.kind()), Err("garbage"));
}
