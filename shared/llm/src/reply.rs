//! What comes back: a stream of pieces with exactly one [`Piece::Finish`], which is the last.
//!
//! Hides which model answers, and fills the call's span.

use serde::{Deserialize, Serialize};
use tracing::{Instrument, Span};

use crate::error::LlmError;
use crate::prompt::ToolCall;
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
}

impl FinishReason {
    /// Its name at OpenAI, which is also its name in spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
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

    /// What the provider has reported of the cost so far: usually nothing before the end. What is
    /// left to go by when an answer is cut off or aborted.
    pub fn usage_so_far(&self) -> Option<TokenUsage> {
        match &self.source {
            Source::OpenAi(answer) => answer.usage_so_far(),
            Source::Offline(answer) => Some(answer.usage_so_far()),
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
