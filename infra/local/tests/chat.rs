//! The terminal chat against a stack that does what the test says: cuts, gaps, doubles, silence.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use axum::{
    Json, Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    routing::get,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::TcpListener,
    process::{Child, Command},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(30);
const STREAM: u32 = 7;

/// The chat as a process, and the stack that it talks to.
struct Setting {
    chat: Child,
    connections: mpsc::UnboundedReceiver<WebSocket>,
    tokens: Arc<AtomicU32>,
    _servers: JoinSet<()>,
}

impl Setting {
    async fn new(message: Option<&str>) -> Result<Self> {
        let (connected, connections) = mpsc::unbounded_channel();
        let tokens = Arc::new(AtomicU32::new(0));
        let asked = Arc::clone(&tokens);
        let token = async move || {
            asked.fetch_add(1, Ordering::Relaxed);
            Json(json!({ "token": "a.b.c" }))
        };
        let upgrade = async move |upgrade: WebSocketUpgrade| {
            upgrade
                .protocols(["sparkle.v2"])
                .on_upgrade(async move |socket| drop(connected.send(socket)))
        };
        let stack = Router::new()
            .route("/token", get(token))
            .route("/", get(upgrade));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let mut servers = JoinSet::new();
        servers.spawn(async move { drop(axum::serve(listener, stack).await) });
        let chat = Command::new(env!("CARGO_BIN_EXE_sparkle"))
            .args(["--port", &port.to_string(), "chat", "--session", "s1"])
            .args(message)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            chat,
            connections,
            tokens,
            _servers: servers,
        })
    }

    /// The next connection of the chat.
    async fn connection(&mut self) -> Result<Connection> {
        let next = timeout(PATIENCE, self.connections.recv());
        Ok(Connection(next.await?.context("the stack is gone")?))
    }

    fn interrupt(&self) -> Result<()> {
        let id = self.chat.id().context("it has ended")?;
        let id = Pid::from_raw(id.try_into()?).context("no process has id 0")?;
        Ok(kill_process(id, Signal::INT)?)
    }

    async fn type_line(&mut self, line: &str) -> Result<()> {
        let stdin = self.chat.stdin.as_mut().context("closed")?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(stdin.flush().await?)
    }

    /// What the chat wrote, once it has ended: whether well, stdout, the rest of stderr.
    async fn ended(mut self) -> Result<(bool, String, String)> {
        drop(self.chat.stdin.take());
        let output = timeout(PATIENCE, self.chat.wait_with_output()).await??;
        let text = |bytes| String::from_utf8(bytes);
        Ok((
            output.status.success(),
            text(output.stdout)?,
            text(output.stderr)?,
        ))
    }
}

/// The stack's end of a connection. Dropped, it is cut without a close frame.
struct Connection(WebSocket);

impl Connection {
    /// The chat's next frame, which must be of that type.
    async fn frame(&mut self, kind: &str) -> Result<Value> {
        loop {
            let next = timeout(PATIENCE, self.0.recv())
                .await
                .context("nothing came")?;
            if let Message::Text(text) = next.context("closed")?? {
                let frame: Value = serde_json::from_str(&text)?;
                let found = frame.get("type").and_then(Value::as_str);
                ensure!(found == Some(kind), "no {kind} but {frame}");
                return Ok(frame);
            }
        }
    }

    async fn send(&mut self, frames: impl IntoIterator<Item = Value>) -> Result<()> {
        for frame in frames {
            self.0.send(Message::text(frame.to_string())).await?;
        }
        Ok(())
    }
}

fn ack(to: &Value) -> Value {
    json!({ "type": "ack", "request_id": to["request_id"], "stream": STREAM, "payload": { "session_id": "s1" } })
}

fn delta(seq: u32, text: &str) -> Value {
    json!({ "type": "delta", "stream": STREAM, "seq": seq, "payload": { "text": text } })
}

