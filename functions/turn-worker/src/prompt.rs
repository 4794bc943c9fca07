//! What is asked of the model: instructions, the part of the conversation that goes, the message; and how many
//! tokens that is.
//!
//! Bounds first: a prompt that fits by its bytes is never counted, and the vocabulary that counting takes is
//! never loaded. Only where bytes do not fit what the model takes, or what the learner has left, is the prompt
//! counted exactly, if its tokenizer is known.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use sparkle_aws::{
    config::{self, ConfigError},
    meter::Usage,
    table::conversations::Recent,
};
use sparkle_core::{
    chat,
    context::{self, Conversation, Entry, Kind, Recap, Room, Settings, Step, TooLong},
    frame::{HistoryEntry, Speaker, TurnJob},
    price::Model,
    profile::{Manner, Personal, Style},
    summary::{self, Summary},
    unit::TokenUsage,
};
use sparkle_llm::{Correction, Counter, Llm, Message, Prompt, Served, TraceParent};
use tokio::task::spawn_blocking;
use tracing::error;

/// How prompts are made, and what providers have taught about their tokens.
#[derive(Debug, Default)]
pub struct Prompts {
    pub(crate) settings: Settings,
    corrections: Mutex<BTreeMap<String, Correction>>,
}

impl Prompts {
    /// As `SPARKLE_CONTEXT_*` say.
    ///
    /// # Errors
    /// [`ConfigError::NotANumber`].
    pub fn from_environment() -> Result<Self, ConfigError> {
        let default = Settings::default();
        let messages = |name, default| -> Result<u64, ConfigError> {
            let given = config::positive_or_unset(name)?;
            Ok(given.map_or(default, u64::from))
        };
        let settings = Settings {
            whole: messages("SPARKLE_CONTEXT_WHOLE", default.whole)?,
            summary_over: messages("SPARKLE_CONTEXT_SUMMARY_OVER", default.summary_over)?,
            least: messages("SPARKLE_CONTEXT_LEAST", default.least)?,
            ..default
        };
        Ok(Self {
            settings,
            ..Self::default()
        })
    }

    /// How many of a conversation's newest messages may go out.
    pub(crate) fn messages_max(&self) -> usize {
        usize::try_from(self.settings.whole).unwrap_or(usize::MAX)
    }

    /// The prompt for a turn of this learner after what was said before, for whose older part a summary may stand.
    ///
    /// # Errors
    /// [`TooLong`] if the model cannot take the message: only where its tokenizer is known. Elsewhere the
    /// message goes alone, and the provider decides.
    pub(crate) async fn compose(
        &self,
        llm: &Llm,
        (job, manner): (&TurnJob, &Manner),
        model: &Model,
        recent: &Recent,
        summary: Option<&Summary>,
    ) -> Result<Composed, TooLong> {
        let counter = llm.counter(&model.id);
        let draft = Draft {
            settings: &self.settings,
            job,
            style: manner.style.clone().asked(&job.language, &job.role),
            personal: manner.personal.as_ref(),
            model,
            recent,
            summary,
            counter,
            correction: self.correction(&model.id),
        };
        let room = Room::of(model, 0).prompt_tokens;
        let (prompt, has_summary) = match (draft.prompt(&draft.rough_sizes()), counter) {
            (Ok(drawn), Counter::Bytes) => drawn,
            (Err(_too_long), Counter::Bytes) => (draft.alone(), false),
            (Ok(drawn), Counter::Exact(_)) if Counter::bound(&drawn.0) <= room => drawn,
            (_, Counter::Exact(_)) => draft.prompt(&draft.exact_sizes().await)?,
        };
        let bound = Counter::bound(&prompt);
        let mut composed = Composed {
            tokens: match counter {
                Counter::Bytes => draft.correction.raised(bound),
                Counter::Exact(_) => bound,
            },
            prompt,
            has_summary,
            counter,
            counted: None,
        };
        if bound > room {
            self.tighten(&mut composed).await;
        }
        Ok(composed)
    }

    /// Counts exactly what was only bounded; whether the prompt has fewer tokens for it. Cost: see
    /// [`sparkle_llm::Family::ids`], on a thread of its own.
    pub(crate) async fn tighten(&self, composed: &mut Composed) -> bool {
        let Composed {
            prompt, counter, ..
        } = composed;
        if *counter == Counter::Bytes || composed.counted.is_some() {
            return false;
        }
        let (counter, prompt) = (*counter, prompt.clone());
        let model = prompt.model.clone();
        let Ok(counted) = spawn_blocking(move || counter.count(&prompt)).await else {
            error!("a prompt cannot be counted");
            return false;
        };
        composed.counted = Some(counted);
        let tokens = self.correction(&model).raised(counted);
        let is_fewer = tokens < composed.tokens;
        composed.tokens = tokens;
        is_fewer
    }

    /// Learns from what a provider says that a prompt had.
    pub(crate) fn learn(&self, composed: &Composed, billed: &Usage, model: &Model) {
        let billed_tokens = billed.tokens.prompt_tokens;
        // No model can have taken more.
        let is_sound = !billed.estimated && billed_tokens <= model.context_tokens;
        let counted = match composed.counter {
            Counter::Bytes => Some(Counter::bound(&composed.prompt)),
            Counter::Exact(_) => composed.counted,
        };
        if let Some(counted) = counted.filter(|_| is_sound) {
            let mut corrections = self.corrections();
            let correction = corrections.entry(model.id.clone()).or_default();
            correction.learn(counted, billed_tokens);
        }
    }

    fn correction(&self, model: &str) -> Correction {
        self.corrections().get(model).copied().unwrap_or_default()
    }

