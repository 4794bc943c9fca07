//! Learners who ask at times that were fixed before, whether or not they have been answered.
//!
//! An open loop: waits count from when a question was due, so that a stack that falls behind shows it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sparkle_tests::{
    Client,
    bench::{Stack, percentile},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::model::{Model, Question};

/// How often something is asked, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) per_second: u32,
    pub(crate) lasting: Duration,
}

impl Pace {
    pub(crate) fn times(self) -> u32 {
        let seconds = u32::try_from(self.lasting.as_secs()).unwrap_or(u32::MAX);
        self.per_second.saturating_mul(seconds)
    }

    /// When each is due, evenly.
    pub(crate) fn due(self, begin: Instant) -> impl Iterator<Item = Instant> {
        (0..self.times()).map(move |nth| begin + Duration::from_secs(1) * nth / self.per_second)
    }
}

/// How long one turn took, all but `overhead` since it was due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) ack: Duration,
    pub(crate) delta: Duration,
    pub(crate) done: Duration,
    /// Between the provider's first text, where that was seen, and the first delta.
    pub(crate) overhead: Option<Duration>,
}

/// One part of every turn.
pub(crate) fn part(turns: &[Turn], part: impl Fn(&Turn) -> Duration) -> Vec<Duration> {
    turns.iter().map(part).collect()
}

/// Whether the answers came about as fast as they were asked for.
pub(crate) fn keeps_up(turns: &[Turn], pace: Pace) -> bool {
    let is_whole = turns.len() == pace.times() as usize;
    is_whole && percentile(&part(turns, |turn| turn.done), 99) < Duration::from_secs(1)
}

/// Learners with a socket and a conversation each.
pub(crate) struct Class {
    learners: Vec<Client>,
    model: Arc<Model>,
}

impl Class {
    pub(crate) async fn gather(stack: &Stack, model: &Arc<Model>, learners: u32) -> Result<Self> {
        let mut class = Vec::new();
        for number in 0..learners {
            class.push(stack.connect(&format!("learner-{number}")).await?);
        }
        Ok(Self {
            learners: class,
            model: Arc::clone(model),
        })
    }

    /// Asks at that pace, the learners in turn, and waits for every answer. Questions that the platform
    /// failed are not among the turns.
    pub(crate) async fn ask(&mut self, pace: Pace) -> Result<Vec<Turn>> {
        let mut schedules = vec![Vec::new(); self.learners.len()];
        let begin = Instant::now() + Duration::from_millis(100);
        for (nth, due) in pace.due(begin).enumerate() {
            let learner = nth % schedules.len();
            if let Some(schedule) = schedules.get_mut(learner) {
                schedule.push(due);
            }
        }
        let mut at_once = JoinSet::new();
        for (mut learner, schedule) in self.learners.drain(..).zip(schedules) {
            let model = Arc::clone(&self.model);
            at_once.spawn(async move {
                let turns = converse(&mut learner, &schedule, &model).await?;
                anyhow::Ok((learner, turns))
            });
        }
        let mut turns = Vec::new();
        while let Some(conversation) = at_once.join_next().await {
            let (learner, its) = conversation??;
            self.learners.push(learner);
            turns.extend(its);
        }
        Ok(turns)
    }

    /// The next learner asks once and has the answer.
    pub(crate) async fn ask_once(&mut self) -> Result<Turn> {
        self.learners.rotate_left(1);
        let learner = self.learners.first_mut().context("nobody is there")?;
        let turns = converse(learner, &[Instant::now()], &self.model).await?;
        turns.first().copied().context("no turn")
    }
}

/// What a learner has asked and is waiting for, by request.
#[derive(Default)]
struct Conversation {
    asked: HashMap<String, Asked>,
    /// The request that each stream answers.
    streams: HashMap<String, String>,
    turns: Vec<Turn>,
}

/// A question that was asked, and what came of it so far.
struct Asked {
    question: Question,
    due: Instant,
    ack: Option<Instant>,
    delta: Option<Instant>,
    done: Option<Instant>,
}

/// Sends each question when it is due, whatever else is under way, and reads until all are answered or
/// failed.
async fn converse(client: &mut Client, schedule: &[Instant], model: &Model) -> Result<Vec<Turn>> {
    let mut schedule = schedule.iter().copied().peekable();
    let mut conversation = Conversation::default();
    while schedule.peek().is_some() || !conversation.asked.is_empty() {
        let next = schedule.peek().copied();
        tokio::select! {
            biased;
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            text = client.receive(), if !conversation.asked.is_empty() => {
                // A socket that closed, or nothing for a minute: what is open has failed.
                let Ok(text) = text else { break };
                conversation.hear(&text, model)?;
                continue;
            }
        }
        if let Some(due) = schedule.next() {
            let question = Question::new();
            let payload = json!({ "session_id": "s1", "message": question.message() });
            let id = client.request("chat", payload).await?;
            let (ack, delta, done) = (None, None, None);
            let asked = Asked {
                question,
                due,
                ack,
                delta,
                done,
            };
            conversation.asked.insert(id, asked);
        }
    }
    Ok(conversation.turns)
}

impl Conversation {
    /// Notes what a frame says. Frames of a turn that was given up say nothing.
    fn hear(&mut self, text: &str, model: &Model) -> Result<()> {
        let now = Instant::now();
        let frame: Value = serde_json::from_str(text)?;
        if frame["message"] == "Internal server error" {
            // The gateway's own frame does not say of what: of the oldest, most likely.
            let open = self.asked.iter().filter(|(_, turn)| turn.ack.is_none());
            let oldest = open.min_by_key(|(_, turn)| turn.due);
            if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                self.asked.remove(&id);
            }
            return Ok(());
        }
        let stream = frame["stream"].to_string();
        if let Some(id) = frame["request_id"].as_str() {
            self.streams.insert(stream.clone(), id.to_owned());
        }
        let id = self.streams.get(&stream);
        let id = id.with_context(|| format!("whose? {text}"))?.clone();
        let Some(turn) = self.asked.get_mut(&id) else {
            return Ok(());
        };
        match frame["type"].as_str() {
            Some("ack") => turn.ack = Some(now),
            Some("delta") => turn.delta = turn.delta.or(Some(now)),
            Some("done") => turn.done = Some(now),
            Some("error") => drop(self.asked.remove(&id)),
            _ => {}
        }
        let heard = self.asked.get(&id);
        if let Some(turn) = heard.filter(|turn| turn.ack.is_some() && turn.done.is_some()) {
            self.turns.push(turn.over(model)?);
            self.asked.remove(&id);
        }
        Ok(())
    }
}

impl Asked {
    fn over(&self, model: &Model) -> Result<Turn> {
        let (Some(ack), Some(delta), Some(done)) = (self.ack, self.delta, self.done) else {
            bail!("an answer without text");
        };
        let seen = model.first_text(&self.question);
        Ok(Turn {
            ack: ack - self.due,
            delta: delta - self.due,
            done: done - self.due,
            overhead: seen.map(|seen| delta.into_std().saturating_duration_since(seen)),
        })
    }
}
