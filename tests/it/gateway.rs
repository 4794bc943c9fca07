//! The gateway's flags, and who may use what is served beside it.

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sparkle_tests::{Options, PATIENCE, Stack, http, request};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use crate::chat::script;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A socket of a client that is not ours.
pub(crate) async fn socket(stack: &Stack, user: &str) -> Result<Socket> {
    let mut request = stack.address("ws").into_client_request()?;
    let offer = format!("sparkle.v2, bearer.{}", stack.token(user, "1h")?);
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", offer.parse()?);
    Ok(timeout(PATIENCE, connect_async(request)).await??.0)
}

async fn next(socket: &mut Socket) -> Result<Message> {
    let message = timeout(PATIENCE, socket.next()).await?;
    Ok(message.context("hung up")??)
}

#[tokio::test]
async fn times_may_be_shortened_and_not_lengthened() -> Result<()> {
    for (flag, span, most) in [
        ("--integration-timeout", "30s", "29s"),
        ("--idle-timeout", "601s", "600s"),
        ("--connection-life", "3h", "7200s"),
    ] {
        let options = Options::default().argument(flag).argument(span);
        let (status, said) = options.fail().await?;
        assert!(!status.success());
        assert!(said.contains(flag) && said.contains(most), "{said}");
    }
    let options = Options::default()
        .argument("--idle-timeout")
        .argument("soon");
    let (_, said) = options.fail().await?;
    assert!(said.contains("ms, s, m, h or d"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_socket_ends_after_its_life_and_its_turn_goes_on() -> Result<()> {
    let options = Options::default()
        .argument("--connection-life")
        .argument("3s");
    let stack = options.start().await?;
    let pieces = ["a ", "b ", "c ", "d ", "e ", "f ", "g ", "h"];
    let message = script(&pieces, 500);
    let chat = request(
        "chat",
        "r1",
        json!({ "session_id": "s1", "message": message }),
    );
    let mut first = stack.connect("ann").await?;
    first.send(chat.clone()).await?;
    let frame = first.closed().await?.context("no close frame")?;
    assert_eq!(
        (u16::from(frame.code), frame.reason.as_str()),
        (1001, "Going away")
    );
    // A later socket gets all of it, unless its own life is over before the turn is.
    let mut answer = Err(anyhow::anyhow!("never asked"));
    for _ in 0..10 {
        let mut later = stack.connect("ann").await?;
        later.send(chat.clone()).await?;
        answer = later.answer("r1").await;
        if answer.is_ok() {
            break;
        }
    }
    let answer = answer?;
    assert_eq!(answer.ack["duplicate"], true);
    assert_eq!(answer.text, pieces.concat());
    Ok(())
}

#[tokio::test]
async fn posts_keep_a_silent_socket_until_they_end() -> Result<()> {
    let options = Options::default().argument("--idle-timeout").argument("3s");
    let stack = options.start().await?;
    let mut client = stack.connect("ann").await?;
    let pieces: Vec<String> = (0..12).map(|n| format!("{n} ")).collect();
    let said: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let answer = client.chat("s1", &script(&said, 400)).await?;
    assert_eq!(answer.text, pieces.concat());
    let frame = client.closed().await?.context("no close frame")?;
    assert_eq!(
        (u16::from(frame.code), frame.reason.as_str()),
        (1001, "Going away")
    );
    Ok(())
}

#[tokio::test]
async fn a_shortened_integration_timeout_is_applied() -> Result<()> {
    let options = Options::default().variable("SPARKLE_INTEGRATION_TIMEOUT", "1ms");
    let stack = options.start().await?;
    // No process starts and answers within a millisecond: neither the authorizer's (500) nor, should a
    // busy machine notice that too late, that of `$connect` (504).
    let error = stack.connect("ann").await.err().context("connected")?;
    let Some(Error::Http(response)) = error.downcast_ref::<Error>() else {
        anyhow::bail!("{error:#}");
    };
    assert!(
        [500, 504].contains(&response.status().as_u16()),
        "{response:?}"
    );
    Ok(())
}

/// A `WebSocketMessage` with the fields that a ping needs: version, type, `request_id`.
fn protobuf_ping(request_id: &str) -> Vec<u8> {
    let field = |number: u8, text: &str| {
        let length = u8::try_from(text.len()).expect("a short text");
        [&[number << 3 | 2, length][..], text.as_bytes()].concat()
    };
    [field(1, "2.0"), field(2, "ping"), field(5, request_id)].concat()
}

/// The text of a length-delimited field of a message whose other fields are of that kind or numbers.
fn protobuf_text(mut message: &[u8], wanted: u8) -> Option<String> {
    while let [tag, rest @ ..] = message {
        if tag & 7 == 0 {
            let end = rest.iter().position(|byte| byte & 0x80 == 0)?;
            message = rest.get(end + 1..)?;
            continue;
        }
        let (length, rest) = rest.split_first()?;
        let (text, rest) = rest.split_at_checked(usize::from(*length))?;
        if tag >> 3 == wanted {
            return String::from_utf8(text.to_vec()).ok();
        }
        message = rest;
    }
    None
}

#[tokio::test]
async fn with_binary_frames_a_client_speaks_protobuf_without_base64() -> Result<()> {
    let stack = Options::default()
        .argument("--binary-frames")
        .start()
        .await?;
    let mut socket = socket(&stack, "ann").await?;
    socket
        .send(Message::Binary(protobuf_ping("r1").into()))
        .await?;
    let Message::Binary(pong) = next(&mut socket).await? else {
        anyhow::bail!("the answer to a binary frame is not binary");
    };
    assert_eq!(protobuf_text(&pong, 2).as_deref(), Some("pong"), "{pong:?}");
    assert_eq!(protobuf_text(&pong, 5).as_deref(), Some("r1"), "{pong:?}");

    // In fragments, and with a length of its own in each direction.
    let mut message = protobuf_ping(&"r".repeat(64));
    message.extend([0x22, 100]); // trace_id, of which only its length is wrong
    message.extend([b'x'; 100]);
    socket.send(Message::Binary(message.into())).await?;
    let Message::Binary(error) = next(&mut socket).await? else {
        anyhow::bail!("the answer to a binary frame is not binary");
    };
    ensure!(protobuf_text(&error, 2).is_some(), "{error:?}");

    // JSON stays JSON, on the same socket.
    socket
        .send(Message::text(request("ping", "r2", json!({}))))
        .await?;
    let Message::Text(pong) = next(&mut socket).await? else {
        anyhow::bail!("the answer to text is not text");
    };
    let pong: Value = serde_json::from_str(&pong)?;
    assert_eq!(
        (&pong["type"], &pong["request_id"]),
        (&json!("pong"), &json!("r2"))
    );
    Ok(())
}

#[tokio::test]
async fn without_the_flag_a_binary_frame_ends_the_socket_with_1003() -> Result<()> {
    let stack = Stack::start().await?;
    let mut socket = socket(&stack, "ann").await?;
    socket
        .send(Message::Binary(protobuf_ping("r1").into()))
        .await?;
    let Message::Close(Some(frame)) = next(&mut socket).await? else {
        anyhow::bail!("no close frame");
    };
    assert_eq!(u16::from(frame.code), 1003);
    Ok(())
}

#[tokio::test]
async fn another_sites_page_gets_no_token_and_invokes_nothing() -> Result<()> {
    let stack = Stack::start().await?;
    let url = |path: &str| format!("{}{path}", stack.address("http"));
    let invoke = "/2015-03-31/functions/ws-disconnect/invocations";
    let foreign = [
        ("origin", "http://sparkle.example"),
        ("host", "sparkle.example:3000"),
        ("origin", "null"),
    ];
    for (name, value) in foreign {
        for path in ["/token", "/metrics", "/"] {
            let answer = http().get(url(path)).header(name, value).send().await?;
            assert_eq!(answer.status().as_u16(), 403, "{path} with {name} {value}");
            assert!(answer.text().await?.contains("127.0.0.1"));
        }
        // What a page may send to another site without asking: a POST of plain text.
        for path in [invoke, "/@connections/x="] {
            let post = http().post(url(path)).header(name, value);
            let post = post.header("content-type", "text/plain").body("{}");
            assert_eq!(post.send().await?.status().as_u16(), 403, "{path}");
        }
        let sqs = http()
            .post(stack.address("sqs"))
            .header(name, value)
            .body("Action=ListQueues");
        assert_eq!(sqs.send().await?.status().as_u16(), 403);
    }
    // Pages of this machine may, whatever their port; and a socket is the authorizer's to refuse.
    let own = http()
        .get(url("/token"))
        .header("origin", "http://localhost:5173");
    assert_eq!(own.send().await?.status().as_u16(), 200);
    let refused = stack.connect_with("origin", "http://sparkle.example").await;
    let refused = refused.err().context("connected without a token")?;
    let Some(Error::Http(response)) = refused.downcast_ref::<Error>() else {
        anyhow::bail!("{refused:#}");
    };
    assert_eq!(response.status().as_u16(), 401);
    Ok(())
}
