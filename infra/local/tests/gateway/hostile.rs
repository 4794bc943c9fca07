//! Clients that break the WebSocket protocol, or keep to it in bad faith. In each test a
//! well-behaved client goes on as if they were not there.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use sparkle_local::gateway::Limits;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::interval;
use tokio_tungstenite::tungstenite::Message;

use crate::stack::{Client, Stack, plain_api, soon};

const TEXT: u8 = 1;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const FINAL: u8 = 0x80;

/// A frame as a client must mask it; the mask is zero, which changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(0x80 | length.to_be_bytes()[1]),
        Ok(length) => {
            frame.push(0x80 | 0x7e);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 0x7f);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Writes bytes that need not be frames. The gateway may hang up before it has read them all.
async fn write(client: &mut Client, bytes: &[u8]) -> Result<()> {
    match soon(client.0.get_mut().write_all(bytes)).await? {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Asserts that a client is served: a message reaches its function, and a post reaches the client.
async fn assert_served(stack: &mut Stack, client: &mut Client, id: &str) -> Result<()> {
    client.send("still here").await?;
    let call = stack.call_of("$default").await?;
    assert_eq!(call.connection_id(), id);
    call.ok().await?;
    assert_eq!(stack.manage("POST", id, b"served").await?.status, 200);
    assert_eq!(client.text().await?, "served");
    Ok(())
}

/// Asserts that these bytes have the gateway close with a code and tell `$disconnect` so.
async fn assert_closed_for(stack: &mut Stack, bytes: &[u8], code: u16) -> Result<()> {
    let (mut client, id) = stack.open().await?;
    write(&mut client, bytes).await?;
    let closed = client
        .closed()
        .await
        .with_context(|| format!("{bytes:?}"))?;
    assert_eq!(
        u16::from(closed.code),
        code,
        "{:?}",
        bytes.get(..16.min(bytes.len()))
    );
    drop(client);
    let disconnect = stack.call_of("$disconnect").await?;
    assert_eq!(disconnect.connection_id(), id);
    assert_eq!(disconnect.context("disconnectStatusCode"), code);
    disconnect.ok().await
}

#[tokio::test]
async fn whoever_breaks_the_protocol_is_closed_with_the_code_for_it_and_nobody_else() -> Result<()>
{
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut good, good_id) = stack.open().await?;
    let announced =
        |bytes: u64| [&[FINAL | TEXT, 0xff][..], &bytes.to_be_bytes(), &[0; 4]].concat();
    let unmasked = [FINAL | TEXT, 2, b'h', b'i'];
    for (bytes, code) in [
        (announced(1 << 63), 1009),
        (announced(u64::MAX), 1009),
        (announced(32 * 1024 + 1), 1009),
        (frame(FINAL | 0x40 | TEXT, b"rsv1"), 1002),
        (frame(FINAL | 0x20 | TEXT, b"rsv2"), 1002),
        (frame(FINAL | 0x10 | TEXT, b"rsv3"), 1002),
        (frame(FINAL | 3, b"reserved data"), 1002),
        (frame(FINAL | 0xb, b"reserved control"), 1002),
        (unmasked.to_vec(), 1002),
        (frame(FINAL | PING, &[b'x'; 126]), 1002),
        (frame(PING, b"half a ping"), 1002),
        (frame(FINAL | CONTINUATION, b"of what?"), 1002),
        (
            [frame(TEXT, b"a"), frame(FINAL | TEXT, b"b")].concat(),
            1002,
        ),
        (frame(FINAL | TEXT, b"\xc3\x28"), 1007),
        (frame(FINAL | TEXT, b"cut \xe4\xbd"), 1007),
        (
            [frame(TEXT, b"\xed\xa0"), frame(FINAL, b"\x80")].concat(),
            1007,
        ),
        (frame(FINAL | CLOSE, b"x"), 1002),
        (frame(FINAL | CLOSE, b"\x03\xe8\xff"), 1007),
    ] {
        assert_closed_for(&mut stack, &bytes, code).await?;
    }
    assert_served(&mut stack, &mut good, &good_id).await?;
    assert_eq!(stack.sockets().as_deref(), Some("1"));
    assert!(
        stack
            .metrics
            .render()
            .contains("\ngateway_refusals_total 18\n")
    );
    stack.stop(good).await;
    Ok(())
}

#[tokio::test]
async fn a_close_frame_with_a_code_that_may_not_be_sent_is_answered_with_1002() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535] {
        let (mut client, _) = stack.open().await?;
        write(&mut client, &frame(FINAL | CLOSE, &code.to_be_bytes())).await?;
        assert_eq!(u16::from(client.closed().await?.code), 1002, "{code}");
        drop(client);
        stack.call_of("$disconnect").await?.ok().await?;
    }
    for code in [1000_u16, 1001, 1011, 3000, 4999] {
        let (mut client, _) = stack.open().await?;
        write(&mut client, &frame(FINAL | CLOSE, &code.to_be_bytes())).await?;
        assert_eq!(u16::from(client.closed().await?.code), code);
        let disconnect = stack.call_of("$disconnect").await?;
        assert_eq!(disconnect.context("disconnectStatusCode"), code);
        disconnect.ok().await?;
    }
    stack.stop(()).await;
    Ok(())
}

