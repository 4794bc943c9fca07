//! One conversation through one way of pruning, turn by turn: the tokens of every prompt, how many of them the
//! provider has just seen, and the summaries that are ordered on the way.
//!
//! Windows come from `core::context::prune`, orders from `Settings::wanted`, what a summary is made of from
//! `core::summary`; only the notes themselves are made up. Tokens are those of o200k, the family of every
//! model in the price list.

use std::{rc::Rc, time::Duration};

use anyhow::{Result, ensure};
use sparkle_core::{
    chat,
    context::{Conversation, Entry, Kind, Recap, Room, Settings, Step, prune},
    frame::{HistoryEntry, Speaker},
    id::RequestId,
    price::Model,
    profile::Style,
    summary,
    unit::Timestamp,
};
use sparkle_llm::{Counter, Family, Message, Prompt, Role};

use crate::talk::{Probe, Talk};

const FAMILY: Family = Family::O200k;
/// What a plain window keeps.
pub(crate) const PLAIN_MESSAGES: usize = 10;
/// What `summary-worker` has if nothing else is set: a summary's longest length, what it is made of at most,
/// and how long it stands for its part of a conversation.
pub(crate) const SUMMARY_TOKENS_MAX: u32 = 512;
const MATERIAL_BYTES_MAX: usize = 16 * 1024;
const SUMMARY_LIFE: Duration = Duration::from_hours(1);
/// Notes are assumed to be so many times shorter than what they stand for, and no shorter than this.
pub(crate) const NOTES_TIMES_SHORTER: u32 = 5;
pub(crate) const NOTES_TOKENS_MIN: u32 = 64;
/// Stand for `<|im_start|>`, `<|im_sep|>`, `<|im_end|>`: no text has them.
const MARKS: [u32; 3] = [u32::MAX, u32::MAX - 1, u32::MAX - 2];
/// Primes the answer.
const PRIMING_TOKENS: u32 = 3;

/// Which part of a conversation goes with a new message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// All of it.
    Whole,
    /// The newest ten messages.
    Plain,
    /// What Sparkle sends, with summaries of what is older.
    Summaries(Step),
    /// What Sparkle sends where the setting asks for no summaries.
    Steps(Step),
}

/// A message with its tokens, those around it included.
#[derive(Debug)]
struct Said {
    message: Message,
    ids: Vec<u32>,
}

impl Said {
    fn new(message: Message) -> Result<Rc<Self>> {
        let role = serde_json::to_value(message.role)?;
        let role = FAMILY.ids(role.as_str().unwrap_or_default());
        let text = FAMILY.ids(&message.text);
        let (Some(role), Some(text)) = (role, text) else {
            anyhow::bail!("a message cannot be cut into tokens");
        };
        let [start, separator, end] = MARKS;
        let ids = [&[start], &*role, &[separator], &*text, &[end]].concat();
        Ok(Rc::new(Self { message, ids }))
    }

    fn tokens(&self) -> u32 {
        u32::try_from(self.ids.len()).unwrap_or(u32::MAX)
    }
}

/// A conversation with its tokens.
#[derive(Debug)]
pub(crate) struct Spoken<'a> {
    talk: &'a Talk,
    instructions: Rc<Said>,
    said: Vec<Rc<Said>>,
}

/// One call of the answering model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) prompt_tokens: u32,
    /// The longest common beginning with the prompt before it.
    pub(crate) repeated_tokens: u32,
    /// Since the prompt before it.
    pub(crate) after_s: u64,
    pub(crate) answer_tokens: u32,
}

/// One call of the model that writes summaries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writing {
    pub(crate) prompt_tokens: u32,
    pub(crate) notes_tokens: u32,
}

/// Where the message is that a probe needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    InWindow,
    UnderSummary,
    Nowhere,
}

/// What a conversation took.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) calls: Vec<Call>,
    pub(crate) writings: Vec<Writing>,
    pub(crate) found: Vec<Found>,
}

struct Summary {
    text: String,
    recalled: Rc<Said>,
    covers: u64,
    fresh_until_s: u64,
}

/// What goes before the new message: from which message on, and the summary.
struct Window<'a> {
    first: usize,
    recalled: Option<&'a Summary>,
}

