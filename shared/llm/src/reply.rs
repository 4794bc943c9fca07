//! What comes back: a stream of pieces with exactly one [`Piece::Finish`], which is the last.
//!
//! Hides which model answers, and fills the call's span.

use serde::{Deserialize, Serialize};
use tracing::{Instrument, Span};

use crate::error::LlmError;
use crate::prompt::ToolCall;
use crate::tokens::Counter;
use crate::{offline, openai};
use sparkle_core::unit::TokenUsage;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// More text, never empty.
    Text(String),
    /// A tool call, complete. All of an answer's calls come after its text.
    ToolCall(ToolCall),
    /// The end.
    Finish {
        /// Why here.
        reason: FinishReason,
        /// What it cost; `None` where the provider does not say.
        usage: Option<TokenUsage>,
        /// The provider's name of this answer.
        response_id: Option<String>,
    },
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It is complete.
    #[default]
    Stop,
    /// It reached [`answer_tokens_max`](crate::Prompt::answer_tokens_max) or the model's context.
    Length,
    /// The model waits for the results of its tool calls.
    ToolCalls,
    /// The provider's filter stopped it.
    ContentFilter,
    /// It is complete, and says that the model will not answer.
    Refused,
}

impl FinishReason {
    /// Its name at OpenAI, which is also its name in spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Refused => "refusal",
        }
    }
}

/// What a provider has sent of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Served {
    /// What it has reported of the cost: usually nothing before the end.
    pub reported: Option<TokenUsage>,
    /// Whether that report is the last, which is the bill.
    pub is_billed: bool,
    /// Bytes that the model has produced, its thoughts and calls of tools included.
    pub bytes: usize,
    /// Events in which they came; none has less than a token.
    pub events: u32,
}

/// A model may have written a text in more tokens than its tokenizer cuts it into: one more in so many, and so
/// many more.
const SLACK_SHARE: u32 = 16;
const SLACK_TOKENS: u32 = 16;

impl Served {
    /// The provider's own count, if it is known.
    pub fn bill(&self) -> Option<TokenUsage> {
        self.reported.filter(|_| self.is_billed)
    }

    /// What a call is said to have consumed where the provider has not sent its bill: no less than has come.
    /// `prompt_tokens` is a bound of ours, `text` the part of the answer that was taken.
    pub fn estimate(&self, prompt_tokens: u32, text: &str, counter: Counter) -> TokenUsage {
        let tokens = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let of_text = if counter.is_ready() {
            let counted = counter.text(text);
            let slack = (counted / SLACK_SHARE).saturating_add(SLACK_TOKENS);
            counted.saturating_add(slack).min(tokens(text.len()))
        } else {
            tokens(text.len())
        };
        let rest = tokens(self.bytes.saturating_sub(text.len()));
        let reported = self.reported.unwrap_or_default();
        let completion_tokens = of_text.saturating_add(rest).max(self.events);
        TokenUsage {
            prompt_tokens: prompt_tokens.max(reported.prompt_tokens),
            cached_tokens: 0,
            completion_tokens: completion_tokens.max(reported.completion_tokens),
        }
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.events = self.events.saturating_add(u32::from(bytes > 0));
    }
}

/// An answer on its way. Dropping it aborts the call: the connection is closed, or its HTTP/2
/// stream reset, so that the provider stops generating.
#[derive(Debug)]
pub struct Reply {
    source: Source,
    span: Span,
    is_over: bool,
}

#[derive(Debug)]
enum Source {
    OpenAi(Box<openai::Answer>),
    Offline(Box<offline::Answer>),
}

impl Reply {
    pub(crate) fn from_openai(answer: openai::Answer) -> Self {
        Self::from(Source::OpenAi(Box::new(answer)))
    }

    pub(crate) fn from_offline(answer: offline::Answer) -> Self {
        Self::from(Source::Offline(Box::new(answer)))
    }

    fn from(source: Source) -> Self {
        Self {
            source,
            span: Span::none(),
            is_over: false,
        }
    }

    pub(crate) fn traced_by(self, span: Span) -> Self {
        Self { span, ..self }
    }

    /// The next piece; `None` after [`Piece::Finish`] and after an error. A call that is dropped
    /// half-way, as in a `select!`, loses nothing and does not prolong a timeout.
    pub async fn next(&mut self) -> Option<Result<Piece, LlmError>> {
        if self.is_over {
            return None;
        }
        let span = self.span.clone();
        let piece = match &mut self.source {
            Source::OpenAi(answer) => answer.next().instrument(span).await,
            Source::Offline(answer) => answer.next().instrument(span).await,
        };
        self.is_over = matches!(piece, Err(_) | Ok(Piece::Finish { .. }));
        self.trace(&piece);
        Some(piece)
    }

    /// What has come so far: what is left to go by when an answer is cut off or aborted.
    pub fn served(&self) -> Served {
        match &self.source {
            Source::OpenAi(answer) => answer.served(),
            Source::Offline(answer) => answer.served(),
        }
    }

    fn trace(&self, piece: &Result<Piece, LlmError>) {
        match piece {
            Ok(Piece::Finish {
                reason,
                usage,
                response_id,
            }) => {
                self.span
                    .record("gen_ai.response.finish_reasons", reason.as_str());
                if let Some(id) = response_id {
                    self.span.record("gen_ai.response.id", id);
                }
                if let Some(usage) = usage {
                    self.span
                        .record("gen_ai.usage.input_tokens", usage.prompt_tokens);
                    self.span
                        .record("gen_ai.usage.output_tokens", usage.completion_tokens);
                    self.span
                        .record("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens);
                }
            }
            Ok(Piece::Text(_) | Piece::ToolCall(_)) => {}
            Err(error) => {
                self.span.record("error.type", error.kind());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Family;

    #[test]
    fn what_is_cut_is_never_said_to_cost_less_than_has_come() {
        let reported = TokenUsage {
            prompt_tokens: 9,
            completion_tokens: 4,
            cached_tokens: 2,
        };
        let served = |bytes, events| Served {
            reported: Some(reported),
            is_billed: false,
            bytes,
            events,
        };
        let estimate = |served: Served, counter| {
            let TokenUsage {
                prompt_tokens,
                completion_tokens,
                cached_tokens,
            } = served.estimate(7, "aaaa", counter);
            (prompt_tokens, completion_tokens, cached_tokens)
        };
        // By its bytes, with what was thought or not taken yet.
        assert_eq!(estimate(served(4, 1), Counter::Bytes), (9, 4, 0));
        assert_eq!(estimate(served(30, 1), Counter::Bytes), (9, 30, 0));
        // By its tokens, if the tokenizer is there; each event had one.
        Family::O200k.ids("");
        let exact = Counter::Exact(Family::O200k);
        assert_eq!(estimate(served(4, 1), exact), (9, 4, 0));
        assert_eq!(estimate(served(4, 40), exact), (9, 40, 0));
    }
}
