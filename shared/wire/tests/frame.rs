//! The public wire format: golden bytes, laws, refusals.
#![expect(clippy::unwrap_used, reason = "what a test makes up is valid")]

use base64::{Engine, prelude::BASE64_STANDARD};
use insta::assert_snapshot;
use proptest::prelude::*;
use sparkle_core::{
    cache::entry::{Origin, Similarity},
    frame::{
        Ack, AlertKind, Body, Budget, Codec, Done, Encoding, ErrorCode, FinishReason, Format,
        Found, HistoryEntry, Period, Quota, Request, ServerFrame, SessionEntry, Speaker, State,
        Usage, UsageReport, Window,
    },
    id::{RequestId, SessionId, StreamId, TraceId, UserId},
    notice::{self, Language},
    price::Catalogue,
    profile::{Adjustment, Change, Draft, UserContext},
    unit::{MicroUsd, Timestamp, TokenUsage},
};
use sparkle_wire::frame::{FRAME_BYTES_MAX, decode, decode_stored, encode, encode_stored};

fn request() -> RequestId {
    RequestId::parse("r1").unwrap()
}

fn stream() -> StreamId {
    StreamId::of(&UserId::parse("ann").unwrap(), &request())
}

fn plain(codec: Codec) -> Format {
    Format {
        codec,
        encoding: Encoding::Plain,
    }
}

fn deflated(codec: Codec) -> Format {
    Format {
        codec,
        encoding: Encoding::Deflate,
    }
}

/// A frame inside a stream.
fn streamed(seq: u32, body: Body) -> ServerFrame {
    ServerFrame {
        body,
        request_id: None,
        trace_id: None,
        timestamp: None,
        seq: Some(seq),
        stream: Some(stream()),
    }
}

fn answer(body: Body) -> ServerFrame {
    ServerFrame::answer(&UserId::parse("ann").unwrap(), &request(), body)
}

