//! Jobs on our own queues: golden bytes, and what other releases write.
#![expect(clippy::unwrap_used, reason = "what a test makes up is valid")]

use base64::{Engine, prelude::BASE64_STANDARD};
use insta::assert_snapshot;
use proptest::prelude::*;
use sparkle_core::{
    cache::entry::{Ground, Namespace, Place, Scope, Standing},
    frame::{CachePolicy, Codec, Destination, Encoding, Format, TurnJob},
    id::{CallId, ConnectionId, RequestId, SessionId, TraceId, UserId},
    ledger::{Bill, Call, Purpose},
    policy::Tier,
    profile::{Level, Manner, Personal, Style},
    summary::SummaryJob,
    unit::{MicroUsd, Timestamp, TokenUsage},
};
use sparkle_wire::job::{
    JobError, decode_bill, decode_summary, decode_turn, encode_bill, encode_summary, encode_turn,
};

fn turn(format: Format) -> TurnJob {
    TurnJob {
        user_id: UserId::parse("ann").unwrap(),
        session_id: SessionId::parse("s1").unwrap(),
        request_id: RequestId::parse("r1").unwrap(),
        message: "什么是导数?".to_owned(),
        language: "zh-CN".to_owned(),
        role: "coach".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        destination: Destination {
            connection_id: ConnectionId::parse("L0SM9cOFvHcCIhw=").unwrap(),
            format,
        },
        trace_id: TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736").unwrap(),
        accepted_at: Timestamp::from_unix_ms(1_764_000_000_000),
        tier: Tier::Pro,
        cache: CachePolicy::Only,
        manner: Some(Manner {
            style: Style {
                depth: Level::High,
                ..Style::default().asked("en", "friend")
            },
            personal: Personal::of("小明"),
        }),
    }
}

fn formats() -> impl Iterator<Item = Format> {
    let codecs = [Codec::Json, Codec::Protobuf];
    codecs.into_iter().flat_map(|codec| {
        [Encoding::Plain, Encoding::Deflate].map(|encoding| Format { codec, encoding })
    })
}

#[test]
fn every_format_has_its_golden_job() {
    let jobs: Vec<String> = formats().map(|format| encode_turn(&turn(format))).collect();
    assert_snapshot!(jobs.join("\n"));
}

#[test]
fn what_is_written_is_read() {
    for format in formats() {
        assert_eq!(
            decode_turn(&encode_turn(&turn(format))).unwrap(),
            turn(format)
        );
    }
}

#[test]
fn a_turn_without_a_manner_is_read_as_one_whose_learner_is_looked_up() {
    let before = TurnJob {
        manner: None,
        ..turn(Format::default())
    };
    assert_eq!(decode_turn(&encode_turn(&before)).unwrap(), before);
}

#[test]
fn what_a_later_release_adds_is_passed_over() {
    let body = BASE64_STANDARD
        .decode(encode_turn(&turn(Format::default())))
        .unwrap();
    // A field 99 of text, and an encoding that is not known yet: its client reads plain payloads too.
    let unknown = [&[0x9a, 0x06, 1][..], b"x"].concat();
    let encoding = [&[0x6a, 4][..], b"zstd"].concat();
    for more in [unknown, encoding] {
        let later = BASE64_STANDARD.encode([&*body, &*more].concat());
        assert_eq!(decode_turn(&later).unwrap(), turn(Format::default()));
    }
    let version = [&[0x08, 2][..]].concat();
    let later = BASE64_STANDARD.encode([&*body, &*version].concat());
    assert!(matches!(decode_turn(&later), Err(JobError::Version(2))));
}

fn summary(tier: Tier) -> SummaryJob {
    SummaryJob {
        id: RequestId::parse("summary-1").unwrap(),
        user_id: UserId::parse("ann").unwrap(),
        session_id: SessionId::parse("s1").unwrap(),
        trace_id: TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736").unwrap(),
        upto: 17,
        requested_at: Timestamp::from_unix_ms(1_764_000_000_000),
        tier,
    }
}

