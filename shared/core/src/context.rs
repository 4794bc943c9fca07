//! Which part of a conversation goes with a new message (R-CTX-1, R-CTX-2, R-CTX-4).
//!
//! | messages before the new one | what goes |
//! | --- | --- |
//! | up to 10 | all |
//! | 11 to 20 | the last 5 to 10, cut in steps |
//! | over 20, no summary yet | the last 5 |
//! | over 20, with a summary | the summary, and all after it if that is no more than 10, else the last 5 to 10, in steps |
//!
//! A window begins with the learner, so that it holds whole turns: no question is apart from its answer and
//! no tool's result from its call. Where the fifth message from the end is an answer, its question goes too:
//! "the last 5" of whole turns are 6.
//!
//! **Steps.** Providers sell a prompt's beginning for less if they have seen the same bytes before. A window
//! that moves with every turn has no such beginning; one that grows from 5 to 10 and then lets go of a step
//! has it in all turns but one. [`Step::cheapest`] weighs what the longer window costs against what its
//! cached part saves. Where a window begins depends on the conversation's length alone, not on who asks.
//!
//! **Budget.** The oldest turns go first, the summary when otherwise fewer than the last 5 would fit. The
//! instructions and the new message always go, or nothing does ([`TooLong`]). A message of history that
//! takes over half the budget keeps its beginning and its end ([`Room::shortened`]).

use std::borrow::Cow;

use crate::price::Model;

/// Stands where a long message was cut.
const ELISION: &str = "\n[…]\n";
/// Around a message: no model puts more tokens there (see [`crate::unit::TokenUsage::bound`]).
const MESSAGE_TOKENS: u32 = 8;
/// Prompts below this are cached by nobody: OpenAI's and Anthropic's least (their pages on prompt caching,
/// read 2026-11).
const CACHED_FROM_TOKENS: u32 = 1_024;
/// Question and answer.
const TURN_MESSAGES: u64 = 2;

/// How many messages of history go out (R-CTX-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Up to so many go whole, and never more.
    pub whole: u64,
    /// Over so many a summary stands for the older ones.
    pub summary_over: u64,
    /// So many of the newest go at least.
    pub least: u64,
    /// Tokens of history that go at most, whatever the model takes.
    pub history_tokens_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            whole: 10,
            summary_over: 20,
            least: 5,
            history_tokens_max: 48 * 1024,
        }
    }
}

/// What a message of history is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of the learner: a turn begins.
    Question,
    /// Of the model: normally a turn ends.
    Answer,
    /// A call of a tool or its result, within a turn.
    Tool,
}

/// A message of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// What it takes of a prompt, with all that is around it.
    pub tokens: u32,
}

/// A summary of a conversation's older part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recap {
    /// Position of the newest message that it covers.
    pub covers: u64,
    /// What it takes of a prompt, with all that is around it.
    pub tokens: u32,
}

/// What there is before the new message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversation<'a> {
    /// Messages in all.
    pub length: u64,
    /// The newest [`Settings::whole`] of them, oldest first; fewer where some were lost.
    pub recent: &'a [Entry],
    /// If there is one that may be used.
    pub recap: Option<Recap>,
}

/// What a prompt may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Tokens of the whole prompt at most.
    pub prompt_tokens: u32,
    /// What the instructions and the new message take of it.
    pub taken_tokens: u32,
}

impl Room {
    /// What a model leaves for a prompt beside its longest answer.
    pub fn of(model: &Model, taken_tokens: u32) -> Self {
        let prompt_tokens = model.context_tokens.saturating_sub(model.answer_tokens_max);
        Self {
            prompt_tokens,
            taken_tokens,
        }
    }

    /// A message of history as it goes out: itself, or its beginning and its end if it takes more than half
    /// of the whole prompt. The same for every turn that the model answers.
    pub fn shortened(self, text: &str, tokens: u32) -> Cow<'_, str> {
        let most = self.entry_tokens_max();
        if tokens <= most {
            return Cow::Borrowed(text);
        }
        // No text has more tokens than bytes.
        let bytes = usize::try_from(most.saturating_sub(MESSAGE_TOKENS)).unwrap_or(usize::MAX);
        let half = bytes.saturating_sub(ELISION.len()) / 2;
        let head = text.floor_char_boundary(half);
        let tail = text.ceil_char_boundary(text.len().saturating_sub(half));
        if bytes < ELISION.len() || head >= tail {
            return Cow::Borrowed(text.get(..text.floor_char_boundary(bytes)).unwrap_or(""));
        }
        let (head, tail) = (text.get(..head), text.get(tail..));
        Cow::Owned([head.unwrap_or(""), ELISION, tail.unwrap_or("")].concat())
    }

    fn entry_tokens_max(self) -> u32 {
        self.prompt_tokens / 2
    }
}

/// What goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Those of [`Conversation::recent`] from this index on.
    pub first: usize,
    /// Whether the summary goes.
    pub has_recap: bool,
}

/// Instructions and new message alone are more than the model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message takes {taken_tokens} tokens where {prompt_tokens} fit")]
pub struct TooLong {
    /// What they take.
    pub taken_tokens: u32,
    /// What there is.
    pub prompt_tokens: u32,
}

/// By how many messages a window is cut at once: whole turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    messages: u64,
}

impl Step {
    /// One turn: the window is always as short as may be.
    const TURN: Self = Self {
        messages: TURN_MESSAGES,
    };

