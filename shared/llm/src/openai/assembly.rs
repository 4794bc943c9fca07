//! Events of `/chat/completions` into pieces.
//!
//! Hides the dialects: what servers leave out, send as `null`, send twice or in another order. Only
//! the first choice counts, since only one is asked for.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::Value;

use super::refusal;
use crate::error::LlmError;
use crate::prompt::ToolCall;
use crate::reply::{FinishReason, Piece, Served};
use sparkle_core::unit::TokenUsage;

/// What one answer may call at most.
const TOOL_CALLS_MAX: usize = 128;

/// The state of one answer.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// Pieces nobody has taken yet.
    pub(super) ready: VecDeque<Piece>,
    calls: Vec<PartialCall>,
    finish: Option<FinishReason>,
    is_refused: bool,
    served: Served,
    response_id: Option<String>,
    is_over: bool,
}

#[derive(Debug)]
struct PartialCall {
    index: Option<u32>,
    call: ToolCall,
}

impl Assembly {
    /// Takes the data of one event.
    pub(super) fn take(&mut self, data: &str) -> Result<(), LlmError> {
        let data = data.trim();
        if self.is_over || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            return self.end();
        }
        let not_json = |_: serde_json::Error| LlmError::Garbage {
            what: "an event that is not a chunk",
        };
        let chunk: Chunk = serde_json::from_str(data).map_err(not_json)?;
        if chunk.error.is_some() || chunk.object.as_deref() == Some("error") {
            let event = serde_json::from_str(data).map_err(not_json)?;
            if let Some(error) = refusal::in_event(&event) {
                return Err(error);
            }
        }
        if self.response_id.is_none() {
            self.response_id = chunk.id.filter(|id| !id.is_empty());
        }
        let choice = chunk
            .choices
            .into_iter()
            .flatten()
            .find(|choice| choice.index == 0);
        let choice_usage = choice.as_ref().and_then(|choice| choice.usage.clone());
        if let Some(choice) = choice {
            self.take_choice(choice)?;
        }
        // Where a server reports along the way, each report is the sum until then; only after the last word
        // it is the bill.
        if let Some(usage) = chunk.usage.or(choice_usage).as_ref().and_then(token_usage) {
            self.served.reported = Some(usage);
            self.served.is_billed = self.finish.is_some();
        }
        Ok(())
    }

    /// Whether the answer's last word was said, the report of its cost perhaps not yet.
    pub(super) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// The stream is over, or nothing more is expected of it: the tool calls and the end become
    /// ready.
    pub(super) fn end(&mut self) -> Result<(), LlmError> {
        if self.is_over {
            return Ok(());
        }
        self.is_over = true;
        let Some(mut reason) = self.finish else {
            return Err(LlmError::Cut { source: None });
        };
        let calls = std::mem::take(&mut self.calls);
        if matches!(reason, FinishReason::Stop | FinishReason::ToolCalls) {
            // Several servers say `stop` after tool calls. An answer that ran into its limit may
            // have ended within a call, so its calls are dropped.
            reason = match (calls.is_empty(), self.is_refused) {
                (false, _) => FinishReason::ToolCalls,
                (true, true) => FinishReason::Refused,
                (true, false) => FinishReason::Stop,
            };
            for (position, partial) in calls.into_iter().enumerate() {
                self.ready
                    .push_back(Piece::ToolCall(complete(position, partial.call)?));
            }
        }
        self.ready.push_back(Piece::Finish {
            reason,
            usage: self.served.bill(),
            response_id: self.response_id.clone(),
        });
        Ok(())
    }

    /// Whether nothing more is to be taken.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn served(&self) -> Served {
        self.served
    }

    fn take_choice(&mut self, choice: Choice) -> Result<(), LlmError> {
        let Some(delta) = choice.delta.or(choice.message) else {
            return self.take_finish(choice.finish_reason.as_deref());
        };
        self.served.take(delta.bytes());
        self.is_refused |= delta.refusal.as_ref().is_some_and(|text| !text.is_empty());
        for text in [delta.content, delta.refusal].into_iter().flatten() {
            if !text.is_empty() {
                self.ready.push_back(Piece::Text(text));
            }
        }
        for call in delta.tool_calls.into_iter().flatten() {
            self.take_call(call)?;
        }
        self.take_finish(choice.finish_reason.as_deref())
    }

    fn take_finish(&mut self, reason: Option<&str>) -> Result<(), LlmError> {
        let finish = match reason {
            None | Some("") => return Ok(()),
            Some("length" | "max_tokens") => FinishReason::Length,
            Some("tool_calls" | "function_call") => FinishReason::ToolCalls,
            // Also as Gemini's own words.
            Some("content_filter" | "SAFETY" | "RECITATION" | "PROHIBITED_CONTENT") => {
                FinishReason::ContentFilter
            }
            // OpenRouter and DeepSeek: the provider gave up on this answer.
            Some("error" | "insufficient_system_resource" | "abort") => {
                return Err(LlmError::Cut { source: None });
            }
            Some(_) => FinishReason::Stop,
        };
        self.finish = Some(finish);
        Ok(())
    }

    /// A call comes in fragments with the same index: the first has id and name, all have a part of
    /// the arguments. A server without indexes begins a new call with a new id.
    fn take_call(&mut self, delta: CallDelta) -> Result<(), LlmError> {
        let id = delta.id.filter(|id| !id.is_empty());
        let known = match delta.index {
            Some(index) => self
                .calls
                .iter()
                .position(|known| known.index == Some(index)),
            None => match &id {
                Some(id) => self.calls.iter().position(|known| known.call.id == *id),
                None => self.calls.len().checked_sub(1),
            },
        };
        let position = match known {
            Some(position) => position,
            None if self.calls.len() == TOOL_CALLS_MAX => {
                return Err(LlmError::Garbage {
                    what: "too many tool calls",
                });
            }
            None => {
                let call = ToolCall {
                    id: String::new(),
                    name: String::new(),
                    arguments: String::new(),
                };
                self.calls.push(PartialCall {
                    index: delta.index,
                    call,
                });
                self.calls.len() - 1
            }
        };
        let Some(PartialCall { call, .. }) = self.calls.get_mut(position) else {
            return Ok(());
        };
        if let (true, Some(id)) = (call.id.is_empty(), id) {
            call.id = id;
        }
        let function = delta.function.unwrap_or_default();
        if let (true, Some(name)) = (call.name.is_empty(), function.name) {
            call.name = name;
        }
        match function.arguments {
            None | Some(Value::Null) => {}
            Some(Value::String(part)) => call.arguments.push_str(&part),
            // Some servers forget that arguments are text.
            Some(whole) => call.arguments = whole.to_string(),
        }
        Ok(())
    }
}

