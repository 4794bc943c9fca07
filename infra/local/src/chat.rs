//! A chat in the terminal, over the real WebSocket.
//!
//! Hides what a cut takes to mend: an answer goes on where it stopped, on as many connections as that
//! takes, and nothing of it is shown twice.

mod answer;
mod link;
mod screen;

use std::{thread, time::Duration};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep_until},
};
use uuid::Uuid;

use answer::{Answer, Heard};
use link::{Event, Link};

/// Longest silence on a running answer before it is asked for; the server gives a sign of life every 4 s.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long a missing frame is waited for before it is asked for again.
const GAP_MAX: Duration = Duration::from_secs(3);
/// Lines that may be typed ahead.
const LINES_AHEAD_MAX: usize = 16;

/// Who chats, where, and about what.
#[derive(Debug)]
pub struct Chat {
    /// The stack's address, such as `127.0.0.1:3000`.
    pub address: String,
    /// The learner.
    pub user: String,
    /// The conversation.
    pub session: String,
}

impl Chat {
    /// A chat of `user` in the conversation `session`, or in a new one.
    pub fn new(address: String, user: String, session: Option<String>) -> Self {
        let session = session.unwrap_or_else(|| format!("t-{}", Uuid::new_v4().simple()));
        Self {
            address,
            user,
            session,
        }
    }

    /// Says `message` and shows the answer; without one, says what is typed until end of input.
    ///
    /// Ctrl-C stops a running answer; the next one, or one at the prompt, leaves.
    ///
    /// # Errors
    /// No stack answers, it is away for too long, or the answer was left before its end.
    pub async fn run(&self, message: Option<String>) -> anyhow::Result<()> {
        let mut link = Link::open(&self.address, &self.user).await?;
        let mut interrupts = signal(SignalKind::interrupt())?;
        if let Some(message) = message {
            return self.say(&mut link, &mut interrupts, &message).await;
        }
        screen::write(&format!(
            "Chatting as {} in {}. Ctrl-C stops an answer, Ctrl-D ends.\n",
            self.user, self.session
        ))?;
        let mut lines = typed();
        loop {
            screen::write("\n> ")?;
            let Some(line) = prompted(&mut link, &mut interrupts, &mut lines).await else {
                return screen::write("\n");
            };
            if !line.trim().is_empty() {
                self.say(&mut link, &mut interrupts, &line).await?;
            }
        }
    }

    /// Says one message and shows its answer, over as many connections as that takes.
    async fn say(
        &self,
        link: &mut Link,
        interrupts: &mut Signal,
        message: &str,
    ) -> anyhow::Result<()> {
        let mut answer = Answer::to(&self.session, message);
        if link.is_open() {
            answer.ask();
        }
        let mut ask_by = Instant::now() + SILENCE_MAX;
        let mut is_unheard = false;
        loop {
            for frame in answer.outgoing() {
                link.send(&frame).await;
            }
            let is_open = link.is_open();
            let event = select! {
                event = link.next() => event.with_context(|| self.left("the connection is lost"))?,
                () = sleep_until(ask_by), if is_open => {
                    if is_unheard {
                        link.hang_up();
                        screen::note("no answer, reconnecting")?;
                    }
                    is_unheard = true;
                    ask_by = Instant::now() + answer.patience();
                    answer.ask();
                    continue;
                }
                _ = interrupts.recv() => {
                    if !answer.cancel() {
                        bail!(self.left("left"));
                    }
                    screen::note("stopping; Ctrl-C once more leaves")?;
                    continue;
                }
            };
            match event {
                Event::Lost => screen::note("connection lost, reconnecting")?,
                Event::Open => {
                    is_unheard = false;
                    ask_by = Instant::now() + SILENCE_MAX;
                    answer.ask();
                }
                Event::Frame(frame) => {
                    is_unheard = false;
                    if let Some(patience) = hear(&mut answer, frame)? {
                        ask_by = Instant::now() + patience;
                    }
                    if answer.is_over() {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn left(&self, why: &str) -> String {
        format!(
            "{why}; the answer will be in the conversation {}",
            self.session
        )
    }
}

impl Answer {
    /// How long to wait for the next frame before asking for it.
    fn patience(&self) -> Duration {
        if self.has_gap() { GAP_MAX } else { SILENCE_MAX }
    }
}

/// Shows what a frame adds to an answer. If it says something of it: how long to wait for more.
fn hear(answer: &mut Answer, frame: Value) -> anyhow::Result<Option<Duration>> {
    match answer.accept(frame) {
        Heard::Nothing => Ok(None),
        Heard::Later(pause) => Ok(Some(pause)),
        Heard::Frames(frames) => {
            for frame in &frames {
                screen::show(frame)?;
            }
            Ok(Some(answer.patience()))
        }
    }
}

/// What is typed, line by line.
///
/// Read by a thread of its own that nobody waits for: a read of the terminal cannot be given up.
fn typed() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES_AHEAD_MAX);
    drop(thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    }));
    lines
}

/// The next line, or none if that was all. A connection that is lost meanwhile is mended with the next question.
async fn prompted(
    link: &mut Link,
    interrupts: &mut Signal,
    lines: &mut mpsc::Receiver<String>,
) -> Option<String> {
    loop {
        let is_open = link.is_open();
        select! {
            line = lines.recv() => return line,
            _ = interrupts.recv() => return None,
            _late_or_lost = link.next(), if is_open => {}
        }
    }
}
