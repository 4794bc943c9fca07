//! What clients ask of answers that were given: golden bytes and refusals.
#![expect(clippy::unwrap_used, reason = "what a test makes up is valid")]

use sparkle_core::frame::{ErrorCode, Feedback, Lookup, Rating, Request, Target};
use sparkle_wire::frame::{check_lookup, decode};

/// What is asked of answers in both codecs, and with what may be left out; the Protobuf bytes were written by
/// another implementation.
fn about_answers() -> [(&'static str, &'static str, Request); 4] {
    let lookup = |language: &str, role: &str, model: &str| {
        Request::Lookup(Lookup {
            message: "什么是导数?".to_owned(),
            language: language.to_owned(),
            role: role.to_owned(),
            model: model.to_owned(),
        })
    };
    let feedback = |target, id: &str, stars, comment: &str| {
        Request::Feedback(Feedback {
            target,
            id: id.to_owned(),
            rating: Rating::of_stars(stars).unwrap(),
            comment: comment.to_owned(),
        })
    };
    [
        (
            r#"{"version":"2.0","type":"lookup","request_id":"r5","payload":{"message":"什么是导数?","language":"zh-CN","role":"coach","model":"gpt-4o"}}"#,
            "CgMyLjASBmxvb2t1cBooChDku4DkuYjmmK/lr7zmlbA/EgV6aC1DThoFY29hY2giBmdwdC00byoCcjU=",
            lookup("zh-CN", "coach", "gpt-4o"),
        ),
        (
            r#"{"version":"2.0","type":"lookup","request_id":"r5","payload":{"message":"什么是导数?"}}"#,
            "CgMyLjASBmxvb2t1cBoSChDku4DkuYjmmK/lr7zmlbA/KgJyNQ==",
            lookup("", "", ""),
        ),
        (
            r#"{"version":"2.0","type":"feedback","request_id":"r5","payload":{"target":"answer","id":"r1","rating":1,"comment":"wrong"}}"#,
            "CgMyLjASCGZlZWRiYWNrGhUKBmFuc3dlchICcjEYASIFd3JvbmcqAnI1",
            feedback(Target::Answer, "r1", 1, "wrong"),
        ),
        (
            r#"{"version":"2.0","type":"feedback","request_id":"r5","payload":{"target":"node","id":"n 1","rating":5}}"#,
            "CgMyLjASCGZlZWRiYWNrGg0KBG5vZGUSA24gMRgFKgJyNQ==",
            feedback(Target::Node, "n 1", 5, ""),
        ),
    ]
}

#[test]
fn what_is_asked_of_answers_is_read_from_either_codec() {
    for (json, protobuf, request) in about_answers() {
        for text in [json, protobuf] {
            assert_eq!(decode(text).unwrap().1.request, request, "{text}");
        }
    }
}

#[test]
fn what_is_wrong_with_what_is_asked_of_answers_is_told_by_its_field() {
    let frame = |kind: &str, payload: &str| {
        format!(r#"{{"version":"2.0","type":"{kind}","request_id":"r5","payload":{payload}}}"#)
    };
    let lookup = |payload: &str| frame("lookup", payload);
    let feedback = |id: &str, rest: &str| {
        frame(
            "feedback",
            &format!(r#"{{"target":"answer","id":"{id}",{rest}}}"#),
        )
    };
    let (wrong, too_large) = (ErrorCode::InvalidArgument, ErrorCode::TooLarge);
    #[rustfmt::skip]
    let cases = [
        (lookup("{}"), wrong, "payload.message"),
        (lookup(r#"{"message":" "}"#), wrong, "payload.message"),
        (lookup(r#"{"message":"a\u0007"}"#), wrong, "payload.message"),
        (lookup(&format!(r#"{{"message":"{}"}}"#, "x".repeat(32_769))), too_large, "payload.message"),
        (lookup(r#"{"message":"hi","language":"x y"}"#), wrong, "payload.language"),
        (lookup(r#"{"message":"hi","role":"a b"}"#), wrong, "payload.role"),
        (lookup(r#"{"message":"hi","model":"a b"}"#), wrong, "payload.model"),
        (lookup(r#"["hi"]"#), wrong, "payload"),
        (frame("feedback", "{}"), wrong, "payload.target"),
        (frame("feedback", r#"{"target":"tutor","id":"r1","rating":1}"#), wrong, "payload.target"),
        (feedback("", r#""rating":1"#), wrong, "payload.id"),
        (feedback(" ", r#""rating":1"#), wrong, "payload.id"),
        (feedback("a\\nb", r#""rating":1"#), wrong, "payload.id"),
        (feedback(&"r".repeat(257), r#""rating":1"#), too_large, "payload.id"),
        (feedback("r1", r#""comment":"good""#), wrong, "payload.rating"),
        (feedback("r1", r#""rating":0"#), wrong, "payload.rating"),
        (feedback("r1", r#""rating":6"#), wrong, "payload.rating"),
        (feedback("r1", r#""rating":-1"#), wrong, "payload.rating"),
        (feedback("r1", r#""rating":1.5"#), wrong, "payload.rating"),
        (feedback("r1", r#""rating":"5""#), wrong, "payload.rating"),
        (feedback("r1", r#""rating":1,"comment":"a\u0000b""#), wrong, "payload.comment"),
        (feedback("r1", &format!(r#""rating":1,"comment":"{}""#, "好".repeat(667))), too_large, "payload.comment"),
    ];
    for (text, code, field) in cases {
        let shown: String = text.chars().take(120).collect();
        let error = decode(&text).unwrap_err();
        let found = (error.code, error.field.as_deref());
        assert_eq!(found, (code, Some(field)), "{shown}");
    }
    let most = format!(r#""rating":1,"comment":"{}""#, "好".repeat(666));
    assert!(decode(&feedback(&"r".repeat(256), &most)).is_ok());
}

#[test]
fn a_question_without_a_frame_is_checked_as_one_in_a_frame() {
    let question = Lookup {
        message: "什么是导数?".to_owned(),
        language: "zh-CN".to_owned(),
        role: String::new(),
        model: String::new(),
    };
    assert_eq!(check_lookup(question.clone()).unwrap(), question);
    let odd = Lookup {
        role: "a b".to_owned(),
        ..question
    };
    let error = check_lookup(odd).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert_eq!(error.field.as_deref(), Some("payload.role"));
}
