//! A learner who behaves as a good client does: says a message again that is not acknowledged, connects
//! again, and asks for what it misses.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sparkle_tests::{
    Client,
    follow::{Following, Took},
};
use tokio::time::{Instant, sleep};

use crate::Setting;

/// Turns that a learner has under way at once: the second waits for the first.
const UNDER_WAY_MAX: usize = 2;
/// How often a learner looks at the clock while nothing comes.
const TICK: Duration = Duration::from_millis(250);
/// When a message is said again that was not acknowledged.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// When a learner asks for a stream that has been silent: signs of life come every 4 s.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long another worker takes to come: what a dead one's message stays hidden.
const RECOVERY: Duration = Duration::from_secs(15);
/// When a learner gives up on a turn.
const PATIENCE: Duration = Duration::from_mins(5);
/// One frame in so many is the last on its socket.
const CUT_ONE_IN: u32 = 60;

/// What one learner has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// What must not be, in words.
    pub(crate) violations: Vec<String>,
    /// From the first frame of a question that had to be said again to its acknowledgement.
    pub(crate) acks_after_repeats: Vec<Duration>,
    /// Silences on a stream that were broken by its next frame, longer than any worker is silent.
    pub(crate) silences: Vec<Duration>,
    pub(crate) repeats: usize,
    pub(crate) resumes: usize,
    pub(crate) cuts: usize,
    pub(crate) gaps: usize,
    pub(crate) doubled: usize,
    pub(crate) restarts: usize,
    /// What the gateway said in place of a function, and what a function asked to try again.
    pub(crate) refusals: usize,
}

struct Turn {
    stream: Following,
    message: String,
    expected: String,
    first_sent_at: Instant,
    sent_at: Instant,
    acked_at: Option<Instant>,
    repeats: usize,
    /// When its stream last gained something, or was asked for.
    grown_at: Instant,
    asked_at: Instant,
    /// Workers that seem to have died in it, and how many of them since it last gained something.
    deaths: usize,
    in_this_silence: u32,
}

pub(crate) struct Learner {
    setting: Arc<Setting>,
    name: String,
    token: String,
    client: Client,
    turns: Vec<Turn>,
    chance: fastrand::Rng,
    seen: Seen,
}

impl Learner {
    pub(crate) async fn new(
        setting: Arc<Setting>,
        number: usize,
        chance: fastrand::Rng,
    ) -> Result<Self> {
        let name = format!("learner-{number}");
        let token = setting.stack.token(&name).await?;
        let client = setting.stack.process.connect(&token).await?;
        Ok(Self {
            setting,
            name,
            token,
            client,
            turns: Vec::new(),
            chance,
            seen: Seen::default(),
        })
    }

    /// Has so many turns answered, whatever happens, and checks them and what is kept of them.
    pub(crate) async fn run(mut self, turns: usize) -> Seen {
        if let Err(error) = self.converse(turns).await {
            let violation = format!("{}: {error:#}", self.name);
            self.seen.violations.push(violation);
        }
        for turn in &self.turns {
            self.seen.doubled += turn.stream.doubled;
            self.seen.gaps += turn.stream.early;
            self.seen.restarts += turn.stream.restarts();
            let (text, last) = (turn.stream.text(), turn.stream.last());
            if last["payload"]["finish_reason"] != "stop" || text != turn.expected {
                let expected = &turn.expected;
                let (name, deaths) = (&self.name, turn.deaths);
                let violation =
                    format!("{name}: {last} after some {deaths} deaths, {text:?} for {expected:?}");
                self.seen.violations.push(violation);
            }
        }
        let kept = self.check_history().await;
        let violation = kept.err().map(|error| format!("{}: {error:#}", self.name));
        self.seen.violations.extend(violation);
        self.seen
    }

