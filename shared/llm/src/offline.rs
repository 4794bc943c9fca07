//! The offline model: a plain tutor who knows a handful of school notes, for development and tests.
//!
//! Hides the notes, how they are found, and the pace of a model. It needs no network and no key,
//! gives the same answer to the same prompt every time, and says in its first words that it is
//! offline. Made with [`Tutor::scripted`], it also does what a [`Script`] in the newest user
//! message tells it to, which is how tests get answers, costs and failures of their choice.

mod formula;
mod lesson;
mod notes;
mod script;

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::Scripting;
use crate::error::{LlmError, ProviderText};
use crate::prompt::{Message, Prompt};
use crate::reply::{FinishReason, Piece, Reply, Served};
use sparkle_core::unit::TokenUsage;

use notes::Notes;
pub use script::{Failure, SCRIPT_MARK, Script, ScriptedCall};

/// Between two pieces, unless [`Tutor::paced`] says otherwise: about 60 pieces a second.
const PIECE_PAUSE: Duration = Duration::from_millis(15);

/// The offline model.
pub struct Tutor {
    scripting: Scripting,
    piece_pause: Duration,
}

impl fmt::Debug for Tutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tutor")
            .field("scripting", &self.scripting)
            .finish_non_exhaustive()
    }
}

impl Default for Tutor {
    fn default() -> Self {
        Self::new()
    }
}

impl Tutor {
    /// A tutor to whom a script is a message like any other.
    pub fn new() -> Self {
        Self {
            scripting: Scripting::Ignored,
            piece_pause: PIECE_PAUSE,
        }
    }

    /// A tutor who obeys scripts. For tests only: whoever writes the message decides what it costs.
    pub fn scripted() -> Self {
        Self {
            scripting: Scripting::Obeyed,
            ..Self::new()
        }
    }

    /// Another pause between two pieces of its own answers; a script has its own.
    pub fn paced(self, piece_pause: Duration) -> Self {
        Self {
            piece_pause,
            ..self
        }
    }

    /// Carries out a script that did not come in a message: what a scripted provider does.
    ///
    /// # Errors
    /// The failure that the script asks for, if it asks for one before the first piece.
    pub async fn perform(&self, script: Script, prompt: &Prompt) -> Result<Reply, LlmError> {
        scripted(script, prompt_tokens(prompt))
            .await
            .map(Reply::from_offline)
    }

    pub(crate) async fn stream(&self, prompt: &Prompt) -> Result<Answer, LlmError> {
        let prompt_tokens = prompt_tokens(prompt);
        if self.scripting == Scripting::Obeyed
            && let Some(script) = Script::of(prompt)
        {
            let script = script.map_err(|error| LlmError::Invalid {
                said: ProviderText::new(&error.to_string()),
            })?;
            return scripted(script, prompt_tokens).await;
        }
        let text = lesson::answer(Notes::bundled(), prompt);
        let (text, reason) = capped(&text, prompt.answer_tokens_max);
        let usage = TokenUsage {
            prompt_tokens,
            completion_tokens: tokens(text.len()),
            cached_tokens: 0,
        };
        let mut pieces: VecDeque<Piece> = cut(text).into_iter().map(Piece::Text).collect();
        pieces.push_back(finish(reason, usage));
        Ok(Answer {
            pieces,
            failure: None,
            pause: self.piece_pause,
            due: None,
            prompt_tokens,
            served_bytes: 0,
        })
    }
}

/// An answer of the offline model.
#[derive(Debug)]
pub struct Answer {
    pieces: VecDeque<Piece>,
    /// What happens when the pieces run out without a finish.
    failure: Option<Script>,
    pause: Duration,
    /// When the next piece is due; kept, so that asking in short turns does not put it off.
    due: Option<Instant>,
    prompt_tokens: u32,
    served_bytes: usize,
}

impl Answer {
    /// The next piece. Not to be called again after an error or [`Piece::Finish`].
    pub(crate) async fn next(&mut self) -> Result<Piece, LlmError> {
        if !self.pause.is_zero() {
            let due = *self.due.get_or_insert_with(|| Instant::now() + self.pause);
            sleep_until(due).await;
        }
        self.due = None;
        match self.pieces.pop_front() {
            Some(piece) => {
                if let Piece::Text(text) = &piece {
                    self.served_bytes += text.len();
                }
                Ok(piece)
            }
            None => Err(fail(self.failure.as_ref()).await),
        }
    }

