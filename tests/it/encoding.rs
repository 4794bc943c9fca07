//! Deflated payloads over the wire: by the client's choice, for as long as its connection lives.

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sparkle_tests::{
    Client, Stack,
    foreign::{Codec, Frame, Payloads, Wire, deflate},
    request,
};

use crate::chat::script;

const CHAT: (&str, &str) = ("chat", "ChatMessage");
const PING: (&str, &str) = ("ping", "Empty");
const HISTORY: (&str, &str) = ("history", "HistoryRequest");

async fn connect(stack: &Stack, query: &str) -> Result<Client> {
    let url = format!("{}{query}", stack.address("ws"));
    let protocols = format!("sparkle.v2, bearer.{}", stack.token("ann", "1h")?);
    Client::connect(&url, "Sec-WebSocket-Protocol", &protocols).await
}

/// An answer in one piece that deflates well.
fn long() -> String {
    "A derivative is a limit of quotients. 导数是差商的极限。".repeat(15)
}

/// Everything up to the final frame of the only request under way.
async fn stream(client: &mut Client, wire: &Wire) -> Result<Vec<Frame>> {
    let (mut frames, mut is_acked, mut is_over) = (Vec::new(), false, false);
    while !(is_acked && is_over) {
        let frame = wire.read(&client.receive().await?)?;
        is_acked |= frame.json["type"] == "ack";
        is_over |= frame.json["type"] == "done" || frame.json["type"] == "error";
        frames.push(frame);
    }
    Ok(frames)
}

fn text(frames: &[Frame]) -> String {
    let texts = frames.iter().map(|frame| &frame.json["payload"]["text"]);
    texts.filter_map(Value::as_str).collect()
}

/// How the deltas of these frames came, which are all alike.
fn payloads_of_deltas(frames: &[Frame]) -> Result<Payloads> {
    let mut deltas = frames
        .iter()
        .filter(|frame| frame.json["type"] == "delta")
        .map(|frame| frame.payloads);
    let first = deltas.next().context("no delta")?;
    assert!(deltas.all(|payloads| payloads == first), "{frames:?}");
    Ok(first)
}

#[tokio::test]
async fn who_asks_for_deflate_at_the_handshake_gets_it_where_it_is_smaller() -> Result<()> {
    let (stack, wire) = (Stack::start().await?, Wire::open()?);
    for codec in [Codec::Json, Codec::Protobuf] {
        let mut client = connect(&stack, "?encoding=deflate").await?;
        let plain = (codec, Payloads::Plain);
        let id = format!("{codec:?}");
        let question = json!({ "session_id": id, "message": script(&[&long()], 0) });
        client
            .send(wire.write(CHAT, &id, &question, plain)?)
            .await?;
        let frames = stream(&mut client, &wire).await?;
        assert!(
            frames.iter().all(|frame| frame.codec == codec),
            "{frames:?}"
        );
        assert_eq!(text(&frames), long());
        assert_eq!(payloads_of_deltas(&frames)?, Payloads::Deflated);
        let small = frames.iter().filter(|frame| frame.json["type"] != "delta");
        for frame in small {
            assert_eq!(frame.payloads, Payloads::Plain, "too small: {frame:?}");
        }

        let page = json!({ "session_id": id });
        client
            .send(wire.write(HISTORY, "h1", &page, plain)?)
            .await?;
        let history = wire.read(&client.receive().await?)?;
        assert_eq!(history.payloads, Payloads::Deflated);
        assert_eq!(history.json["payload"]["entries"][1]["text"], long());

        // The same stream again, from storage, in the encoding of today's connection.
        let mut elsewhere = connect(&stack, "?encoding=none-that-is-known").await?;
        elsewhere
            .send(wire.write(CHAT, &id, &question, plain)?)
            .await?;
        let again = stream(&mut elsewhere, &wire).await?;
        assert_eq!(text(&again), long());
        assert_eq!(payloads_of_deltas(&again)?, Payloads::Plain);
    }
    Ok(())
}

#[tokio::test]
async fn who_sends_a_deflated_payload_takes_them_from_then_on() -> Result<()> {
    let (stack, wire) = (Stack::start().await?, Wire::open()?);
    for codec in [Codec::Json, Codec::Protobuf] {
        let mut client = connect(&stack, "").await?;
        let ways = [Payloads::Plain, Payloads::Deflated, Payloads::Plain];
        let expected = [Payloads::Plain, Payloads::Deflated, Payloads::Deflated];
        for (turn, (sent, expected)) in ways.into_iter().zip(expected).enumerate() {
            let id = format!("{codec:?}-{turn}");
            let question = json!({ "session_id": id, "message": script(&[&long()], 0) });
            client
                .send(wire.write(CHAT, &id, &question, (codec, sent))?)
                .await?;
            let frames = stream(&mut client, &wire).await?;
            assert_eq!(text(&frames), long(), "{id}");
            assert_eq!(payloads_of_deltas(&frames)?, expected, "{id}");
        }
        // The codec follows each frame, the encoding stays.
        let other = match codec {
            Codec::Json => Codec::Protobuf,
            Codec::Protobuf => Codec::Json,
        };
        let page = json!({ "session_id": format!("{codec:?}-0") });
        let frame = wire.write(HISTORY, "h1", &page, (other, Payloads::Plain))?;
        client.send(frame).await?;
        let history = wire.read(&client.receive().await?)?;
        assert_eq!(
            (history.codec, history.payloads),
            (other, Payloads::Deflated)
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_deflated_frame_is_told_and_the_connection_lives_on() -> Result<()> {
    let (stack, wire) = (Stack::start().await?, Wire::open()?);
    let mut client = connect(&stack, "").await?;
    let frame = |encoding: &str, payload: &[u8]| {
        let mut frame: Value = serde_json::from_str(&request("chat", "r1", json!({})))?;
        frame["encoding"] = json!(encoding);
        frame["payload"] = json!(BASE64_STANDARD.encode(payload));
        anyhow::Ok(frame.to_string())
    };
    let bomb = deflate(&vec![b' '; 16 << 20]); // 16 KB: the gateway takes 32
    let cases = [
        (
            frame("gzip", &deflate(b"{}"))?,
            "INVALID_ARGUMENT",
            "encoding",
        ),
        (frame("deflate", b"not deflate")?, "BAD_FRAME", ""),
        (
            frame("deflate", &bomb[..bomb.len() / 2])?,
            "TOO_LARGE",
            "payload",
        ),
        (frame("deflate", &bomb)?, "TOO_LARGE", "payload"),
    ];
    for (frame, code, field) in cases {
        client.send(frame).await?;
        let answer = wire.read(&client.receive().await?)?;
        assert_eq!(answer.json["payload"]["code"], code, "{answer:?}");
        let told = answer.json["payload"]["field"].as_str();
        assert_eq!(told.unwrap_or_default(), field, "{answer:?}");
        client
            .send(wire.write(PING, "p1", &json!({}), (Codec::Json, Payloads::Plain))?)
            .await?;
        let pong = wire.read(&client.receive().await?)?;
        assert_eq!(pong.json["type"], "pong");
    }
    Ok(())
}
