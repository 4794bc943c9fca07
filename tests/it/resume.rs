//! A learner loses the connection, and goes on on another one.

use std::{process::Stdio, sync::Arc};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::{Client, PATIENCE, Stack, binaries, request, stream::Stream};
use tokio::{
    io::{AsyncReadExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::Notify,
    task::JoinSet,
    time::timeout,
};

use crate::chat::script;

/// Asks for a slow answer of 40 pieces as `r1` in `s1`.
async fn ask(client: &mut Client) -> Result<(Stream, String)> {
    let pieces: Vec<String> = (0..40).map(|piece| format!("{piece} 片 ")).collect();
    let text = pieces.concat();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let payload = json!({ "session_id": "s1", "message": script(&pieces, 50) });
    client.send(request("chat", "r1", payload)).await?;
    Ok((Stream::of("r1"), text))
}

#[tokio::test]
async fn a_cut_answer_goes_on_on_other_connections_and_is_kept_whole() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    let (mut stream, text) = ask(&mut client).await?;
    let first = stream.connected();
    stream.read(first, &mut client, 3).await?;
    for frames in [6, 9, usize::MAX] {
        drop(client);
        client = stack.connect("ann").await?;
        let connection = stream.resume(&mut client).await?;
        stream.read(connection, &mut client, frames).await?;
    }
    let carried = stream.connections().to_vec();
    assert!(carried.iter().all(|each| each.is_smooth()), "{carried:?}");
    let acks: Vec<&Value> = carried[1..].iter().flat_map(|each| &each.acks).collect();
    assert!(acks.iter().all(|ack| ack["finished"].is_null()), "{acks:?}");
    let answer = stream.answer()?;
    assert_eq!(answer.text, text);

    // Over, it can be had again, in whole or in part, also past its end.
    let last_seq = answer.frames.len();
    for after_seq in [
        0,
        last_seq / 2,
        last_seq - 1,
        last_seq,
        last_seq + 1,
        u32::MAX as usize,
    ] {
        let id = client.resume("r1", after_seq as u64).await?;
        let ack = client.frame().await?;
        ensure!(
            ack["type"] == "ack" && ack["request_id"] == id.as_str(),
            "{ack}"
        );
        assert_eq!(ack["stream"], answer.frames[0]["stream"]);
        assert_eq!(ack["payload"]["finished"], true);
        assert_eq!(ack["payload"]["last_seq"], last_seq);
        for frame in answer.frames.iter().skip(after_seq) {
            assert_eq!(client.frame().await?, *frame);
        }
        let pong = client.ask("ping", json!({})).await?;
        assert_eq!(pong["type"], "pong", "after {after_seq}");
    }
    Ok(())
}

#[tokio::test]
async fn a_second_device_follows_at_once_and_both_get_everything() -> Result<()> {
    let stack = Stack::start().await?;
    let (mut phone, mut laptop) = (stack.connect("ann").await?, stack.connect("ann").await?);
    let (mut stream, text) = ask(&mut phone).await?;
    let on_phone = stream.connected();
    stream.read(on_phone, &mut phone, 2).await?;
    let mut twin = Stream::of("r1");
    let on_laptop = twin.resume(&mut laptop).await?;
    let (one, other) = tokio::join!(
        stream.read(on_phone, &mut phone, usize::MAX),
        twin.read(on_laptop, &mut laptop, usize::MAX),
    );
    one.and(other)?;
    for stream in [&stream, &twin] {
        assert!(
            stream.connections().iter().all(|each| each.is_smooth()),
            "{stream:?}"
        );
    }
    let (phone, laptop) = (stream.answer()?, twin.answer()?);
    assert_eq!(phone.text, text);
    assert_eq!(phone.frames, laptop.frames);
    Ok(())
}

#[tokio::test]
async fn a_gap_is_filled_on_the_same_connection_while_the_answer_runs() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    let (mut stream, text) = ask(&mut client).await?;
    let connection = stream.connected();
    stream.read(connection, &mut client, 3).await?;
    let lost = loop {
        let frame = client.frame().await?; // as if it had never come
        if frame["seq"].is_u64() {
            break frame["seq"].as_u64().unwrap_or_default();
        }
    };
    stream.read(connection, &mut client, 5).await?;
    assert_eq!(stream.gaps(), [lost]);
    let again = stream.resume(&mut client).await?;
    stream.read(again, &mut client, usize::MAX).await?;
    assert_eq!(stream.answer()?.text, text);
    Ok(())
}