    async fn converse(&mut self, turns: usize) -> Result<()> {
        while self.over() < turns {
            let is_acked = self.turns.last().is_none_or(|turn| turn.acked_at.is_some());
            let under_way = self.turns.len() - self.over();
            if self.turns.len() < turns && is_acked && under_way < UNDER_WAY_MAX {
                self.say().await?;
            }
            match self.client.receive_within(TICK).await {
                Ok(text) => {
                    self.take(&serde_json::from_str(&text)?).await?;
                    if self.chance.u32(..CUT_ONE_IN) == 0 {
                        self.seen.cuts += 1;
                        self.connect_again().await?;
                    }
                }
                Err(error) if format!("{error:#}").starts_with("nothing came") => {}
                Err(_) => self.connect_again().await?,
            }
            self.insist().await?;
        }
        Ok(())
    }

    fn over(&self) -> usize {
        let over = self.turns.iter().filter(|turn| turn.stream.is_over());
        over.count()
    }

    /// Says the next message.
    async fn say(&mut self) -> Result<()> {
        let number = self.turns.len();
        // Names its turn, so that the text of another is noticed.
        let mark = format!("[{} {number}] ", self.name);
        let pieces: Vec<String> = std::iter::once(mark)
            .chain((1..self.setting.pieces).map(|piece| format!("第{piece}步 ")))
            .collect();
        let script = json!({ "pieces": pieces, "pause_ms": self.setting.pause_ms });
        let now = Instant::now();
        self.turns.push(Turn {
            stream: Following::of(&format!("{}-{number}", self.name)),
            message: format!("#script {script}"),
            expected: pieces.concat(),
            first_sent_at: now,
            sent_at: now,
            acked_at: None,
            repeats: 0,
            grown_at: now,
            asked_at: now,
            deaths: 0,
            in_this_silence: 0,
        });
        self.say_newest().await
    }

    async fn say_newest(&mut self) -> Result<()> {
        let Some(turn) = self.turns.last_mut() else {
            return Ok(());
        };
        turn.sent_at = Instant::now();
        let said = turn
            .stream
            .chat(&mut self.client, &self.name, &turn.message);
        // A socket that is closed is noticed when it is read from.
        drop(said.await);
        Ok(())
    }

    async fn connect_again(&mut self) -> Result<()> {
        self.client = self.setting.stack.process.connect(&self.token).await?;
        let open = |turn: &Turn| turn.acked_at.is_some() && !turn.stream.is_over();
        for place in 0..self.turns.len() {
            if open(&self.turns[place]) {
                self.ask(place).await?;
            }
        }
        match self.turns.last() {
            Some(turn) if turn.acked_at.is_none() => self.repeat().await,
            _ => Ok(()),
        }
    }

    /// Asks for what is missing of a stream.
    async fn ask(&mut self, place: usize) -> Result<()> {
        self.seen.resumes += 1;
        let turn = &mut self.turns[place];
        turn.asked_at = Instant::now();
        drop(turn.stream.resume(&mut self.client).await);
        Ok(())
    }

    async fn repeat(&mut self) -> Result<()> {
        if let Some(turn) = self.turns.last_mut() {
            turn.repeats += 1;
            self.seen.repeats += 1;
        }
        self.say_newest().await
    }

    /// Does what a client does when something does not come.
    async fn insist(&mut self) -> Result<()> {
        let now = Instant::now();
        if let Some(turn) = self.turns.last()
            && turn.acked_at.is_none()
            && now >= turn.sent_at + SAID_AGAIN_AFTER
        {
            self.repeat().await?;
        }
        for place in 0..self.turns.len() {
            let turn = &self.turns[place];
            let quiet_since = turn.grown_at.max(turn.asked_at);
            if turn.acked_at.is_none() || turn.stream.is_over() {
                continue;
            }
            ensure!(
                now < turn.grown_at + PATIENCE,
                "turn {place} is never over: {:?}",
                turn.stream
            );
            if place == self.over() {
                self.count_deaths(place, now);
            }
            if now >= quiet_since + SILENCE_MAX {
                self.ask(place).await?;
            }
        }
        Ok(())
    }