#[test]
fn an_order_for_a_summary_has_its_golden_job_and_is_read() {
    let orders = [Tier::Free, Tier::Pro].map(summary);
    for order in &orders {
        assert_eq!(decode_summary(&encode_summary(order)).unwrap(), *order);
    }
    assert_snapshot!(orders.each_ref().map(encode_summary).join("\n"));
}

#[test]
fn an_order_for_a_summary_that_nobody_can_fulfil_is_refused_with_a_reason() {
    let body = BASE64_STANDARD
        .decode(encode_summary(&summary(Tier::Free)))
        .unwrap();
    // A later field of the same number stands: version, upto, time, conversation, trace.
    for (more, reason) in [
        (&b"\x08\x02"[..], "version 2"),
        (b"\x30\x00", "upto"),
        (b"\x38\x00", "requested_at"),
        (b"\x22\x03a/b", "invalid id"),
        (b"\x2a\x00", "invalid id"),
    ] {
        let told = decode_summary(&BASE64_STANDARD.encode([&*body, more].concat())).unwrap_err();
        assert!(told.to_string().contains(reason), "{told}");
    }
    // What a later release adds is passed over.
    let more = BASE64_STANDARD.encode([&*body, &b"\x9a\x06\x01x"[..]].concat());
    assert_eq!(decode_summary(&more).unwrap(), summary(Tier::Free));
}

/// A call of ours, of which all is known.
fn bill(purpose: Purpose) -> Bill {
    let request_id = RequestId::parse("r1").unwrap();
    Bill {
        call: Call {
            id: CallId::parse("r1.1").unwrap(),
            source: String::new(),
            user_id: UserId::parse("ann").unwrap(),
            session_id: Some(SessionId::parse("s1").unwrap()),
            request_id: Some(request_id),
            trace_id: Some(TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736").unwrap()),
            model: "gpt-4o-mini".to_owned(),
            purpose,
            tokens: TokenUsage {
                prompt_tokens: 12,
                cached_tokens: 4,
                completion_tokens: 30,
            },
            estimated: true,
            cost: Some(MicroUsd::new(21)),
            settled_at: Timestamp::from_unix_ms(1_764_000_000_000),
            saved_tokens: 7,
        },
        destination: Some(turn(Format::default()).destination),
        served: None,
    }
}

/// As little as an outside producer may say.
fn least() -> Bill {
    let mut bill = bill(Purpose::Embedding);
    "importer".clone_into(&mut bill.call.source);
    (bill.call.session_id, bill.call.request_id) = (None, None);
    (bill.call.trace_id, bill.call.cost, bill.destination) = (None, None, None);
    (bill.call.estimated, bill.call.saved_tokens) = (false, 0);
    bill
}

/// Of an answer that was kept.
fn served(scope: Scope) -> Bill {
    let ground = Ground {
        version: 1,
        instructions: &["Be patient."],
        model: "gpt-4o-mini",
        standing: Standing::Alone,
    };
    let place = Place {
        scope,
        namespace: Namespace::of(ground),
        digest: "d1".to_owned(),
    };
    let turn = turn(Format::default());
    let id = CallId::parse("r1.1").unwrap();
    Bill::saved(
        &turn,
        id,
        &place,
        TokenUsage::bound(10, 0, 5),
        turn.accepted_at,
    )
}

#[test]
fn a_bill_says_which_answer_was_served_and_only_ours_can() {
    let own = served(Scope::Learner(UserId::parse("ann").unwrap()));
    for bill in [own, served(Scope::Everybody)] {
        let mut read = decode_bill(&encode_bill(&bill)).unwrap();
        assert_eq!(read, bill);
        "importer".clone_into(&mut read.call.source);
        assert_eq!(decode_bill(&encode_bill(&read)).unwrap().served, None);
    }
}

fn bills() -> Vec<Bill> {
    Purpose::ALL
        .into_iter()
        .map(bill)
        .chain([least()])
        .collect()
}

#[test]
fn every_purpose_of_a_call_has_its_golden_bill() {
    let jobs: Vec<String> = bills().iter().map(encode_bill).collect();
    assert_snapshot!(jobs.join("\n"));
}

#[test]
fn a_bill_that_is_written_is_read() {
    for bill in bills() {
        assert_eq!(decode_bill(&encode_bill(&bill)).unwrap(), bill);
    }
}

/// A call by an outside producer, written by another implementation: no cost, or that many micro-dollars.
fn outside(cost: &[u8]) -> String {
    let mut body = b"\x08\x01\x12\x02c1\x1a\x03ann\x3a\x02m1\x42\x04tool\x48\x0a".to_vec();
    body.extend(cost);
    body.extend(b"\x70\x01\x9a\x01\x03abc");
    BASE64_STANDARD.encode(body)
}

#[test]
fn a_cost_that_is_absent_or_negative_is_left_to_the_price_list() {
    let minus_one = b"\x68\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    for (cost, meant) in [
        (&b""[..], None),
        (minus_one, None),
        (b"\x68\x00", Some(0)),
        (b"\x68\x05", Some(5)),
    ] {
        let Bill {
            call, destination, ..
        } = decode_bill(&outside(cost)).unwrap();
        assert_eq!(call.cost, meant.map(MicroUsd::new));
        assert_eq!((call.id.as_str(), &*call.source), ("c1", "abc"));
        assert_eq!(
            (call.purpose, call.tokens.prompt_tokens),
            (Purpose::Tool, 10)
        );
        assert_eq!(destination, None);
    }
}