#[tokio::test]
async fn a_question_repeated_on_another_connection_is_followed_from_its_beginning() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    ask(&mut client).await?;
    drop(client); // before its `ack` was read
    let mut client = stack.connect("ann").await?;
    let (mut stream, text) = ask(&mut client).await?;
    let connection = stream.connected();
    stream.read(connection, &mut client, usize::MAX).await?;
    assert!(stream.connections()[0].is_smooth(), "{stream:?}");
    assert_eq!(stream.answer()?.text, text);
    let history = client.ask("history", json!({ "session_id": "s1" })).await?;
    assert_eq!(
        history["payload"]["entries"].as_array().map(Vec::len),
        Some(2)
    );
    Ok(())
}

#[tokio::test]
async fn nobody_learns_of_the_requests_of_others() -> Result<()> {
    let stack = Stack::start().await?;
    let mut ann = stack.connect("ann").await?;
    ann.send(request(
        "chat",
        "r1",
        json!({ "session_id": "s1", "message": "thanks" }),
    ))
    .await?;
    ann.answer("r1").await?;
    let mut ben = stack.connect("ben").await?;
    let mut refusals = Vec::new();
    for (kind, id) in [
        ("resume", "r1"),
        ("resume", "never"),
        ("cancel", "r1"),
        ("cancel", "never"),
    ] {
        let refusal = ben.ask(kind, json!({ "request_id": id })).await?;
        assert_eq!(refusal["payload"]["code"], "NOT_FOUND", "{kind} {id}");
        refusals.push(refusal["payload"].clone());
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    let refusal = ann
        .ask("resume", json!({ "request_id": "r1", "after_seq": -1 }))
        .await?;
    assert_eq!(refusal["payload"]["code"], "INVALID_ARGUMENT");
    assert_eq!(refusal["payload"]["field"], "payload.after_seq");
    Ok(())
}

/// A way to a stack that breaks off on demand.
struct Path {
    port: u16,
    broken: Arc<Notify>,
    _ways: JoinSet<()>,
}

impl Path {
    async fn to(stack: &Stack) -> Result<Self> {
        let target = stack
            .address("http")
            .trim_start_matches("http://")
            .to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let broken = Arc::new(Notify::new());
        let breaks = Arc::clone(&broken);
        let mut ways = JoinSet::new();
        ways.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    () = breaks.notified() => open.abort_all(),
                    Ok((mut near, _)) = listener.accept() => {
                        let target = target.clone();
                        open.spawn(async move {
                            if let Ok(mut far) = TcpStream::connect(target).await {
                                drop(copy_bidirectional(&mut near, &mut far).await);
                            }
                        });
                    }
                }
            }
        });
        Ok(Self {
            port,
            broken,
            _ways: ways,
        })
    }

    fn breaks(&self) {
        self.broken.notify_one();
    }
}

#[tokio::test]
async fn the_terminal_chat_shows_an_answer_once_over_cuts() -> Result<()> {
    let stack = Stack::start().await?;
    let path = Path::to(&stack).await?;
    let pieces: Vec<String> = (0..60).map(|piece| format!("<{piece}> ")).collect();
    let text = pieces.concat();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let mut chat = Command::new(binaries().join("sparkle"))
        .args(["--port", &path.port.to_string(), "chat", "--session", "s1"])
        .arg(script(&pieces, 50))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdout = chat.stdout.take().context("no stdout")?;
    let (mut shown, mut cuts) = (String::new(), 0);
    let mut bytes = [0; 4096];
    loop {
        let count = timeout(PATIENCE, stdout.read(&mut bytes)).await??;
        if count == 0 {
            break;
        }
        shown.push_str(std::str::from_utf8(&bytes[..count])?);
        if cuts < 3 && shown.contains(&format!("<{}>", cuts * 15 + 3)) {
            path.breaks();
            cuts += 1;
        }
    }
    let output = timeout(PATIENCE, chat.wait_with_output()).await??;
    let notes = String::from_utf8(output.stderr)?;
    assert!(output.status.success(), "{notes}");
    let (answer, usage) = shown.split_once("\n[").context(shown.clone())?;
    assert_eq!(answer, text);
    assert!(usage.contains("millionths of a dollar"), "{usage}");
    assert_eq!(notes.matches("connection lost").count(), 3, "{notes}");
    Ok(())
}
