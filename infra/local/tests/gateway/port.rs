//! Hostile HTTP on the port: slow, silent, huge, or ambiguous. Whoever asks properly is served.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sparkle_local::gateway::Limits;
use sparkle_local::listen::Bounds;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::stack::{PATIENCE, Stack, plain_api, request, soon};

const SIGNED: &str = "Authorization: AWS4-HMAC-SHA256 Credential=x\r\n";

/// Sends bytes and returns all that comes back until the connection ends.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // What is not read any more resets the connection; the answer may still have come.
    drop(soon(stream.write_all(bytes)).await?);
    rest(&mut stream).await
}

async fn rest(stream: &mut TcpStream) -> Result<String> {
    let mut answer = Vec::new();
    // A reset ends it too.
    drop(soon(stream.read_to_end(&mut answer)).await?);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn assert_page(stack: &Stack) -> Result<()> {
    let page = request(stack.address, "GET", "/", "", b"").await?;
    assert_eq!((page.status, page.body.as_str()), (200, "the page"));
    Ok(())
}

/// Waits until the gauge of open connections says so.
async fn until_open(stack: &Stack, wanted: u32) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = stack.metrics.render();
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let open = lines.find_map(|line| line.strip_prefix("open_connections "));
        if open.is_some_and(|open| open.parse() == Ok(f64::from(wanted))) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{open:?} are open, not {wanted}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() -> Result<()> {
    let bounds = Bounds {
        first_head: Duration::from_millis(300),
        ..Bounds::default()
    };
    let mut stack = Stack::behind(bounds, plain_api(), Limits::default()).await?;
    let mut silent = TcpStream::connect(stack.address).await?;
    let mut slow = TcpStream::connect(stack.address).await?;
    let (reader, mut writer) = slow.split();
    let trickle = async {
        for byte in b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
            .iter()
            .cycle()
        {
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let hung_up = async {
        let mut reader = reader;
        drop(reader.read(&mut [0; 16]).await);
    };
    soon(async {
        tokio::select! { () = trickle => {} () = hung_up => {} }
    })
    .await?;
    assert_eq!(rest(&mut silent).await?, "");
    drop(slow);
    // A WebSocket has asked, and stays.
    let (mut client, id) = stack.open().await?;
    until_open(&stack, 1).await?;
    sleep(Duration::from_millis(600)).await;
    assert_eq!(stack.manage("POST", &id, b"here").await?.status, 200);
    assert_eq!(client.text().await?, "here");
    until_open(&stack, 1).await?;
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn too_many_silent_clients_cut_each_other_off() -> Result<()> {
    let bounds = Bounds {
        waiting_max: 4,
        ..Bounds::default()
    };
    let stack = Stack::behind(bounds, plain_api(), Limits::default()).await?;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(stack.address).await?);
        assert_page(&stack).await?;
    }
    // The last to ask took the place of one more.
    until_open(&stack, 3).await?;
    for early in silent.iter_mut().take(47) {
        assert_eq!(rest(early).await?, "");
    }
    drop(silent);
    until_open(&stack, 0).await?;
    stack.stop(()).await;
    Ok(())
}

#[tokio::test]
async fn at_the_limit_of_connections_the_silent_make_room() -> Result<()> {
    let bounds = Bounds {
        connections_max: 3,
        ..Bounds::default()
    };
    let mut stack = Stack::behind(bounds, plain_api(), Limits::default()).await?;
    let (mut client, id) = stack.open().await?;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(stack.address).await?);
    }
    assert_page(&stack).await?;
    assert_eq!(stack.manage("POST", &id, b"here").await?.status, 200);
    assert_eq!(client.text().await?, "here");
    drop(silent);
    until_open(&stack, 1).await?;
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused_and_the_longest_url_passes() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let status = |answer: String| answer.split(' ').nth(1).map(str::to_owned);
    let head = |headers: &str| format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n");
    let large = head(&format!("X-Large: {}\r\n", "x".repeat(100 * 1024)));
    let many = head(&"X-Many: x\r\n".repeat(4_000));
    for bytes in [large, many] {
        let answer = exchange(stack.address, bytes.as_bytes()).await?;
        assert_eq!(status(answer).as_deref(), Some("431"));
    }
    let url = |bytes: usize| format!("/?q={}", "x".repeat(bytes - 4));
    assert_eq!(stack.refused(&url(4_097)).await?.0, 414);
    let mut opening = tokio::task::JoinSet::new();
    opening.spawn(stack.handshake(&url(4_096), &[]));
    stack.call_of("$connect").await?.ok().await?;
    let opened = soon(opening.join_next()).await?.context("no handshake")??;
    stack.stop(opened).await;
    Ok(())
}