#[test]
fn a_bill_of_which_no_line_can_be_made_is_refused_with_a_reason() {
    let refused = |change: fn(&mut Bill)| {
        let mut bill = least();
        change(&mut bill);
        decode_bill(&encode_bill(&bill)).unwrap_err().to_string()
    };
    let told = [
        refused(|bill| bill.call.model.clear()),
        refused(|bill| bill.call.source = "a b".to_owned()),
        refused(|bill| bill.call.tokens.cached_tokens = 13),
        refused(|bill| bill.call.settled_at = Timestamp::from_unix_ms(0)),
    ];
    for (told, field) in told
        .iter()
        .zip(["model", "source", "cached_tokens", "settled_at"])
    {
        assert!(told.contains(field), "{told}");
    }
    let body = BASE64_STANDARD.decode(encode_bill(&least())).unwrap();
    // A later field of the same number stands: kind, call id, version.
    for (more, reason) in [
        (&b"\x42\x05dance"[..], "kind"),
        (b"\x12\x03a/b", "invalid id"),
        (b"\x08\x02", "version 2"),
        (b"\x82\x01\x01x", "codec"),
    ] {
        let told = decode_bill(&BASE64_STANDARD.encode([&*body, more].concat())).unwrap_err();
        assert!(told.to_string().contains(reason), "{told}");
    }
    let turn = encode_turn(&turn(Format::default()));
    assert!(decode_bill(&turn).is_err(), "a turn is no bill");
}

#[test]
fn absurd_figures_of_a_provider_still_make_a_line() {
    let mut absurd = bill(Purpose::Chat);
    absurd.call.tokens.cached_tokens = u32::MAX;
    assert_eq!(decode_bill(&encode_bill(&absurd)).unwrap(), absurd);
}

proptest! {
    #[test]
    fn no_body_panics_the_decoder(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _either = decode_turn(&text);
        let _either = decode_turn(&BASE64_STANDARD.encode(&bytes));
        let _either = decode_bill(&text);
        let _either = decode_bill(&BASE64_STANDARD.encode(&bytes));
        let _either = decode_summary(&text);
        let _either = decode_summary(&BASE64_STANDARD.encode(&bytes));
    }
}