    fn corrections(&self) -> MutexGuard<'_, BTreeMap<String, Correction>> {
        // A panic elsewhere does not make figures wrong.
        self.corrections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A prompt, and what it has to be paid for it.
#[derive(Debug)]
pub(crate) struct Composed {
    pub(crate) prompt: Prompt,
    /// It is not billed more tokens than this.
    pub(crate) tokens: u32,
    /// Whether a summary is in it.
    pub(crate) has_summary: bool,
    counter: Counter,
    /// What its tokenizer makes of it, once that had to be known.
    counted: Option<u32>,
}

impl Composed {
    /// Tokens of a text for a model, if that is known at once.
    pub(crate) fn ready_count(llm: &Llm, model: &Model, text: &str) -> Option<u32> {
        let counter = llm.counter(&model.id);
        counter.is_ready().then(|| counter.text(text))
    }

    /// What the call has consumed, where the provider did not say.
    pub(crate) fn consumed(&self, text: &str, served: &Served) -> TokenUsage {
        served.estimate(self.tokens, text, self.counter)
    }
}

/// What a prompt is made of.
struct Draft<'a> {
    settings: &'a Settings,
    job: &'a TurnJob,
    style: Style,
    personal: Option<&'a Personal>,
    model: &'a Model,
    recent: &'a Recent,
    summary: Option<&'a Summary>,
    counter: Counter,
    correction: Correction,
}

/// Tokens of its parts.
struct Sizes {
    /// Instructions and message.
    alone: u32,
    /// Each message of history.
    entries: Vec<u32>,
    /// The summary; none if there is none.
    recalled: u32,
}

impl Draft<'_> {
    /// As they were counted when they were said, else by their bytes.
    fn rough_sizes(&self) -> Sizes {
        let alone = Counter::bound(&self.alone());
        let bytes = |entry: &HistoryEntry| self.counter.message(length(&entry.text));
        let recalled = self.recalled();
        let recalled = recalled.map_or(0, |message| self.counter.message(length(&message.text)));
        let entries = self.recent.entries.iter();
        match self.counter {
            Counter::Exact(_) => Sizes {
                alone,
                recalled,
                entries: entries
                    .map(|entry| match entry.tokens {
                        Some(tokens) => self.counter.message(tokens),
                        None => bytes(entry),
                    })
                    .collect(),
            },
            Counter::Bytes => Sizes {
                alone: self.correction.estimate(alone),
                recalled: self.correction.estimate(recalled),
                entries: entries
                    .map(|entry| self.correction.estimate(bytes(entry)))
                    .collect(),
            },
        }
    }

    /// As the model's tokenizer counts them.
    async fn exact_sizes(&self) -> Sizes {
        let (counter, alone) = (self.counter, self.alone());
        let texts: Vec<String> = self.recent.entries.iter().map(|e| e.text.clone()).collect();
        let recalled = self.recalled();
        let count = move || {
            let tokens = |text: &String| counter.message(counter.text(text));
            Sizes {
                alone: counter.count(&alone),
                entries: texts.iter().map(tokens).collect(),
                recalled: recalled.map_or(0, |message| tokens(&message.text)),
            }
        };
        spawn_blocking(count).await.unwrap_or_else(|_panic| {
            error!("a conversation cannot be counted");
            self.rough_sizes()
        })
    }

    /// Without anything that was said before.
    fn alone(&self) -> Prompt {
        self.after(Vec::new())
    }

    /// The summary as it stands in a prompt.
    fn recalled(&self) -> Option<Message> {
        let summary = self.summary?;
        Some(Message::system(summary::recalled(&summary.text)))
    }

    /// The prompt, and whether the summary is in it.
    fn prompt(&self, sizes: &Sizes) -> Result<(Prompt, bool), TooLong> {
        let said = &self.recent.entries;
        let sized = said.iter().zip(&sizes.entries);
        let entries: Vec<Entry> = sized
            .map(|(entry, &tokens)| Entry {
                kind: match entry.speaker {
                    Speaker::User => Kind::Question,
                    Speaker::Assistant => Kind::Answer,
                },
                tokens,
            })
            .collect();
        let conversation = Conversation {
            length: self.recent.length,
            recent: &entries,
            recap: self.summary.map(|summary| Recap {
                covers: summary.covers,
                tokens: sizes.recalled,
            }),
        };
        let room = Room::of(self.model, sizes.alone);
        let step = Step::cheapest(self.model, self.settings);
        let window = context::prune(&conversation, room, step, self.settings)?;
        let goes = said.iter().zip(&entries).skip(window.first);
        let history = goes.map(|(entry, size)| {
            let text = room.shortened(&entry.text, size.tokens);
            match entry.speaker {
                Speaker::User => Message::user(text),
                Speaker::Assistant => Message::assistant(text),
            }
        });
        let recalled = self.recalled().filter(|_| window.has_recap);
        let prompt = self.after(recalled.into_iter().chain(history).collect());
        Ok((prompt, window.has_recap))
    }

    fn after(&self, history: Vec<Message>) -> Prompt {
        let Self { job, model, .. } = self;
        let instructions = chat::instructions(&self.style, self.personal);
        let instructions = Message::system(instructions);
        let mut messages = vec![instructions];
        messages.extend(history);
        messages.push(Message::user(&job.message));
        let span_id = u64::from(job.stream().get());
        Prompt {
            trace_parent: TraceParent::new(job.trace_id.as_str(), span_id),
            ..Prompt::new(&model.id, messages, model.answer_tokens_max)
        }
    }
}

fn length(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}
