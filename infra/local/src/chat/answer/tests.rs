//! What an answer makes of frames that come late, twice, not at all, or again on another connection.

use proptest::prelude::*;

use super::*;

const STREAM: u64 = 7;

fn delta(seq: u64) -> Value {
    json!({ "type": "delta", "stream": STREAM, "seq": seq, "payload": { "text": seq.to_string() } })
}

/// A frame of the stream; the first and the last name their request.
fn frame(answer: &Answer, seq: u64, last_seq: u64) -> Value {
    let mut frame = delta(seq);
    if seq == 1 || seq == last_seq {
        frame["request_id"] = json!(answer.request_id);
    }
    if seq == last_seq {
        frame["type"] = json!("done");
    }
    frame
}

fn ack(request_id: &str) -> Value {
    json!({ "type": "ack", "request_id": request_id, "stream": STREAM, "payload": {} })
}

fn refusal(request_id: &str, code: &str, is_retryable: bool) -> Value {
    let payload = json!({ "code": code, "retryable": is_retryable, "retry_after_ms": 250 });
    json!({ "type": "error", "request_id": request_id, "payload": payload })
}

fn seqs(heard: Heard) -> Vec<u64> {
    match heard {
        Heard::Frames(frames) => frames
            .iter()
            .map(|frame| frame["seq"].as_u64().unwrap())
            .collect(),
        Heard::Nothing => Vec::new(),
        Heard::Later(pause) => panic!("to be asked again in {pause:?}"),
    }
}

/// Type, and the payload where it is no question.
fn sent(answer: &mut Answer) -> Vec<(String, Value)> {
    let frames = answer.outgoing();
    let word = |frame: &Value| frame["type"].as_str().unwrap().to_owned();
    frames
        .iter()
        .map(|frame| (word(frame), frame["payload"].clone()))
        .collect()
}

fn asked() -> Answer {
    let mut answer = Answer::to("s1", "hi");
    answer.ask();
    assert_eq!(
        sent(&mut answer),
        [(
            "chat".to_owned(),
            json!({ "session_id": "s1", "message": "hi" })
        )]
    );
    answer
}

fn taken() -> Answer {
    let mut answer = asked();
    let ack = ack(&answer.request_id);
    assert_eq!(answer.accept(ack), Heard::Frames(Vec::new()));
    answer
}

fn resume(answer: &Answer, after_seq: u64) -> (String, Value) {
    (
        "resume".to_owned(),
        json!({ "request_id": answer.request_id, "after_seq": after_seq }),
    )
}

#[test]
fn without_an_ack_the_same_question_is_asked_again() {
    let mut answer = Answer::to("s1", "hi");
    answer.ask();
    let first = answer.outgoing();
    answer.ask();
    assert_eq!(answer.outgoing(), first);
    assert_eq!(answer.outgoing(), Vec::<Value>::new());
}

#[test]
fn after_an_ack_it_is_resumed_after_the_last_frame_that_has_all_before_it() {
    let mut answer = taken();
    answer.ask();
    assert_eq!(sent(&mut answer), [resume(&answer, 0)]);
    for seq in [1, 2, 4] {
        answer.accept(delta(seq));
    }
    answer.outgoing();
    answer.ask();
    assert_eq!(sent(&mut answer), [resume(&answer, 2)]);
}

#[test]
fn a_first_frame_is_as_good_as_an_ack() {
    let mut answer = asked();
    let first = frame(&answer, 1, 9);
    assert_eq!(seqs(answer.accept(first)), [1]);
    answer.ask();
    assert_eq!(sent(&mut answer), [resume(&answer, 1)]);
}

#[test]
fn frames_before_their_stream_is_named_wait() {
    let mut answer = asked();
    assert_eq!(answer.accept(delta(2)), Heard::Nothing);
    let mut foreign = delta(1);
    foreign["stream"] = json!(8);
    assert_eq!(answer.accept(foreign), Heard::Nothing);
    assert!(!answer.has_gap());
    let first = frame(&answer, 1, 9);
    assert_eq!(seqs(answer.accept(first)), [1, 2]);
    assert!(!answer.has_gap());
}