fn done(chat: &Value, seq: u32, reason: &str) -> Value {
    json!({ "type": "done", "request_id": chat["request_id"], "stream": STREAM, "seq": seq, "payload": { "finish_reason": reason } })
}

#[tokio::test]
async fn an_answer_that_is_cut_goes_on_where_it_stopped() -> Result<()> {
    let mut setting = Setting::new(Some("hi")).await?;
    let mut first = setting.connection().await?;
    let chat = first.frame("chat").await?;
    ensure!(
        chat["payload"] == json!({ "session_id": "s1", "message": "hi" }),
        "{chat}"
    );
    first
        .send([ack(&chat), delta(1, "one "), delta(2, "two ")])
        .await?;
    drop(first);

    let mut second = setting.connection().await?;
    let resume = second.frame("resume").await?;
    ensure!(
        resume["payload"] == json!({ "request_id": chat["request_id"], "after_seq": 2 }),
        "{resume}"
    );
    ensure!(resume["request_id"] != chat["request_id"]);
    second
        .send([delta(2, "two "), ack(&resume), delta(3, "three")])
        .await?;
    drop(second);

    let mut third = setting.connection().await?;
    let resume = third.frame("resume").await?;
    ensure!(resume["payload"]["after_seq"] == 3, "{resume}");
    let usage = json!({ "prompt_tokens": 5, "completion_tokens": 3, "cost_microusd": 9 });
    let usage = json!({ "type": "usage", "stream": STREAM, "seq": 4, "payload": usage });
    third
        .send([done(&chat, 5, "stop"), usage, ack(&resume)])
        .await?;
    let tokens = setting.tokens.load(Ordering::Relaxed);
    let (is_well, shown, notes) = setting.ended().await?;
    assert!(is_well, "{notes}");
    assert_eq!(
        shown,
        "one two three\n[5 + 3 tokens, 9 millionths of a dollar]\n"
    );
    assert_eq!(
        notes.matches("connection lost, reconnecting").count(),
        2,
        "{notes}"
    );
    assert_eq!(tokens, 3);
    Ok(())
}

#[tokio::test]
async fn a_question_without_an_ack_is_sent_again_under_its_id() -> Result<()> {
    let mut setting = Setting::new(Some("hi")).await?;
    let chat = setting.connection().await?.frame("chat").await?;
    let mut second = setting.connection().await?;
    let again = second.frame("chat").await?;
    ensure!(again == chat, "{again}");
    second
        .send([
            delta(2, "b"),
            ack(&chat),
            delta(1, "a"),
            done(&chat, 3, "stop"),
        ])
        .await?;
    let (is_well, shown, notes) = setting.ended().await?;
    assert!(is_well, "{notes}");
    assert_eq!(shown, "ab\n");
    Ok(())
}

#[tokio::test]
async fn a_gap_is_asked_for_and_a_restart_is_told() -> Result<()> {
    let mut setting = Setting::new(Some("hi")).await?;
    let mut connection = setting.connection().await?;
    let chat = connection.frame("chat").await?;
    connection
        .send([ack(&chat), delta(1, "wrong"), delta(3, "ght")])
        .await?;
    let resume = connection.frame("resume").await?;
    ensure!(resume["payload"]["after_seq"] == 1, "{resume}");
    let mut restart = delta(2, "ri");
    restart["payload"]["restart"] = json!(true);
    let frames = [
        restart,
        delta(3, "ght"),
        ack(&resume),
        delta(3, "ght"),
        done(&chat, 4, "stop"),
    ];
    connection.send(frames).await?;
    let (is_well, shown, notes) = setting.ended().await?;
    assert!(is_well, "{notes}");
    let (before, after) = shown.split_once("starting over").context(shown.clone())?;
    assert!(
        before.starts_with("wrong") && after.ends_with("\nright\n"),
        "{shown}"
    );
    Ok(())
}