/// Fills in what some servers leave out; a call of nothing is not a call.
fn complete(position: usize, mut call: ToolCall) -> Result<ToolCall, LlmError> {
    if call.name.is_empty() {
        return Err(LlmError::Garbage {
            what: "a tool call without a name",
        });
    }
    if call.id.is_empty() {
        call.id = format!("call_{position}");
    }
    if call.arguments.trim().is_empty() {
        "{}".clone_into(&mut call.arguments);
    }
    Ok(call)
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    object: Option<String>,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Option<Delta>,
    /// In the place of `delta` where a server does not stream after all.
    #[serde(default)]
    message: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
    /// Moonshot reports the cost here.
    #[serde(default)]
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    /// What OpenAI's models say instead of content when they decline.
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<CallDelta>>,
    /// What a model thinks before it speaks: not shown, but paid for. The first name is `DeepSeek`'s and
    /// vLLM's, the other `OpenRouter`'s.
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Option<String>,
}

impl Delta {
    /// Of all that the model has made of tokens.
    fn bytes(&self) -> usize {
        let said = [&self.content, &self.refusal].into_iter().flatten();
        let thoughts = self.reasoning_content.as_ref().or(self.reasoning.as_ref());
        let calls = self.tool_calls.iter().flatten();
        let called = calls.filter_map(|call| call.function.as_ref()).map(|call| {
            let arguments = match &call.arguments {
                None | Some(Value::Null) => 0,
                Some(Value::String(part)) => part.len(),
                Some(whole) => whole.to_string().len(),
            };
            call.name.as_ref().map_or(0, String::len) + arguments
        });
        said.chain(thoughts).map(String::len).sum::<usize>() + called.sum::<usize>()
    }
}

#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<FunctionDelta>,
}

#[derive(Deserialize, Default)]
struct FunctionDelta {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<Value>,
}

/// A report of the cost; one that is not understood is as good as none.
fn token_usage(usage: &Value) -> Option<TokenUsage> {
    let count = |pointer: &str| {
        let count = usage.pointer(pointer)?.as_u64()?;
        Some(u32::try_from(count).unwrap_or(u32::MAX))
    };
    Some(TokenUsage {
        prompt_tokens: count("/prompt_tokens")?,
        completion_tokens: count("/completion_tokens").unwrap_or_default(),
        cached_tokens: count("/prompt_tokens_details/cached_tokens")
            // DeepSeek's and Moonshot's own names.
            .or_else(|| count("/prompt_cache_hit_tokens"))
            .or_else(|| count("/cached_tokens"))
            .unwrap_or_default(),
    })
}