#[test]
fn a_gap_is_asked_for_once_until_it_is_closed() {
    let mut answer = taken();
    assert_eq!(seqs(answer.accept(delta(1))), [1]);
    assert_eq!(answer.accept(delta(3)), Heard::Nothing);
    assert_eq!(sent(&mut answer), [resume(&answer, 1)]);
    assert_eq!(answer.accept(delta(4)), Heard::Nothing);
    assert_eq!(sent(&mut answer), []);
    assert!(answer.has_gap());
    assert_eq!(seqs(answer.accept(delta(2))), [2, 3, 4]);
    assert!(!answer.has_gap());
    assert_eq!(answer.accept(delta(6)), Heard::Nothing);
    assert_eq!(sent(&mut answer), [resume(&answer, 4)]);
}

#[test]
fn a_cancel_waits_for_the_ack_and_is_repeated_with_the_resume() {
    let mut answer = asked();
    assert!(answer.cancel());
    assert!(!answer.cancel());
    assert_eq!(sent(&mut answer), []);
    let ack = ack(&answer.request_id);
    answer.accept(ack);
    let cancel = (
        "cancel".to_owned(),
        json!({ "request_id": answer.request_id }),
    );
    assert_eq!(sent(&mut answer), std::slice::from_ref(&cancel));
    answer.ask();
    assert_eq!(sent(&mut answer), [resume(&answer, 0), cancel]);
}

#[test]
fn a_refusal_ends_what_never_began_and_postpones_what_may_run() {
    let mut answer = asked();
    let refused = refusal(&answer.request_id, "RATE_LIMITED", true);
    assert_eq!(answer.accept(refused.clone()), Heard::Frames(vec![refused]));
    assert!(answer.is_over());

    let mut answer = asked();
    answer.ask(); // the first one may have arrived
    let refused = refusal(&answer.request_id, "RATE_LIMITED", true);
    assert_eq!(
        answer.accept(refused),
        Heard::Later(Duration::from_millis(250))
    );

    let mut answer = taken();
    answer.ask();
    let refused = refusal(&answer.resume_id, "UNAVAILABLE", true);
    assert_eq!(
        answer.accept(refused),
        Heard::Later(Duration::from_millis(250))
    );
    assert!(!answer.is_over());
    let unknown = refusal(&answer.resume_id, "NOT_FOUND", false);
    answer.accept(unknown);
    assert!(answer.is_over());
}

#[test]
fn a_refused_cancel_and_frames_of_others_mean_nothing() {
    let mut answer = taken();
    answer.cancel();
    let cancel_id = answer.outgoing()[0]["request_id"]
        .as_str()
        .unwrap()
        .to_owned();
    for frame in [
        refusal(&cancel_id, "NOT_FOUND", false),
        ack("another"),
        json!({ "type": "pong", "request_id": "another" }),
        json!({ "type": "delta", "seq": 1 }),
        json!({ "type": 5, "seq": "x" }),
    ] {
        assert_eq!(answer.accept(frame), Heard::Nothing);
    }
    assert!(!answer.is_over());
}

#[test]
fn what_is_held_is_bounded_and_asked_for_again() {
    let mut answer = taken();
    for seq in 2..5_000 {
        answer.accept(delta(seq));
    }
    assert_eq!(answer.held.len(), HELD_FRAMES_MAX);
    assert_eq!(seqs(answer.accept(delta(1))).len(), 1 + HELD_FRAMES_MAX);
}

proptest! {
    /// Each connection carries some frames of the stream, in any order, some twice; then it is cut. The last one
    /// carries what is asked for.
    #[test]
    fn whatever_the_connections_do_each_frame_is_shown_once_and_in_order(
        last_seq in 1u64..40,
        connections in prop::collection::vec(prop::collection::vec(1u64..40, 0..60), 0..5),
    ) {
        let mut answer = asked();
        let mut shown = Vec::new();
        for connection in connections {
            for seq in connection.into_iter().filter(|&seq| seq <= last_seq) {
                let frame = frame(&answer, seq, last_seq);
                shown.extend(seqs(answer.accept(frame)));
            }
            answer.ask();
        }
        let after_seq = match sent(&mut answer).last() {
            Some((kind, payload)) if kind == "resume" => payload["after_seq"].as_u64().unwrap(),
            _ => 0,
        };
        prop_assert_eq!(after_seq, shown.len() as u64);
        for seq in after_seq + 1..=last_seq {
            let frame = frame(&answer, seq, last_seq);
            shown.extend(seqs(answer.accept(frame)));
        }
        prop_assert_eq!(shown, (1..=last_seq).collect::<Vec<_>>());
        prop_assert!(answer.is_over());
    }
}
