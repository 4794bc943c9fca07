//! Learners who send turn after turn without waiting for the answers, and what must hold of them
//! however many they are: nothing is lost, nothing comes twice, everything comes in order.
//!
//! A conversation awaits each `ack` before its next frame, as the protocol asks of a client that needs
//! an order, and says a message again, under the same id, when it is told to try again or the gateway
//! speaks for a function. Every frame that comes is held against the rules of a stream; the first that
//! breaks one ends the conversation with an error that shows it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::Client;

/// Most entries in one page of history.
const PAGE_ENTRIES: usize = 100;
/// How often a message is said again before its learner gives up.
const REPEATS_MAX: usize = 10;
/// How long a learner waits before saying it again.
const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// One learner's conversation.
#[derive(Debug)]
pub struct Conversation {
    client: Client,
    session: String,
    /// In the order in which they were sent and acknowledged.
    turns: Vec<Turn>,
    /// How many of the first ones are over.
    over: usize,
    answered: Arc<AtomicUsize>,
    patience: Duration,
}

/// One message and its answer so far.
#[derive(Debug)]
struct Turn {
    request_id: String,
    message: String,
    expected: String,
    sent_at: Instant,
    stream: Option<u64>,
    seq: u64,
    text: String,
    restarts: usize,
    repeats: usize,
    ack: Option<Duration>,
    delta: Option<Duration>,
    done: Option<Duration>,
}

/// How long one turn took since its frame was sent; its wait for earlier turns of its conversation
/// is in it.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// To its acknowledgement.
    pub ack: Duration,
    /// To its first text.
    pub delta: Duration,
    /// To its end.
    pub done: Duration,
    /// To its end, but since it could begin: when it was acknowledged and the turn before it over.
    pub own: Duration,
}

impl Conversation {
    /// One that has not begun. `session` is also what its answers are recognized by, so no other may
    /// bear it. Each answer that is complete is counted in `answered`. Where many wait for each other,
    /// the next frame may be `patience` away.
    pub fn new(
        client: Client,
        session: &str,
        answered: Arc<AtomicUsize>,
        patience: Duration,
    ) -> Self {
        let (session, turns) = (session.to_owned(), Vec::new());
        Self {
            client,
            session,
            turns,
            over: 0,
            answered,
            patience,
        }
    }

    /// Sends messages, each as soon as the one before it is acknowledged, and listens until all are
    /// answered.
    ///
    /// # Errors
    /// A rule of the protocol is broken, or nothing came; the error shows what.
    pub async fn say(&mut self, turns: usize) -> Result<()> {
        for _ in 0..turns {
            self.send().await?;
            while self.turns.last().is_some_and(|turn| turn.ack.is_none()) {
                self.receive().await?;
            }
        }
        while self.over < self.turns.len() {
            self.receive().await?;
        }
        Ok(())
    }

    /// Checks that the conversation holds each message and its answer, once, in the order of their
    /// acknowledgements, and that nothing else has come.
    ///
    /// # Errors
    /// It does not; the error shows what it holds instead.
    pub async fn check_history(&mut self) -> Result<()> {
        let mut pages = Vec::new();
        let mut before = 0;
        loop {
            let asked =
                json!({ "session_id": self.session, "limit": PAGE_ENTRIES, "before": before });
            let id = self.client.request("history", asked).await?;
            let page = loop {
                let frame = self.client.frame().await?;
                if frame["request_id"] == id.as_str() {
                    break frame;
                }
                self.take(&frame, Instant::now())
                    .with_context(|| format!("{}: after its end {frame}", self.session))?;
            };
            ensure!(page["type"] == "history", "no history: {page}");
            let entries = page["payload"]["entries"].as_array();
            pages.push(entries.cloned().unwrap_or_default());
            before = page["payload"]["next_before"].as_u64().unwrap_or_default();
            if before == 0 {
                break;
            }
        }
        let kept: Vec<Value> = pages.into_iter().rev().flatten().collect();
        let expected = self.turns.len() * 2;
        ensure!(
            kept.len() == expected,
            "{}: history has {} entries and not {expected}",
            self.session,
            kept.len()
        );
        for (entries, turn) in kept.chunks(2).zip(&self.turns) {
            let said = [("user", &turn.message), ("assistant", &turn.expected)];
            for (entry, (role, text)) in entries.iter().zip(said) {
                ensure!(
                    entry["role"] == role
                        && entry["text"] == text.as_str()
                        && entry["request_id"] == turn.request_id.as_str(),
                    "{}: history has {entry} in place of {role} of {}",
                    self.session,
                    turn.request_id
                );
            }
        }
        Ok(())
    }

    /// The times of its turns from the one with this number, counted from 0.
    pub fn times(&self, from: usize) -> Vec<Times> {
        let mut before = None;
        let mut times = Vec::new();
        for turn in &self.turns {
            let (Some(ack), Some(delta), Some(done)) = (turn.ack, turn.delta, turn.done) else {
                break;
            };
            let acknowledged_at = turn.sent_at + ack;
            let began_at = before.map_or(acknowledged_at, |before: Instant| {
                before.max(acknowledged_at)
            });
            let done_at = turn.sent_at + done;
            before = Some(done_at);
            let own = done_at.saturating_duration_since(began_at);
            times.push(Times {
                ack,
                delta,
                done,
                own,
            });
        }
        times.split_off(from.min(times.len()))
    }