    /// Nothing has come for longer than any worker is silent: it died, most likely, and another may have
    /// died before it came as far.
    fn count_deaths(&mut self, place: usize, now: Instant) {
        let turn = &mut self.turns[place];
        let silence = now.saturating_duration_since(turn.grown_at);
        while silence >= SILENCE_MAX + RECOVERY * turn.in_this_silence {
            turn.in_this_silence += 1;
            turn.deaths += 1;
            if turn.deaths == self.setting.spare {
                self.setting.fragile.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A turn has gained a frame.
    fn goes_on(&mut self, place: usize, now: Instant) {
        let turn = &mut self.turns[place];
        let silence = now.saturating_duration_since(turn.grown_at);
        if silence >= SILENCE_MAX {
            self.seen.silences.push(silence);
        }
        turn.grown_at = now;
        turn.in_this_silence = 0;
        if turn.stream.is_over() {
            self.setting.answered.fetch_add(1, Ordering::Relaxed);
            if turn.deaths >= self.setting.spare {
                self.setting.fragile.fetch_sub(1, Ordering::Relaxed);
            }
            // Only now can the next one begin.
            if let Some(next) = self.turns.get_mut(place + 1) {
                next.grown_at = now;
            }
        }
    }

    async fn take(&mut self, frame: &Value) -> Result<()> {
        let is_by_gateway = frame["type"].is_null();
        let is_to_be_repeated = frame["type"] == "error"
            && frame["seq"].is_null()
            && frame["payload"]["retryable"] == true;
        if is_by_gateway || is_to_be_repeated {
            self.seen.refusals += 1;
            if let Some(turn) = self.turns.last()
                && turn.acked_at.is_none()
            {
                sleep(Duration::from_millis(self.chance.u64(..200))).await;
                self.repeat().await?;
            }
            return Ok(());
        }
        let now = Instant::now();
        for place in 0..self.turns.len() {
            let turn = &mut self.turns[place];
            let gaps = turn.stream.early;
            let took = turn.stream.take(frame);
            match took.with_context(|| format!("turn {place}"))? {
                Took::Foreign => continue,
                Took::Ack if turn.acked_at.is_none() => {
                    turn.acked_at = Some(now);
                    turn.grown_at = turn.grown_at.max(now);
                    if turn.repeats > 0 {
                        let took = now.saturating_duration_since(turn.first_sent_at);
                        self.seen.acks_after_repeats.push(took);
                    }
                }
                Took::Ack | Took::Known => {}
                Took::New => {
                    let has_gap = turn.stream.early > gaps;
                    self.goes_on(place, now);
                    if has_gap {
                        self.ask(place).await?;
                    }
                }
            }
            return Ok(());
        }
        bail!("nobody asked for {frame}")
    }

    /// That the conversation holds each question and its answer once, in the order of their `ack`s.
    async fn check_history(&mut self) -> Result<()> {
        let mut client = self.setting.stack.process.connect(&self.token).await?;
        let (mut kept, mut before) = (Vec::new(), 0);
        loop {
            let asked = json!({ "session_id": self.name, "limit": 100, "before": before });
            let id = client.request("history", asked.clone()).await?;
            let page = client.frame().await?;
            if page["type"].is_null() {
                // The function that was to answer has died.
                continue;
            }
            ensure!(page["request_id"] == id, "no history: {page}");
            let entries = page["payload"]["entries"].as_array();
            let mut page_entries = entries.context("no entries")?.clone();
            page_entries.append(&mut kept);
            kept = page_entries;
            before = page["payload"]["next_before"].as_u64().unwrap_or_default();
            if before == 0 {
                break;
            }
        }
        let said = self
            .turns
            .iter()
            .flat_map(|turn| [&turn.message, &turn.expected]);
        let texts = kept
            .iter()
            .map(|entry| entry["text"].as_str().unwrap_or_default());
        ensure!(
            texts.clone().eq(said),
            "history holds {:?}",
            texts.collect::<Vec<_>>()
        );
        Ok(())
    }
}
