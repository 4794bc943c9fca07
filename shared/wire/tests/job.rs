//! Jobs on our own queues: golden bytes, and what other releases write.
#![expect(clippy::unwrap_used, reason = "what a test makes up is valid")]

use base64::{Engine, prelude::BASE64_STANDARD};
use insta::assert_snapshot;
use proptest::prelude::*;
use sparkle_core::{
    frame::{Codec, Destination, Encoding, Format, TurnJob},
    id::{ConnectionId, RequestId, SessionId, TraceId, UserId},
    unit::Timestamp,
};
use sparkle_wire::job::{JobError, decode_turn, encode_turn};

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

proptest! {
    #[test]
    fn no_body_panics_the_decoder(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _either = decode_turn(&text);
        let _either = decode_turn(&BASE64_STANDARD.encode(bytes));
    }
}