#[tokio::test]
async fn ctrl_c_stops_the_answer_even_over_a_cut() -> Result<()> {
    let mut setting = Setting::new(Some("hi")).await?;
    let mut first = setting.connection().await?;
    let chat = first.frame("chat").await?;
    first.send([ack(&chat), delta(1, "begun")]).await?;
    setting.interrupt()?;
    let cancel = first.frame("cancel").await?;
    ensure!(
        cancel["payload"] == json!({ "request_id": chat["request_id"] }),
        "{cancel}"
    );
    drop(first); // the cancel may be lost with it
    let mut second = setting.connection().await?;
    second.frame("resume").await?;
    second.frame("cancel").await?;
    second.send([done(&chat, 2, "cancelled")]).await?;
    let (is_well, shown, notes) = setting.ended().await?;
    assert!(is_well, "{notes}");
    assert_eq!(shown, "begun\n[cancelled]\n");
    Ok(())
}

#[tokio::test]
async fn ctrl_c_once_more_leaves() -> Result<()> {
    let mut setting = Setting::new(Some("hi")).await?;
    let mut connection = setting.connection().await?;
    let chat = connection.frame("chat").await?;
    connection.send([ack(&chat)]).await?;
    setting.interrupt()?;
    connection.frame("cancel").await?;
    setting.interrupt()?;
    let (is_well, _, notes) = setting.ended().await?;
    assert!(!is_well);
    assert!(
        notes.contains("left; the answer will be in the conversation s1"),
        "{notes}"
    );
    Ok(())
}

#[tokio::test]
async fn a_token_that_has_run_out_is_replaced() -> Result<()> {
    let mut setting = Setting::new(Some("hi")).await?;
    let mut first = setting.connection().await?;
    let chat = first.frame("chat").await?;
    let payload = json!({ "code": "UNAUTHENTICATED", "message": "expired" });
    let refusal = json!({ "type": "error", "request_id": chat["request_id"], "payload": payload });
    first.send([refusal]).await?;
    let mut second = setting.connection().await?;
    ensure!(second.frame("chat").await? == chat);
    second.send([ack(&chat), delta(1, "a")]).await?;
    // Before it hangs up, the stack says so.
    second
        .send([json!({ "type": "reconnect", "payload": { "in_ms": 1000 } })])
        .await?;
    let mut third = setting.connection().await?;
    third.frame("resume").await?;
    third.send([done(&chat, 2, "stop")]).await?;
    let (is_well, shown, notes) = setting.ended().await?;
    assert!(is_well, "{notes}");
    assert_eq!(shown, "a\n");
    Ok(())
}

#[tokio::test]
async fn a_connection_lost_at_the_prompt_is_mended_with_the_next_question() -> Result<()> {
    let mut setting = Setting::new(None).await?;
    let mut first = setting.connection().await?;
    setting.type_line("one").await?;
    let chat = first.frame("chat").await?;
    first
        .send([ack(&chat), delta(1, "first"), done(&chat, 2, "stop")])
        .await?;
    drop(first);
    setting.type_line("two").await?;
    let mut second = setting.connection().await?;
    let chat = second.frame("chat").await?;
    ensure!(chat["payload"]["message"] == "two", "{chat}");
    let refused = json!({ "code": "TOO_LARGE", "message": "Too long." });
    let refused = json!({ "type": "error", "request_id": chat["request_id"], "payload": refused });
    second.send([refused]).await?;
    let (is_well, shown, notes) = setting.ended().await?;
    assert!(is_well, "{notes}");
    assert!(
        shown.contains("> first\n\n> \nToo long. (TOO_LARGE)\n\n> \n"),
        "{shown}"
    );
    Ok(())
}

#[tokio::test]
async fn no_stack_is_a_clear_message() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    drop(listener);
    let chat = Command::new(env!("CARGO_BIN_EXE_sparkle"))
        .args(["--port", &port.to_string(), "chat", "hi"])
        .output();
    let output = timeout(PATIENCE, chat).await??;
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr)?;
    assert!(
        said.contains("start one with `cargo run` in another terminal"),
        "{said}"
    );
    Ok(())
}