    /// The step at which an average turn costs least at a model's prices; of equals the greatest, which
    /// leaves the model the most.
    ///
    /// In a cycle of `k` turns the window has `m`, `m + 2`, `m + 4` … messages, `m` the fewest whole turns.
    /// The first prompt pays `m + 1` messages in full, the new one included. Each later one pays two, the
    /// last answer and the new question, and the others as cached. So at default settings a step is three
    /// turns where cached tokens cost less than 5/11 of others, two below 5/7, else one.
    pub fn cheapest(model: &Model, settings: &Settings) -> Self {
        let (input, cached) = (
            u128::from(model.input),
            u128::from(model.cached_input.min(model.input)),
        );
        let fewest = settings.fewest();
        let turns_max = (settings.whole.saturating_sub(fewest) / TURN_MESSAGES) + 1;
        let mut cycle = u128::from(fewest + 1) * input;
        let (mut best, mut best_cycle) = (1, cycle);
        for turns in 2..=turns_max {
            let repeated = fewest + TURN_MESSAGES * (turns - 1) - 1;
            cycle += u128::from(TURN_MESSAGES) * input + u128::from(repeated) * cached;
            if cycle * u128::from(best) <= best_cycle * u128::from(turns) {
                (best, best_cycle) = (turns, cycle);
            }
        }
        Self {
            messages: best * TURN_MESSAGES,
        }
    }

    /// Messages of it.
    pub fn messages(self) -> u64 {
        self.messages
    }
}

impl Settings {
    fn least(&self) -> u64 {
        self.least.clamp(1, self.whole.max(1))
    }

    /// The fewest messages of whole turns.
    fn fewest(&self) -> u64 {
        self.least().next_multiple_of(TURN_MESSAGES)
    }

    /// How many of the newest messages are to go, if they fit.
    fn wish(&self, length: u64, recap: Option<Recap>, step: Step) -> u64 {
        let least = self.least();
        let stepped = |after: u64| least + after.saturating_sub(least) % step.messages;
        match recap {
            _ if length <= self.whole => length,
            None if length > self.summary_over => least,
            None => stepped(length),
            Some(recap) => match length.saturating_sub(recap.covers) {
                after if after <= self.whole => after.max(least),
                after => stepped(after),
            },
        }
        .min(self.whole)
    }

    /// Up to which message a conversation of `length` messages is to be summarised now, if it is: all but the
    /// newest, once there is no summary or the one there is, which covers `covered`, leaves out more than can
    /// go out. So a prompt's beginning stays the same for some turns.
    pub fn wanted(&self, length: u64, covered: Option<u64>) -> Option<u64> {
        let uncovered = length.saturating_sub(covered.unwrap_or(0));
        let is_wanted = length > self.summary_over && uncovered > self.whole;
        is_wanted.then(|| length.saturating_sub(self.least()))
    }
}

/// What goes with a new message.
///
/// # Errors
/// [`TooLong`] if not even the message itself does.
pub fn prune(
    conversation: &Conversation<'_>,
    room: Room,
    step: Step,
    settings: &Settings,
) -> Result<Window, TooLong> {
    let Conversation { length, recent, .. } = *conversation;
    let Room {
        prompt_tokens,
        taken_tokens,
    } = room;
    let left = prompt_tokens.checked_sub(taken_tokens).ok_or(TooLong {
        taken_tokens,
        prompt_tokens,
    })?;
    let left = left.min(settings.history_tokens_max);
    let recap = conversation.recap.filter(|recap| {
        let is_of_this = recap.covers <= length;
        is_of_this && length > settings.summary_over
    });
    let tokens = |entry: &Entry| entry.tokens.min(room.entry_tokens_max());
    // What the prompt after the shortest one repeats of it. By the average, so that it changes slowly.
    let all = recent.iter().map(tokens).map(u64::from).sum::<u64>();
    let shortest = all * settings.fewest() / u64::try_from(recent.len().max(1)).unwrap_or(u64::MAX);
    let beside = taken_tokens.saturating_add(recap.map_or(0, |recap| recap.tokens));
    let is_cached = shortest + u64::from(beside) >= u64::from(CACHED_FROM_TOKENS);
    let step = if is_cached { step } else { Step::TURN };

    let wish = usize::try_from(settings.wish(length, recap, step)).unwrap_or(usize::MAX);
    let whole = usize::try_from(settings.whole).unwrap_or(usize::MAX);
    let begin = beginning(recent, wish, whole);
    let fitting = |left: u32| {
        let mut taken = 0_u32;
        let kept = recent.iter().rev().take(recent.len() - begin);
        let kept = kept.take_while(|entry| {
            taken = taken.saturating_add(tokens(entry));
            taken <= left
        });
        next_question(recent, recent.len() - kept.count())
    };
    let beside = recap.and_then(|recap| left.checked_sub(recap.tokens));
    let first = fitting(beside.unwrap_or(left));
    let least = usize::try_from(settings.least()).unwrap_or(usize::MAX);
    let without = fitting(left);
    let is_pressed = recent.len() - first < least && without < first;
    let has_recap = beside.is_some() && !is_pressed;
    Ok(Window {
        first: if has_recap { first } else { without },
        has_recap,
    })
}

/// Where a window of about `wish` messages begins: with the turn of its first message, if that keeps it
/// within `whole`, else with the next turn.
fn beginning(recent: &[Entry], wish: usize, whole: usize) -> usize {
    let first = recent.len().saturating_sub(wish);
    let earliest = recent.len().saturating_sub(whole);
    let earlier = recent.get(earliest..=first).unwrap_or_default();
    match earlier.iter().rposition(is_question) {
        Some(found) => earliest + found,
        None => next_question(recent, first),
    }
}

fn next_question(recent: &[Entry], first: usize) -> usize {
    let rest = recent.get(first..).unwrap_or_default();
    rest.iter()
        .position(is_question)
        .map_or(recent.len(), |found| first + found)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "for iterators of references"
)]
fn is_question(entry: &Entry) -> bool {
    entry.kind == Kind::Question
}

#[cfg(test)]
mod tests;