impl<'a> Spoken<'a> {
    pub(crate) fn new(talk: &'a Talk) -> Result<Self> {
        let instructions = Message::system(chat::instructions(
            &Style::default().asked(&talk.language, ""),
            None,
        ));
        let messages = talk.turns.iter().flat_map(|turn| {
            [
                Message::user(&turn.question),
                Message::assistant(&turn.answer),
            ]
        });
        Ok(Self {
            talk,
            instructions: Said::new(instructions)?,
            said: messages.map(Said::new).collect::<Result<_>>()?,
        })
    }

    /// Tokens of questions and answers, each with what is around it.
    pub(crate) fn tokens(&self) -> u64 {
        self.said.iter().map(|said| u64::from(said.tokens())).sum()
    }

    /// All its turns, one after the other, with the model's limits.
    pub(crate) fn trace(&self, way: Way, model: &Model) -> Result<Trace> {
        let mut trace = Trace::default();
        let mut summary: Option<Summary> = None;
        let mut before: Vec<Rc<Said>> = Vec::new();
        let mut now_s = 0;
        for (number, turn) in self.talk.turns.iter().enumerate() {
            now_s += turn.after_s;
            let (length, question) = (2 * number, &self.said[2 * number]);
            let fresh = summary.as_ref().filter(|s| now_s < s.fresh_until_s);
            let window = self.window(way, model, length, fresh)?;
            let mut prompt = vec![Rc::clone(&self.instructions)];
            prompt.extend(window.recalled.map(|summary| Rc::clone(&summary.recalled)));
            prompt.extend_from_slice(&self.said[window.first..length]);
            prompt.push(Rc::clone(question));
            let answer = &self.said[2 * number + 1];
            trace.calls.push(Call {
                prompt_tokens: tokens(&prompt),
                repeated_tokens: repeated(&before, &prompt),
                after_s: turn.after_s,
                answer_tokens: answer.tokens() - 4,
            });
            let probes = self.talk.probes.iter().filter(|p| p.turn == number);
            trace
                .found
                .extend(probes.map(|probe| found(probe, &window)));
            before = prompt;
            if let Way::Summaries(_) = way {
                let covered = fresh.map(|summary| summary.covers);
                let length = length as u64 + 2;
                if let Some(upto) = Settings::default().wanted(length, covered) {
                    let (written, writing) = self.write(summary.as_ref(), upto, now_s)?;
                    summary = Some(written);
                    trace.writings.push(writing);
                }
            }
        }
        let messages = before.iter().map(|said| said.message.clone());
        let counted = Counter::Exact(FAMILY).count(&Prompt::new("", messages.collect(), 1));
        // What grows when it is normalised, the product counts a little higher.
        let most = tokens(&before) + tokens(&before) / 100;
        ensure!(
            (tokens(&before)..=most).contains(&counted),
            "the product counts {counted} tokens of a prompt, this benchmark {}",
            tokens(&before)
        );
        Ok(trace)
    }