#[tokio::test]
async fn a_request_cannot_hide_in_another_ones_body() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (client, id) = stack.open().await?;
    let hidden = format!(
        "POST /@connections/{id} HTTP/1.1\r\nHost: h\r\n{SIGNED}Content-Length: 6\r\n\r\nhidden"
    );
    let post = format!("POST /@connections/L0SM9cOFvHcCIhw= HTTP/1.1\r\nHost: h\r\n{SIGNED}");
    let length = hidden.len() + 5;
    for (what, headers, body) in [
        (
            "chunked ends first",
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            "two lengths",
            format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
            hidden.clone(),
        ),
        (
            "a list of lengths",
            format!("Content-Length: 0, {length}\r\n"),
            hidden.clone(),
        ),
        (
            "a signed length",
            format!("Content-Length: +{length}\r\n"),
            hidden.clone(),
        ),
        (
            "unknown coding",
            "Transfer-Encoding: xchunked\r\n".to_owned(),
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            "chunked is not last",
            "Transfer-Encoding: chunked, identity\r\n".to_owned(),
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            "a space before the colon",
            "Transfer-Encoding : chunked\r\n".to_owned(),
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            "a chunk size that overflows",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("fffffffffffffffff\r\n{hidden}"),
        ),
        (
            "a body that the length hides",
            format!("Content-Length: {}\r\n", hidden.len()),
            hidden.clone(),
        ),
    ] {
        let answer = exchange(
            stack.address,
            format!("{post}{headers}Connection: close\r\n\r\n{body}").as_bytes(),
        )
        .await?;
        let answers = answer.matches("HTTP/1.1 ").count();
        assert!(answers <= 1, "{what}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 200"), "{what}: {answer}");
    }
    // Whatever was answered: no hidden request has posted anything.
    let mut client = client;
    assert_eq!(stack.manage("POST", &id, b"first").await?.status, 200);
    assert_eq!(client.text().await?, "first");
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn an_upload_of_a_huge_or_endless_body_is_given_up() -> Result<()> {
    let limits = Limits {
        handshake_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let mut stack = Stack::start(plain_api(), limits).await?;
    let (mut client, id) = stack.open().await?;
    let post = format!("POST /@connections/{id} HTTP/1.1\r\nHost: h\r\n{SIGNED}");
    // Announced as 16 EiB, and 12 MiB of it sent.
    let huge = format!(
        "{post}Content-Length: 18446744073709551615\r\n\r\n{}",
        "x".repeat(12 << 20)
    );
    let answer = exchange(stack.address, huge.as_bytes()).await?;
    assert!(!answer.contains(" 200 "), "{answer}");
    let chunked = format!(
        "{post}Transfer-Encoding: chunked\r\n\r\n{}",
        "10000\r\n".to_owned() + &"x".repeat(0x10000) + "\r\n"
    );
    let answer = exchange(stack.address, chunked.as_bytes()).await?;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(stack.manage("POST", &id, b"hello").await?.status, 200);
    assert_eq!(client.text().await?, "hello");
    until_open(&stack, 1).await?;
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up_and_one_in_chunks_is_taken() -> Result<()> {
    let bounds = Bounds {
        body: Duration::from_millis(500),
        ..Bounds::default()
    };
    let stack = Stack::behind(bounds, plain_api(), Limits::default()).await?;
    let post = "POST /upload HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";
    let chunked =
        format!("{post}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
    let answer = exchange(stack.address, chunked.as_bytes()).await?;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n7"),
        "{answer}"
    );
    let slow = format!("{post}Content-Length: 1000\r\n\r\nonly this");
    let answer = exchange(stack.address, slow.as_bytes()).await?;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    until_open(&stack, 0).await?;
    stack.stop(()).await;
    Ok(())
}

#[tokio::test]
async fn noise_in_place_of_http_is_not_answered_for_long() -> Result<()> {
    let stack = Stack::start(plain_api(), Limits::default()).await?;
    for noise in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \r\n folded\r\n\r\n",
    ] {
        let answer = exchange(stack.address, noise).await?;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
        assert_page(&stack).await?;
    }
    until_open(&stack, 0).await?;
    stack.stop(()).await;
    Ok(())
}
