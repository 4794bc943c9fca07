//! Deflated payloads: what clients may send, what they are sent, and that nobody can blow them up.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what a test makes up is valid"
)]

use std::io::{Read, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};
use sparkle_core::{
    frame::{
        Body, Codec, Encoding, ErrorCode, Format, HistoryEntry, Request, ServerFrame, Speaker,
    },
    id::{RequestId, SessionId, UserId},
    unit::Timestamp,
};
use sparkle_wire::frame::{PAYLOAD_BYTES_MAX, decode, encode};

const CODECS: [Codec; 2] = [Codec::Json, Codec::Protobuf];

fn format(codec: Codec, encoding: Encoding) -> Format {
    Format { codec, encoding }
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn inflate(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    DeflateDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

/// A JSON frame whose payload is what `bytes` are in base64.
fn json_frame(bytes: &[u8]) -> String {
    json!({
        "version": "2.0", "type": "chat", "request_id": "r1", "encoding": "deflate",
        "payload": BASE64_STANDARD.encode(bytes),
    })
    .to_string()
}

/// A field of a Protobuf message that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut len = bytes.len();
    while len > 0x7f {
        field.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        len >>= 7;
    }
    field.push(u8::try_from(len).unwrap());
    [&*field, bytes].concat()
}

/// A `chat` in Protobuf whose payload are these bytes.
fn protobuf_frame(bytes: &[u8]) -> String {
    let fields = [
        field(1, b"2.0"),
        field(2, b"chat"),
        field(3, bytes),
        field(5, b"r1"),
        field(8, b"deflate"),
    ];
    BASE64_STANDARD.encode(fields.concat())
}

/// A `chat` in both codecs, its payload deflated.
fn chats(message: &str) -> [String; 2] {
    let json = json!({ "session_id": "s1", "message": message }).to_string();
    let protobuf = [field(1, b"s1"), field(3, message.as_bytes())].concat();
    [
        json_frame(&deflate(json.as_bytes())),
        protobuf_frame(&deflate(&protobuf)),
    ]
}

fn answer(text: &str) -> ServerFrame {
    let request_id = RequestId::parse("r1").unwrap();
    let entry = HistoryEntry {
        speaker: Speaker::Assistant,
        text: text.to_owned(),
        at: Timestamp::from_unix_ms(1_764_000_000_000),
        request_id: request_id.clone(),
        tokens: None,
    };
    let body = Body::History {
        session_id: SessionId::parse("s1").unwrap(),
        entries: vec![entry],
        next_before: None,
    };
    ServerFrame::answer(&UserId::parse("ann").unwrap(), &request_id, body)
}

/// The frame with its payload made plain, if it is deflated in JSON.
fn inflated(text: &str) -> Value {
    let mut frame: Value = serde_json::from_str(text).unwrap();
    if frame["encoding"] == "deflate" {
        let bytes = BASE64_STANDARD
            .decode(frame["payload"].as_str().unwrap())
            .unwrap();
        frame["payload"] = serde_json::from_slice(&inflate(&bytes)).unwrap();
        frame.as_object_mut().unwrap().remove("encoding");
    }
    frame
}

/// Text that deflates well.
fn repetitive() -> String {
    "A derivative is a limit. 导数是极限。".repeat(20)
}

#[test]
fn a_deflated_question_is_the_same_question() {
    for (codec, text) in CODECS.into_iter().zip(chats("什么是导数?")) {
        let (spoken, frame) = decode(&text).unwrap();
        assert_eq!(spoken, format(codec, Encoding::Deflate));
        let Request::Chat(chat) = frame.request else {
            panic!("not a chat")
        };
        assert_eq!(chat.message, "什么是导数?");
    }
}

#[test]
fn what_another_implementation_deflates_is_read() {
    // By zlib 1.2.13, with a window of -15 bits.
    let foreign = "q1YqTi0uzszPi89MUbJSKjZU0lHKBYokpqcCuU92NzzZ2fFsxvqn6/c8m7rBXqkWAA==";
    let text = json_frame(&BASE64_STANDARD.decode(foreign).unwrap());
    assert_eq!(
        decode(&text).unwrap(),
        decode(&chats("什么是导数?")[0]).unwrap()
    );
}

#[test]
fn nothing_has_no_encoding() {
    for text in [
        r#"{"version":"2.0","type":"ping","request_id":"r1","encoding":"deflate"}"#,
        "CgMyLjASBHBpbmcqAnIxQgdkZWZsYXRl",
    ] {
        let (spoken, frame) = decode(text).unwrap();
        assert_eq!(spoken.encoding, Encoding::Deflate);
        assert_eq!(frame.request, Request::Ping);
    }
}

#[test]
fn what_is_wrong_with_a_deflated_payload_is_told() {
    let bomb = deflate(&vec![b' '; 1 << 20]);
    let full = |len: usize| {
        let chat = r#"{"message":"hi"}"#;
        deflate([chat, &" ".repeat(len - chat.len())].concat().as_bytes())
    };
    let deep = deflate(format!("{{\"a\":{}1{}}}", "[".repeat(50), "]".repeat(50)).as_bytes());
    let chat = json_frame(&deflate(br#"{"message":"hi"}"#));
    let cut = |bytes: &[u8]| bytes[..bytes.len() - 2].to_vec();
    let whole = deflate(repetitive().as_bytes());
    #[rustfmt::skip]
    let cases: Vec<(String, ErrorCode, Option<&str>)> = vec![
        (chat.replace("deflate", "gzip"), ErrorCode::InvalidArgument, Some("encoding")),
        (chat.replace("deflate", "DEFLATE"), ErrorCode::InvalidArgument, Some("encoding")),
        (json_frame(b"not deflate"), ErrorCode::BadFrame, None),
        (protobuf_frame(b"not deflate"), ErrorCode::BadFrame, None),
        (json_frame(&cut(&whole)), ErrorCode::BadFrame, None),
        (protobuf_frame(&cut(&whole)), ErrorCode::BadFrame, None),
        (json_frame(&[&*whole, b"more"].concat()), ErrorCode::BadFrame, None),
        (json_frame(&deflate(b"\xff\xfe")), ErrorCode::BadFrame, None),
        (json_frame(&deflate(b"")), ErrorCode::BadFrame, None),
        (json_frame(&deflate(b"{}{}")), ErrorCode::BadFrame, None),
        (json_frame(&deep), ErrorCode::BadFrame, None),
        (protobuf_frame(&deflate(b"\xff")), ErrorCode::InvalidArgument, Some("payload")),
        (json_frame(&deflate(b"[1]")), ErrorCode::InvalidArgument, Some("payload")),
        (json_frame(&deflate(br#"{"message":5}"#)), ErrorCode::InvalidArgument, Some("payload.message")),
        (json_frame(&bomb).replace("chat", "dance"), ErrorCode::UnknownType, None),
        (json_frame(&bomb), ErrorCode::TooLarge, Some("payload")),
        (protobuf_frame(&bomb), ErrorCode::TooLarge, Some("payload")),
        (json_frame(&full(PAYLOAD_BYTES_MAX + 1)), ErrorCode::TooLarge, Some("payload")),
        (r#"{"version":"2.0","type":"chat","request_id":"r1","encoding":"deflate","payload":"?"}"#.into(),
            ErrorCode::BadFrame, None),
        (r#"{"version":"2.0","type":"chat","request_id":"r1","encoding":"deflate","payload":{}}"#.into(),
            ErrorCode::InvalidArgument, Some("payload")),
    ];
    for (text, code, field) in cases {
        let shown: String = text.chars().take(160).collect();
        let told = decode(&text).unwrap_err();
        assert_eq!((told.code, told.field.as_deref()), (code, field), "{shown}");
        assert_eq!(told.request_id, RequestId::parse("r1").ok(), "{shown}");
    }
    assert!(
        decode(&json_frame(&full(PAYLOAD_BYTES_MAX))).is_ok(),
        "the limit itself"
    );
}

#[test]
fn a_client_that_takes_deflate_has_its_golden_frames() {
    let written =
        CODECS.map(|codec| encode(&answer(&repetitive()), format(codec, Encoding::Deflate)));
    assert_snapshot!(written.join("\n"));
}

#[test]
fn a_page_that_a_client_could_not_inflate_is_not_deflated() {
    let page = answer(&" ".repeat(PAYLOAD_BYTES_MAX));
    for codec in CODECS {
        let [plain, deflated] = [Encoding::Plain, Encoding::Deflate]
            .map(|encoding| encode(&page, format(codec, encoding)));
        assert_eq!(plain, deflated);
    }
}

proptest! {
    #[test]
    fn a_question_arrives_in_any_encoding(message in "[a-z导数]{1,40}|(导数 limit){1,400}") {
        for text in chats(&message) {
            let Request::Chat(chat) = decode(&text).unwrap().1.request else { panic!("not a chat") };
            prop_assert_eq!(&chat.message, &message);
        }
    }

    #[test]
    fn deflating_changes_nothing_and_never_makes_longer(text in "(derivative|导数|[a-z ]{1,20}){0,200}") {
        for codec in CODECS {
            let plain = encode(&answer(&text), format(codec, Encoding::Plain));
            let deflated = encode(&answer(&text), format(codec, Encoding::Deflate));
            prop_assert!(deflated.len() <= plain.len());
            if codec == Codec::Json {
                prop_assert_eq!(inflated(&deflated), inflated(&plain));
            }
        }
    }

    #[test]
    fn no_bytes_panic_the_inflater(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _either = decode(&json_frame(&bytes));
        let _either = decode(&protobuf_frame(&bytes));
    }
}