    /// How often a message was said again: allowed, but a sign that a function failed or was late.
    pub fn repeats(&self) -> usize {
        self.turns.iter().map(|turn| turn.repeats).sum()
    }

    /// How often an answer was begun anew: allowed, but a sign that a worker failed.
    pub fn restarts(&self) -> usize {
        self.turns.iter().map(|turn| turn.restarts).sum()
    }

    async fn send(&mut self) -> Result<()> {
        let number = self.turns.len();
        // Names its turn, so that the text of another is noticed.
        let mark = format!("[{} {number}] ", self.session);
        let words = "one two three four five six seven eight nine ten eleven twelve";
        let pieces: Vec<String> = std::iter::once(mark)
            .chain(words.split_inclusive(' ').map(str::to_owned))
            .collect();
        let message = format!("#script {}", json!({ "pieces": pieces }));
        let payload = json!({ "session_id": self.session, "message": message });
        let sent_at = Instant::now();
        let request_id = self.client.request("chat", payload).await?;
        self.turns.push(Turn {
            request_id,
            message,
            expected: pieces.concat(),
            sent_at,
            stream: None,
            seq: 0,
            text: String::new(),
            restarts: 0,
            repeats: 0,
            ack: None,
            delta: None,
            done: None,
        });
        Ok(())
    }

    async fn receive(&mut self) -> Result<()> {
        let received = self.client.receive_within(self.patience).await;
        let now = Instant::now();
        let frame: Value = serde_json::from_str(&received.with_context(|| self.position())?)?;
        let is_by_gateway = frame["type"].is_null();
        let is_to_be_repeated = frame["type"] == "error"
            && frame["seq"].is_null()
            && frame["payload"]["retryable"] == true;
        if is_by_gateway || is_to_be_repeated {
            return self.repeat(&frame).await;
        }
        self.take(&frame, now)
            .with_context(|| format!("{}; the frame is {frame}", self.position()))
    }

    /// Says the newest message again, unless it was acknowledged meanwhile.
    async fn repeat(&mut self, because: &Value) -> Result<()> {
        let Some(turn) = self.turns.last_mut().filter(|turn| turn.ack.is_none()) else {
            return Ok(());
        };
        turn.repeats += 1;
        ensure!(
            turn.repeats <= REPEATS_MAX,
            "{} is given up after {because}",
            turn.request_id
        );
        let payload = json!({ "session_id": self.session, "message": turn.message });
        let frame = crate::request("chat", &turn.request_id, payload);
        tokio::time::sleep(REPEAT_AFTER).await;
        self.client.send(frame).await
    }

    /// Where the conversation stands, for errors.
    fn position(&self) -> String {
        format!(
            "{}: {} turns sent, {} over",
            self.session,
            self.turns.len(),
            self.over
        )
    }

    fn take(&mut self, frame: &Value, now: Instant) -> Result<()> {
        let kind = frame["type"].as_str().context("a frame of no type")?;
        let stream = frame["stream"].as_u64().context("a frame of no stream")?;
        let turn = self.turns.iter().position(|turn| {
            turn.stream.map_or_else(
                || frame["request_id"] == turn.request_id.as_str(),
                |known| known == stream,
            )
        });
        let place = turn.context("a stream that nobody asked for")?;
        let over = self.over;
        let turn = self.turns.get_mut(place).context("a turn")?;
        turn.stream = Some(stream);
        let took = now.saturating_duration_since(turn.sent_at);
        if kind == "ack" {
            let is_first = turn.ack.is_none() && frame["payload"]["duplicate"] != true;
            ensure!(is_first || turn.repeats > 0, "a second acknowledgement");
            turn.ack.get_or_insert(took);
            return Ok(());
        }
        let seq = frame["seq"].as_u64().context("a frame without a place")?;
        if turn.repeats > 0 && seq <= turn.seq {
            // Who says it again may hear the answer again.
            return Ok(());
        }
        ensure!(
            place == over,
            "turn {place} is spoken to while turn {over} is not over"
        );
        ensure!(seq == turn.seq + 1, "a gap after {}", turn.seq);
        turn.seq += 1;
        match kind {
            "delta" => {
                if frame["payload"]["restart"] == true {
                    turn.restarts += 1;
                    turn.text.clear();
                }
                turn.text
                    .push_str(frame["payload"]["text"].as_str().unwrap_or_default());
                turn.delta.get_or_insert(took);
            }
            "done" => {
                ensure!(
                    frame["payload"]["finish_reason"] == "stop",
                    "an answer that is not complete"
                );
                ensure!(
                    turn.text == turn.expected,
                    "the answer is {:?} and not {:?}",
                    turn.text,
                    turn.expected
                );
                turn.done = Some(took);
                self.over += 1;
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            "status" | "usage" => {}
            _ => bail!("not of an answer"),
        }
        Ok(())
    }
}