    fn window<'s>(
        &self,
        way: Way,
        model: &Model,
        length: usize,
        fresh: Option<&'s Summary>,
    ) -> Result<Window<'s>> {
        let (step, settings) = match way {
            Way::Whole => {
                return Ok(Window {
                    first: 0,
                    recalled: None,
                });
            }
            Way::Plain => {
                let first = length.saturating_sub(PLAIN_MESSAGES);
                return Ok(Window {
                    first,
                    recalled: None,
                });
            }
            Way::Summaries(step) => (step, Settings::default()),
            Way::Steps(step) => {
                let summary_over = u64::MAX;
                let settings = Settings {
                    summary_over,
                    ..Settings::default()
                };
                (step, settings)
            }
        };
        let begin = length.saturating_sub(usize::try_from(settings.whole)?);
        let recent = self.said[begin..length].iter().map(|said| Entry {
            kind: match said.message.role {
                Role::User => Kind::Question,
                _ => Kind::Answer,
            },
            tokens: said.tokens(),
        });
        let recent: Vec<Entry> = recent.collect();
        let conversation = Conversation {
            length: length as u64,
            recent: &recent,
            recap: fresh.map(|summary| Recap {
                covers: summary.covers,
                tokens: summary.recalled.tokens(),
            }),
        };
        let alone = [&self.instructions, &self.said[length]];
        let taken_tokens = alone.iter().map(|said| said.tokens()).sum::<u32>() + PRIMING_TOKENS;
        let window = prune(
            &conversation,
            Room::of(model, taken_tokens),
            step,
            &settings,
        )?;
        Ok(Window {
            first: begin + window.first,
            recalled: fresh.filter(|_| window.has_recap),
        })
    }

    /// What `summary-worker` does with an order.
    fn write(&self, so_far: Option<&Summary>, upto: u64, now_s: u64) -> Result<(Summary, Writing)> {
        let covered = usize::try_from(so_far.map_or(0, |summary| summary.covers))?;
        let since = &self.said[covered..usize::try_from(upto)?];
        let entries = since.iter().map(|said| {
            Ok(HistoryEntry {
                speaker: match said.message.role {
                    Role::User => Speaker::User,
                    _ => Speaker::Assistant,
                },
                text: said.message.text.clone(),
                at: Timestamp::default(),
                request_id: RequestId::parse("r")?,
                tokens: None,
            })
        });
        let entries = entries.collect::<Result<Vec<_>>>()?;
        let so_far = so_far.map(|summary| summary.text.as_str());
        let material = summary::material(so_far, &entries, MATERIAL_BYTES_MAX);
        let covers = covered + material.messages;
        let text = self.notes(covers);
        let asked = [
            Said::new(Message::system(summary::instructions(SUMMARY_TOKENS_MAX)))?,
            Said::new(Message::user(material.text))?,
        ];
        let writing = Writing {
            prompt_tokens: tokens(&asked),
            notes_tokens: Counter::Exact(FAMILY).text(&text),
        };
        let summary = Summary {
            recalled: Said::new(Message::system(summary::recalled(&text)))?,
            text,
            covers: covers as u64,
            fresh_until_s: now_s + SUMMARY_LIFE.as_secs(),
        };
        Ok((summary, writing))
    }

    /// Stands for the notes on so many messages: beginnings of all of them, in the length that is assumed.
    /// No two begin alike, as no two that a model writes do.
    fn notes(&self, covers: usize) -> String {
        let said = &self.said[..covers];
        let tokens: u32 = said.iter().map(|said| said.tokens()).sum();
        let most = (tokens / NOTES_TIMES_SHORTER).clamp(NOTES_TOKENS_MIN, SUMMARY_TOKENS_MAX);
        let bytes: usize = said.iter().map(|said| said.message.text.len()).sum();
        let share = |text: &str| {
            // By its share of all, rounded up: what is too long is cut below.
            let bytes_max = (text.len() * most as usize).div_ceil(tokens as usize) + 8;
            text[..text.floor_char_boundary(bytes_max.min(text.len()))].to_owned()
        };
        let mut text = format!("{covers} messages so far, {bytes} bytes. ");
        text.extend(said.iter().map(|said| share(&said.message.text) + "; "));
        let counter = Counter::Exact(FAMILY);
        let mut counted = counter.text(&text);
        while counted > most {
            let kept = text.len() * most as usize / counted as usize;
            text.truncate(text.floor_char_boundary(kept.min(text.len() - 1)));
            counted = counter.text(&text);
        }
        text
    }
}

fn tokens(prompt: &[Rc<Said>]) -> u32 {
    prompt.iter().map(|said| said.tokens()).sum::<u32>() + PRIMING_TOKENS
}

/// Tokens of the longest common beginning of two prompts.
fn repeated(before: &[Rc<Said>], prompt: &[Rc<Said>]) -> u32 {
    let mut tokens = 0;
    for (old, new) in before.iter().zip(prompt) {
        if Rc::ptr_eq(old, new) || old.ids == new.ids {
            tokens += new.tokens();
            continue;
        }
        let pairs = old.ids.iter().zip(&new.ids);
        let same = pairs.take_while(|(old, new)| old == new).count();
        return tokens + u32::try_from(same).unwrap_or(u32::MAX);
    }
    tokens
}

fn found(probe: &Probe, window: &Window<'_>) -> Found {
    let covers = window.recalled.map_or(0, |summary| summary.covers);
    if probe.needs > window.first as u64 {
        Found::InWindow
    } else if probe.needs <= covers {
        Found::UnderSummary
    } else {
        Found::Nowhere
    }
}
