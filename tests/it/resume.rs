//! A learner loses the connection, and goes on on another one.

use std::{process::Stdio, sync::Arc};

use anyhow::{Context, Result};
use sparkle_tests::{PATIENCE, Stack, binaries, follow::Following};
use tokio::{
    io::{AsyncReadExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::Notify,
    task::JoinSet,
    time::timeout,
};

use crate::{chat::script, durable::slow, fault::entries};

#[tokio::test]
async fn a_gap_is_filled_on_the_same_connection_while_the_answer_runs() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    let (message, text) = slow(40, 50);
    let mut stream = Following::of("r1");
    stream.chat(&mut client, "s1", &message).await?;
    stream.grown(&mut client, 3).await?;
    stream.acknowledged(&mut client, 1).await?;
    while client.frame().await?["seq"].is_null() {} // the one with a `seq` is as if it had never come
    stream.grown(&mut client, 5).await?;
    assert_eq!((stream.contiguous(), stream.early), (3, 2));
    stream.resume(&mut client).await?;
    stream.to_the_end(&mut client).await?;
    assert_eq!((stream.text(), stream.restarts()), (text, 0));
    Ok(())
}

#[tokio::test]
async fn a_question_repeated_on_another_connection_is_followed_from_its_beginning() -> Result<()> {
    let stack = Stack::start().await?;
    let (message, text) = slow(40, 50);
    let mut stream = Following::of("r1");
    let mut client = stack.connect("ann").await?;
    stream.chat(&mut client, "s1", &message).await?;
    drop(client); // before its `ack` was read
    let mut client = stack.connect("ann").await?;
    stream.chat(&mut client, "s1", &message).await?;
    stream.to_the_end(&mut client).await?;
    assert_eq!((stream.doubled, stream.early), (0, 0));
    assert_eq!(stream.text(), text);
    assert_eq!(entries(&mut client, "s1").await?.len(), 2);
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