#[tokio::test]
async fn thousands_of_tiny_fragments_with_pings_between_are_one_message() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut good, good_id) = stack.open().await?;
    let (mut client, id) = stack.open().await?;
    let mut bytes = frame(TEXT, b"");
    for _ in 0..5_000 {
        bytes.extend(frame(CONTINUATION, b""));
        bytes.extend(frame(CONTINUATION, b"x"));
    }
    bytes.extend(frame(FINAL | PING, b"between"));
    bytes.extend(frame(FINAL | CONTINUATION, b"!"));
    write(&mut client, &bytes).await?;
    let call = stack.call_of("$default").await?;
    assert_eq!(call.connection_id(), id);
    assert_eq!(call.event["body"], format!("{}!", "x".repeat(5_000)));
    call.ok().await?;
    let pong = soon(client.0.next()).await?.context("no pong")??;
    assert_eq!(pong, Message::Pong(b"between".to_vec().into()));
    assert_served(&mut stack, &mut good, &good_id).await?;
    stack.stop((good, client)).await;
    Ok(())
}

#[tokio::test]
async fn bytes_and_fragments_of_a_message_do_not_keep_a_connection() -> Result<()> {
    let limits = Limits {
        idle_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let mut stack = Stack::start(plain_api(), limits).await?;
    let one_frame = frame(FINAL | TEXT, &vec![b'x'; 32 * 1024]);
    let fragments = [frame(TEXT, b"x"), frame(CONTINUATION, b"").repeat(4_000)].concat();
    let pings = frame(FINAL | PING, b"").repeat(4_000);
    for bytes in [one_frame, fragments, pings] {
        let (mut client, _) = stack.open().await?;
        let mut pace = interval(Duration::from_millis(20));
        // Ends when the close frame comes; the bytes would last for minutes.
        let mut bytes = bytes.iter();
        let closed = loop {
            tokio::select! {
                _ = pace.tick() => {
                    let byte = bytes.next().context("all was sent and it is still open")?;
                    write(&mut client, &[*byte]).await?;
                }
                said = client.0.next() => match said.context("hung up")?? {
                    Message::Close(frame) => break frame.context("no code")?,
                    Message::Pong(_) => {}
                    other => anyhow::bail!("{other:?}"),
                },
            }
        };
        assert_eq!(u16::from(closed.code), 1001);
        drop(client);
        let disconnect = stack.call_of("$disconnect").await?;
        assert_eq!(disconnect.context("disconnectStatusCode"), 1001);
        disconnect.ok().await?;
    }
    stack.stop(()).await;
    Ok(())
}

#[tokio::test]
async fn a_half_closed_and_a_reset_connection_have_ended() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut good, good_id) = stack.open().await?;
    let (mut half, half_id) = stack.open().await?;
    write(&mut half, &[FINAL | TEXT, 0x85, 0, 0]).await?;
    soon(half.0.get_mut().shutdown()).await??;
    let disconnect = stack.call_of("$disconnect").await?;
    assert_eq!(disconnect.connection_id(), half_id);
    assert_eq!(disconnect.context("disconnectStatusCode"), 1006);
    disconnect.ok().await?;

    let (mut reset, reset_id) = stack.open().await?;
    write(&mut reset, &[FINAL | TEXT, 0x85, 0, 0]).await?;
    // A socket that is closed with bytes unread is reset.
    assert_eq!(
        stack.manage("POST", &reset_id, b"never read").await?.status,
        200
    );
    soon(reset.0.get_mut().readable()).await??;
    drop(reset);
    let disconnect = stack.call_of("$disconnect").await?;
    assert_eq!(disconnect.connection_id(), reset_id);
    assert_eq!(disconnect.context("disconnectStatusCode"), 1006);
    disconnect.ok().await?;
    assert_eq!(stack.manage("POST", &reset_id, b"x").await?.status, 410);
    assert_served(&mut stack, &mut good, &good_id).await?;
    assert_eq!(stack.sockets().as_deref(), Some("1"));
    stack.stop((good, half)).await;
    Ok(())
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_when_its_time_is_over() -> Result<()> {
    let limits = Limits {
        idle_timeout: Duration::from_secs(2),
        close_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let mut stack = Stack::start(plain_api(), limits).await?;
    let (client, id) = stack.open().await?;
    let large = vec![b'x'; 128 * 1024];
    let mut answers = Vec::new();
    while answers.last() != Some(&410) {
        let status = stack.manage("POST", &id, &large).await?.status;
        if answers.last() != Some(&status) {
            answers.push(status);
        }
        if status == 410 {
            break;
        }
        tokio::task::yield_now().await;
    }
    // 200 until everything is full, then 429 until nothing has moved for the idle time.
    assert_eq!(answers, [200, 429, 410]);
    let disconnect = stack.call_of("$disconnect").await?;
    assert_eq!(disconnect.context("disconnectStatusCode"), 1001);
    disconnect.ok().await?;
    assert_eq!(stack.sockets().as_deref(), Some("0"));
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn what_a_client_sends_before_it_is_let_in_waits_for_that() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let mut stream = TcpStream::connect(stack.address).await?;
    let upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let early = frame(FINAL | TEXT, b"early");
    stream
        .write_all(&[upgrade.as_bytes(), &early].concat())
        .await?;
    let connect = stack.call_of("$connect").await?;
    assert!(stack.is_quiet().await, "it is not let in yet");
    connect.ok().await?;
    let message = stack.call_of("$default").await?;
    assert_eq!(message.event["body"], "early");
    message.ok().await?;
    stack.stop(stream).await;
    Ok(())
}

#[tokio::test]
async fn upgrades_that_wait_for_their_function_are_bounded() -> Result<()> {
    let limits = Limits {
        handshakes_max: 2,
        ..Limits::default()
    };
    let mut stack = Stack::start(plain_api(), limits).await?;
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(stack.handshake("/", &[]));
    waiting.spawn(stack.handshake("/", &[]));
    let calls = [
        stack.call_of("$connect").await?,
        stack.call_of("$connect").await?,
    ];
    assert_eq!(stack.refused("/").await?.0, 429);
    let mut clients = Vec::new();
    for call in calls {
        call.ok().await?;
        clients.push(
            soon(waiting.join_next())
                .await?
                .context("no handshake")???,
        );
    }
    let (client, _) = stack.open().await?;
    stack.stop((client, clients)).await;
    Ok(())
}