    /// Its own count is the bill, wherever it is cut.
    pub(crate) fn served(&self) -> Served {
        let reported = TokenUsage {
            prompt_tokens: self.prompt_tokens,
            completion_tokens: tokens(self.served_bytes),
            cached_tokens: 0,
        };
        Served {
            reported: Some(reported),
            is_billed: true,
            ..Served::default()
        }
    }
}

/// The offline model's own count of tokens: UTF-8 bytes divided by four, rounded up. No tokenizer
/// counts like this, and none has to: this is the model whose bill it is.
pub fn tokens(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(4)).unwrap_or(u32::MAX)
}

/// The count over the texts of all messages and the names and arguments of their tool calls.
fn prompt_tokens(prompt: &Prompt) -> u32 {
    let bytes = |message: &Message| {
        let calls = message
            .tool_calls
            .iter()
            .map(|call| call.name.len() + call.arguments.len());
        message.text.len() + calls.sum::<usize>()
    };
    tokens(prompt.messages.iter().map(bytes).sum())
}

async fn scripted(mut script: Script, prompt_tokens: u32) -> Result<Answer, LlmError> {
    if let Some(from) = script.drifts_from {
        let drawn = format!("~{}~", fastrand::u16(..));
        for piece in script.pieces.iter_mut().skip(from) {
            piece.push_str(&drawn);
        }
    }
    sleep(Duration::from_millis(script.open_pause_ms)).await;
    let served = if script.fail.is_some() {
        script.fail_after
    } else {
        script.pieces.len()
    };
    if served == 0 && script.fail.is_some() {
        return Err(fail(Some(&script)).await);
    }
    let texts = script
        .pieces
        .iter()
        .filter(|text| !text.is_empty())
        .take(served);
    let mut pieces: VecDeque<Piece> = texts.cloned().map(Piece::Text).collect();
    if script.fail.is_none() {
        let bytes: usize = script.pieces.iter().map(String::len).sum();
        let usage = script.usage.unwrap_or_else(|| TokenUsage {
            prompt_tokens,
            completion_tokens: tokens(bytes),
            cached_tokens: 0,
        });
        pieces.extend(script.calls().map(Piece::ToolCall));
        pieces.push_back(finish(script.finish_reason(), usage));
    }
    Ok(Answer {
        pieces,
        pause: Duration::from_millis(script.pause_ms),
        due: None,
        prompt_tokens,
        served_bytes: 0,
        failure: Some(script),
    })
}

/// The failure that the script asks for. A provider that hangs never returns from here.
async fn fail(script: Option<&Script>) -> LlmError {
    let Some(script) = script else {
        return LlmError::Cut { source: None };
    };
    match script.fail {
        Some(Failure::Hang) => pending().await,
        _ => script.error(),
    }
}

fn finish(reason: FinishReason, usage: TokenUsage) -> Piece {
    Piece::Finish {
        reason,
        usage: Some(usage),
        response_id: Some("offline".to_owned()),
    }
}

/// As much of the text as the bound allows, cut between two characters.
fn capped(text: &str, answer_tokens_max: u32) -> (&str, FinishReason) {
    let bytes_max = usize::try_from(answer_tokens_max)
        .unwrap_or(usize::MAX)
        .saturating_mul(4);
    let end = text.floor_char_boundary(bytes_max);
    match text.get(..end) {
        Some(head) if head.len() < text.len() => (head, FinishReason::Length),
        _ => (text, FinishReason::Stop),
    }
}

/// Three characters of Chinese or a word of anything else are a piece, as with a real model.
fn cut(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut width = 0;
    for c in text.chars() {
        piece.push(c);
        width += c.len_utf8();
        if width >= 9 || c.is_whitespace() {
            pieces.push(std::mem::take(&mut piece));
            width = 0;
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bound_cuts_between_characters() {
        assert_eq!(capped("abcd", 1), ("abcd", FinishReason::Stop));
        assert_eq!(capped("abcde", 1), ("abcd", FinishReason::Length));
        assert_eq!(capped("a导数", 1), ("a导", FinishReason::Length));
        assert_eq!(capped("导数", 0), ("", FinishReason::Length));
    }

    proptest! {
        #[test]
        fn pieces_are_small_and_make_the_text(text in "\\PC{0,80}") {
            let pieces = cut(&text);
            prop_assert_eq!(pieces.concat(), text);
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= 12));
        }
    }
}