fn ack() -> ServerFrame {
    ServerFrame {
        trace_id: Some(TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736").unwrap()),
        timestamp: Some(Timestamp::from_unix_ms(1_764_000_000_000)),
        ..answer(Body::Ack(Ack {
            session_id: Some(SessionId::parse("s1").unwrap()),
            ..Ack::default()
        }))
    }
}

fn question() -> HistoryEntry {
    HistoryEntry {
        speaker: Speaker::User,
        text: "什么是导数?".to_owned(),
        at: Timestamp::from_unix_ms(1_764_000_000_000),
        request_id: request(),
        // Clients are not told.
        tokens: Some(5),
    }
}

/// One frame of every type.
#[expect(clippy::too_many_lines, reason = "there are many types")]
fn one_of_each() -> Vec<ServerFrame> {
    let entry = question();
    let session = SessionEntry {
        session_id: SessionId::parse("s1").unwrap(),
        title: "导数".to_owned(),
        updated_at: Timestamp::from_unix_ms(1_764_000_000_000),
        messages: 2,
    };
    let done = Done {
        response_id: "x-1".to_owned(),
        finish_reason: FinishReason::Stop,
        origin: Origin::Model,
        summary_used: false,
    };
    let session_id = SessionId::parse("s1").unwrap();
    vec![
        ack(),
        streamed(
            1,
            Body::Status {
                state: State::Thinking,
            },
        ),
        streamed(
            2,
            Body::Delta {
                text: "导数是".to_owned(),
                restart: false,
            },
        ),
        streamed(3, Body::Usage(usage())),
        ServerFrame {
            request_id: Some(request()),
            timestamp: Some(Timestamp::from_unix_ms(1_764_000_001_000)),
            ..streamed(4, Body::Done(done))
        },
        answer(Body::History {
            session_id,
            entries: vec![entry],
            next_before: Some(3),
        }),
        answer(Body::Sessions {
            entries: vec![session],
            next_before: None,
        }),
        answer(Body::Models {
            entries: Catalogue::offering("gpt-4o-mini")
                .unwrap()
                .models()
                .map(|model| model.at(Timestamp::from_unix_ms(1_764_000_001_000)))
                .collect(),
        }),
        answer(Body::Quota(quota())),
        answer(Body::UsageReport(report())),
        answer(Body::Profile(Box::new(profile()))),
        ServerFrame::unasked(Body::Alert(notice::alert(
            AlertKind::BudgetDay,
            80,
            80_500_000,
            100_000_000,
            Language::English,
        ))),
        answer(Body::LookupResult(None)),
        found(Origin::Exact),
        found(Origin::Semantic(Similarity::of_ten_thousandths(9_650))),
        answer(Body::Pong),
        answer(Body::Error(notice::error_in(
            ErrorCode::TooLarge,
            "payload.message",
            Language::English,
        ))),
    ]
}

fn profile() -> UserContext {
    let draft = Draft {
        nickname: "小明".to_owned(),
        depth: Some(80),
        active_slots: vec!["19:00-21:30".to_owned()],
        ..Draft::default()
    };
    let mut profile = UserContext::unknown(UserId::parse("ann").unwrap());
    Change::of(&draft).unwrap().apply(&mut profile);
    profile.adjust(&Adjustment {
        flame_level: Some(3),
        ..Adjustment::default()
    });
    profile.version = 2;
    profile
}

fn usage() -> Usage {
    Usage {
        tokens: TokenUsage {
            prompt_tokens: 12,
            cached_tokens: 4,
            completion_tokens: 30,
        },
        estimated: false,
        cost: MicroUsd::new(21),
        saved_tokens: 0,
    }
}

fn found(origin: Origin) -> ServerFrame {
    answer(Body::LookupResult(Some(Found {
        origin,
        text: "导数是变化率。".to_owned(),
        age_seconds: 3_600,
    })))
}

fn quota() -> Quota {
    let window = |used, limit| Window {
        used,
        reserved: 800,
        limit,
        resets_at: Timestamp::from_unix_ms(1_764_000_000_000),
    };
    Quota {
        tier: "free".to_owned(),
        day: window(1_200, 50_000),
        month: window(5_000_000_000, 4_000_000_000),
    }
}

fn report() -> UsageReport {
    let period = |date: &str| Period {
        date: date.to_owned(),
        input_tokens: 5_000_000_000,
        cached_input_tokens: 400,
        output_tokens: 300,
        cost: MicroUsd::new(285),
        requests: 2,
        cache_hits: 1,
    };
    UsageReport {
        days: vec![
            period("2025-11-23"),
            Period {
                date: "2025-11-24".to_owned(),
                ..Period::default()
            },
        ],
        months: vec![period("2025-11")],
        budget: Budget {
            limit: MicroUsd::new(100_000_000),
            used: MicroUsd::new(25_900_000),
            forecast: MicroUsd::new(u64::MAX),
        },
    }
}

fn written(format: Format) -> String {
    one_of_each()
        .iter()
        .map(|frame| encode(frame, format))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn every_frame_to_a_client_has_its_golden_json() {
    assert_snapshot!(written(plain(Codec::Json)));
}

#[test]
fn every_frame_to_a_client_has_its_golden_protobuf() {
    assert_snapshot!(written(plain(Codec::Protobuf)));
}

#[test]
fn a_stored_frame_is_written_like_a_fresh_one_in_either_codec() {
    for frame in one_of_each() {
        let stored = encode_stored(&frame);
        for codec in [Codec::Json, Codec::Protobuf] {
            for format in [plain(codec), deflated(codec)] {
                assert_eq!(decode_stored(&stored, format), Some(encode(&frame, format)));
            }
        }
    }
    assert_eq!(decode_stored(b"\xff", Format::default()), None);
}

#[test]
fn a_delta_of_20_bytes_fits_in_60_characters() {
    let text = "x".repeat(20);
    let frame = streamed(
        25,
        Body::Delta {
            text,
            restart: false,
        },
    );
    let written = encode(&frame, plain(Codec::Protobuf));
    assert!(written.len() <= 60, "{} characters", written.len());
}

/// The same `chat` in both codecs; the Protobuf bytes were written by another implementation.
const JSON_CHAT: &str = r#"{"version":"2.0","type":"chat","request_id":"r1","payload":{"session_id":"s1","message":"什么是导数?"}}"#;
const PROTOBUF_CHAT: &str = "CgMyLjASBGNoYXQaFgoCczEaEOS7gOS5iOaYr+WvvOaVsD8qAnIx";

#[test]
fn the_same_frame_is_read_from_either_codec() {
    let (json_format, json) = decode(JSON_CHAT).unwrap();
    let (protobuf_format, protobuf) = decode(PROTOBUF_CHAT).unwrap();
    assert_eq!(json_format, plain(Codec::Json));
    assert_eq!(protobuf_format, plain(Codec::Protobuf));
    assert_eq!(json, protobuf);
    let Request::Chat(chat) = json.request else {
        panic!("not a chat")
    };
    assert_eq!(chat.message, "什么是导数?");
}

/// A `resume` in both codecs, and one without `after_seq`; the Protobuf bytes were written by another implementation.
const RESUMES: [(&str, &str, u32); 2] = [
    (
        r#"{"version":"2.0","type":"resume","request_id":"r5","payload":{"request_id":"r1","after_seq":17}}"#,
        "CgMyLjASBnJlc3VtZRoGCgJyMRARKgJyNQ==",
        17,
    ),
    (
        r#"{"version":"2.0","type":"resume","request_id":"r5","payload":{"request_id":"r1"}}"#,
        "CgMyLjASBnJlc3VtZRoECgJyMSoCcjU=",
        0,
    ),
];

#[test]
fn a_resume_is_read_from_either_codec() {
    for (json, protobuf, after_seq) in RESUMES {
        for text in [json, protobuf] {
            let (_, frame) = decode(text).unwrap();
            assert_eq!(frame.request_id.as_str(), "r5");
            assert_eq!(frame.request.name(), "resume");
            let resume = Request::Resume {
                request_id: request(),
                after_seq,
            };
            assert_eq!(frame.request, resume, "{text}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_resume_is_told_by_its_field() {
    let resume = |payload: &str| {
        format!(r#"{{"version":"2.0","type":"resume","request_id":"r5","payload":{payload}}}"#)
    };
    let (id, after_seq) = ("payload.request_id", "payload.after_seq");
    #[rustfmt::skip]
    let cases = [
        (r#"{"version":"2.0","type":"resume","request_id":"r5"}"#.to_owned(), id),
        (resume("{}"), id),
        (resume(r#"{"after_seq":17}"#), id),
        (resume(r#"{"request_id":"","after_seq":17}"#), id),
        (resume(r#"{"request_id":"a/b"}"#), id),
        (resume(&format!(r#"{{"request_id":"{}"}}"#, "r".repeat(65))), id),
        (resume(r#"{"request_id":1}"#), id),
        (resume(r#"{"request_id":"r1","after_seq":"17"}"#), after_seq),
        (resume(r#"{"request_id":"r1","after_seq":-1}"#), after_seq),
        (resume(r#"{"request_id":"r1","after_seq":1.5}"#), after_seq),
        (resume(r#"{"request_id":"r1","after_seq":4294967296}"#), after_seq),
        (resume(r#"{"request_id":"r1","after_seq":1e99}"#), after_seq),
        (resume(r#"{"request_id":"r1","after_seq":[1]}"#), after_seq),
        (resume(r#"["r1",17]"#), "payload"),
        // The same in Protobuf: no id, and `after_seq` as text.
        ("CgMyLjASBnJlc3VtZRoCEBEqAnI1".to_owned(), id),
        ("CgMyLjASBnJlc3VtZRoICgJyMRICMTcqAnI1".to_owned(), "payload"),
    ];
    for (text, field) in cases {
        let error = decode(&text).unwrap_err();
        let found = (error.code, error.field.as_deref());
        assert_eq!(found, (ErrorCode::InvalidArgument, Some(field)), "{text}");
        assert_eq!(error.request_id.as_ref().map(RequestId::as_str), Some("r5"));
    }
    let last = resume(r#"{"request_id":"r1","after_seq":4294967295}"#);
    assert!(decode(&last).is_ok());
}

/// The questions about tokens and money in both codecs, and with what they leave out; the Protobuf bytes were
/// written by another implementation.
const METERING: [(&str, &str, Request); 4] = [
    (
        r#"{"version":"2.0","type":"quota","request_id":"r5"}"#,
        "CgMyLjASBXF1b3RhKgJyNQ==",
        Request::Quota,
    ),
    (
        r#"{"version":"2.0","type":"usage","request_id":"r5"}"#,
        "CgMyLjASBXVzYWdlKgJyNQ==",
        Request::Usage { days: 7, months: 0 },
    ),
    (
        r#"{"version":"2.0","type":"usage","request_id":"r5","payload":{"days":31,"months":12}}"#,
        "CgMyLjASBXVzYWdlGgQIHxAMKgJyNQ==",
        Request::Usage {
            days: 31,
            months: 12,
        },
    ),
    (
        r#"{"version":"2.0","type":"usage","request_id":"r5","payload":{"days":0,"months":1}}"#,
        "CgMyLjASBXVzYWdlGgIQASoCcjU=",
        Request::Usage { days: 7, months: 1 },
    ),
];

#[test]
fn a_question_about_tokens_and_money_is_read_from_either_codec() {
    for (json, protobuf, request) in METERING {
        for text in [json, protobuf] {
            assert_eq!(decode(text).unwrap().1.request, request, "{text}");
        }
    }
}

/// Written by hand, byte by byte.
const PROTOBUF_CHANGE: &str =
    "CgMyLjASDnByb2ZpbGUudXBkYXRlGiMKA0FubhIDVVRDKAA6CzA3OjAwLTA4OjAwQghsYW5ndWFnZSoCcjU=";
/// Fields that are present, also where they hold nothing.
const PROTOBUF_FOREIGN: [(&str, &str); 5] = [
    ("user_id", "CgMyLjASDnByb2ZpbGUudXBkYXRlGgVKA2FubioCcjU="),
    ("is_pro", "CgMyLjASDnByb2ZpbGUudXBkYXRlGgJQACoCcjU="),
    ("flame_level", "CgMyLjASDnByb2ZpbGUudXBkYXRlGgJYBSoCcjU="),
    (
        "flame_brightness",
        "CgMyLjASDnByb2ZpbGUudXBkYXRlGgJgACoCcjU=",
    ),
    ("daily_cap", "CgMyLjASDnByb2ZpbGUudXBkYXRlGgJoCSoCcjU="),
];

#[test]
fn a_change_of_a_profile_is_read_from_either_codec_and_what_is_empty_is_no_change() {
    let draft = Draft {
        nickname: "Ann".to_owned(),
        timezone: "UTC".to_owned(),
        depth: Some(0),
        active_slots: vec!["07:00-08:00".to_owned()],
        reset: vec!["language".to_owned()],
        ..Draft::default()
    };
    let asked = Change::of(&draft).unwrap();
    let json = change(
        r#"{"nickname":"Ann","timezone":"UTC","persona_type":"","depth":0,"curiosity":null,
            "active_slots":["07:00-08:00"],"reset":["language"],"user_id":null}"#,
    );
    for text in [&*json, PROTOBUF_CHANGE] {
        let request = decode(text).unwrap().1.request;
        assert_eq!(request, Request::ChangeProfile(asked.clone()), "{text}");
    }
    for kind in ["profile.get", "profile.update"] {
        let text = format!(r#"{{"version":"2.0","type":"{kind}","request_id":"r5"}}"#);
        assert_eq!(decode(&text).unwrap().1.request.name(), kind);
    }
}

#[test]
fn what_is_not_a_learners_to_write_is_refused_by_its_name_in_either_codec() {
    let json = [
        ("user_id", "\"ann\""),
        ("user_id", "\"\""),
        ("is_pro", "true"),
        ("is_pro", "false"),
        ("flame_level", "5"),
        ("flame_brightness", "0"),
        ("daily_cap", "100"),
    ];
    let json = json.map(|(field, value)| {
        let payload = format!(r#"{{"nickname":"Ann","{field}":{value}}}"#);
        (field, change(&payload))
    });
    let protobuf = PROTOBUF_FOREIGN.map(|(field, text)| (field, text.to_owned()));
    for (field, text) in json.into_iter().chain(protobuf) {
        let error = decode(&text).unwrap_err();
        let path = format!("payload.{field}");
        let found = (error.code, error.field);
        assert_eq!(found, (ErrorCode::InvalidArgument, Some(path)), "{text}");
    }
}

fn change(payload: &str) -> String {
    format!(r#"{{"version":"2.0","type":"profile.update","request_id":"r1","payload":{payload}}}"#)
}

#[test]
fn what_is_wrong_with_a_frame_is_told_by_code_and_field() {
    let chat = |payload: &str| {
        format!(r#"{{"version":"2.0","type":"chat","request_id":"r1","payload":{payload}}}"#)
    };
    let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(32_769));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(20_000));
    #[rustfmt::skip]
    let cases: Vec<(String, ErrorCode, Option<&str>)> = vec![
        (String::new(), ErrorCode::BadFrame, None),
        ("{".into(), ErrorCode::BadFrame, None),
        ("{}x".into(), ErrorCode::BadFrame, None),
        ("[1]".into(), ErrorCode::BadFrame, None),
        ("not base64!".into(), ErrorCode::BadFrame, None),
        ("////".into(), ErrorCode::BadFrame, None),
        ("\u{0}\u{7f}".into(), ErrorCode::BadFrame, None),
        (r#"{"type":"ping","type":"ping"}"#.into(), ErrorCode::BadFrame, None),
        ("x".repeat(FRAME_BYTES_MAX + 1), ErrorCode::TooLarge, None),
        (format!(r#"{{"a":{deep}}}"#), ErrorCode::BadFrame, None),
        (r#"{"type":"ping","request_id":"r1"}"#.into(), ErrorCode::UnsupportedVersion, None),
        (r#"{"version":"3.0","type":"ping","request_id":"r1"}"#.into(), ErrorCode::UnsupportedVersion, None),
        (r#"{"version":2.0,"type":"ping","request_id":"r1"}"#.into(), ErrorCode::InvalidArgument, Some("version")),
        (r#"{"version":"2.0","type":"ping"}"#.into(), ErrorCode::InvalidArgument, Some("request_id")),
        (r#"{"version":"2.0","type":"ping","request_id":"a/b"}"#.into(), ErrorCode::InvalidArgument, Some("request_id")),
        (r#"{"version":"2.0","request_id":"r1"}"#.into(), ErrorCode::InvalidArgument, Some("type")),
        (r#"{"version":"2.0","type":"dance","request_id":"r1"}"#.into(), ErrorCode::UnknownType, None),
        (r#"{"version":"2.0","type":"ping","request_id":"r1","trace_id":"x"}"#.into(), ErrorCode::InvalidArgument, Some("trace_id")),
        (r#"{"version":"2.0","type":"ping","request_id":"r1","encoding":"gzip"}"#.into(), ErrorCode::InvalidArgument, Some("encoding")),
        (r#"{"version":"2.0","type":"ping","request_id":"r1","payload":[]}"#.into(), ErrorCode::InvalidArgument, Some("payload")),
        (chat(r#"{"message":5}"#), ErrorCode::InvalidArgument, Some("payload.message")),
        (chat(r#"{"message":" "}"#), ErrorCode::InvalidArgument, Some("payload.message")),
        (chat(r#"{"message":"a\u0000b"}"#), ErrorCode::InvalidArgument, Some("payload.message")),
        (chat(&long), ErrorCode::TooLarge, Some("payload.message")),
        (chat(r#"{"message":"hi","session_id":"a b"}"#), ErrorCode::InvalidArgument, Some("payload.session_id")),
        (chat(r#"{"message":"hi","cache":"maybe"}"#), ErrorCode::InvalidArgument, Some("payload.cache")),
        (chat(r#"{"message":"hi","role":"a\nb"}"#), ErrorCode::InvalidArgument, Some("payload.role")),
        (chat(r#"{"message":"hi","language":"x\n"}"#), ErrorCode::InvalidArgument, Some("payload.language")),
        (chat(r#"{"message":"hi","tool_calls":[{"id":"1"}]}"#), ErrorCode::InvalidArgument, Some("payload.tool_calls")),
        (r#"{"version":"2.0","type":"history","request_id":"r1","payload":{"session_id":"s","limit":101}}"#.into(), ErrorCode::InvalidArgument, Some("payload.limit")),
        (r#"{"version":"2.0","type":"history","request_id":"r1"}"#.into(), ErrorCode::InvalidArgument, Some("payload.session_id")),
        (r#"{"version":"2.0","type":"usage","request_id":"r1","payload":{"days":32}}"#.into(), ErrorCode::InvalidArgument, Some("payload.days")),
        (r#"{"version":"2.0","type":"usage","request_id":"r1","payload":{"days":-1}}"#.into(), ErrorCode::InvalidArgument, Some("payload.days")),
        (r#"{"version":"2.0","type":"usage","request_id":"r1","payload":{"months":13}}"#.into(), ErrorCode::InvalidArgument, Some("payload.months")),
        (r#"{"version":"2.0","type":"quota","request_id":"r1","payload":[]}"#.into(), ErrorCode::InvalidArgument, Some("payload")),
        (change(r#"{"timezone":"Mars/Olympus"}"#), ErrorCode::InvalidArgument, Some("payload.timezone")),
        (change(r#"{"nickname":"a\nb"}"#), ErrorCode::InvalidArgument, Some("payload.nickname")),
        (change(&format!(r#"{{"nickname":"{}"}}"#, "x".repeat(41))), ErrorCode::TooLarge, Some("payload.nickname")),
        (change(r#"{"depth":101}"#), ErrorCode::InvalidArgument, Some("payload.depth")),
        (change(r#"{"depth":"deep"}"#), ErrorCode::InvalidArgument, Some("payload.depth")),
        (change(r#"{"active_slots":["noon"]}"#), ErrorCode::InvalidArgument, Some("payload.active_slots")),
        (change(r#"{"reset":["flame_level"]}"#), ErrorCode::InvalidArgument, Some("payload.reset")),
        (r#"{"version":"2.0","type":"sessions","request_id":"r1","payload":{"action":"burn"}}"#.into(), ErrorCode::InvalidArgument, Some("payload.action")),
    ];
    for (text, code, field) in cases {
        let shown: String = text.chars().take(120).collect();
        let error = decode(&text).unwrap_err();
        assert_eq!(
            (error.code, error.field.as_deref()),
            (code, field),
            "{shown}"
        );
    }
}

#[test]
fn a_refusal_names_its_request_and_codec_if_they_could_be_read() {
    let error = decode(r#"{"version":"9","type":"ping","request_id":"r1"}"#).unwrap_err();
    assert_eq!(
        (error.request_id, error.codec),
        (Some(request()), Some(Codec::Json))
    );
    let error = decode("****").unwrap_err();
    assert_eq!((error.request_id, error.codec), (None, None));
}

#[test]
fn unknown_fields_nulls_and_white_space_are_no_mistake() {
    let text = r#"  {"version":"2.0","type":"chat","request_id":"r1","new":{"a":[1]},
        "payload":{"message":"hi","session_id":null,"later":true}}"#;
    assert!(decode(text).is_ok());
}

proptest! {
    #[test]
    fn no_text_panics_the_decoder(text in ".{0,400}") {
        let _either = decode(&text);
    }

    #[test]
    fn no_bytes_panic_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _either = decode(&BASE64_STANDARD.encode(&bytes));
        let _either = decode_stored(&bytes, deflated(Codec::Json));
    }

    #[test]
    fn no_damage_to_a_frame_panics_the_decoder(at in 0usize..100, with in any::<char>()) {
        let [(json_resume, protobuf_resume, _), _] = RESUMES;
        for frame in [JSON_CHAT, PROTOBUF_CHAT, json_resume, protobuf_resume] {
            let damaged: String =
                frame.chars().enumerate().map(|(place, c)| if place == at { with } else { c }).collect();
            let _either = decode(&damaged);
        }
    }

    #[test]
    fn whatever_a_learner_writes_arrives(message in "\\PC{1,200}") {
        prop_assume!(!message.trim().is_empty());
        let text = serde_json::json!({
            "version": "2.0", "type": "chat", "request_id": "r1", "payload": { "message": message },
        });
        let (_, frame) = decode(&text.to_string()).unwrap();
        let Request::Chat(chat) = frame.request else { panic!("not a chat") };
        prop_assert_eq!(chat.message, message);
    }

    #[test]
    fn a_delta_is_never_larger_than_a_gateway_frame(text in "[\u{0}-\u{1f}]{0,5000}") {
        let frame = streamed(u32::MAX, Body::Delta { text, restart: true });
        for codec in [Codec::Json, Codec::Protobuf] {
            prop_assert!(encode(&frame, deflated(codec)).len() <= 32 * 1024);
        }
    }
}
