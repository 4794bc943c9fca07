//! What is asked of a model: pure data, the same for every provider.
//!
//! `Debug` of a message shows its size and not its text, so that a prompt in a log line gives
//! nothing away.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One call of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// The provider's name of the model.
    pub model: String,
    /// The conversation, oldest first, system text in front.
    pub messages: Vec<Message>,
    /// What the model may call; empty: nothing.
    pub tools: Vec<Tool>,
    /// Upper bound of the answer, in the provider's tokens, reasoning included.
    pub answer_tokens_max: u32,
    /// Sent as the W3C `traceparent` header.
    pub trace_parent: Option<TraceParent>,
}

impl Prompt {
    /// A prompt without tools and trace.
    pub fn new(model: impl Into<String>, messages: Vec<Message>, answer_tokens_max: u32) -> Self {
        Self {
            model: model.into(),
            messages,
            tools: Vec::new(),
            answer_tokens_max,
            trace_parent: None,
        }
    }

    /// The text of the newest user message, or `""`.
    pub(crate) fn newest_user_text(&self) -> &str {
        self.messages
            .iter()
            .rev()
            .find(|message| message.role == Role::User)
            .map_or("", |message| message.text.as_str())
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The product.
    System,
    /// The learner.
    User,
    /// The model.
    Assistant,
    /// A tool, answering a call of the model.
    Tool,
}

/// One message of a conversation.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; may be empty where an assistant only calls tools.
    pub text: String,
    /// What an assistant calls.
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool answers.
    pub tool_call_id: Option<String>,
}

impl Message {
    /// Text of the product.
    pub fn system(text: impl Into<String>) -> Self {
        Self::said_by(Role::System, text)
    }

    /// Text of the learner.
    pub fn user(text: impl Into<String>) -> Self {
        Self::said_by(Role::User, text)
    }

    /// Text of the model.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::said_by(Role::Assistant, text)
    }

    /// Tool calls of the model, with whatever it said before them.
    pub fn tool_calls(text: impl Into<String>, tool_calls: Vec<ToolCall>) -> Self {
        Self {
            tool_calls,
            ..Self::said_by(Role::Assistant, text)
        }
    }

    /// The result of the tool call `id`.
    pub fn tool_result(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            tool_call_id: Some(id.into()),
            ..Self::said_by(Role::Tool, text)
        }
    }

    fn said_by(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            text: text.into(),
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("role", &self.role)
            .field("text_bytes", &self.text.len())
            .field("tool_calls", &self.tool_calls.len())
            .field("tool_call_id", &self.tool_call_id)
            .finish()
    }
}

/// A function that a model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name, `A-Za-z0-9_-`, at most 64 bytes.
    pub name: String,
    /// What it does, for the model to read.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: serde_json::Value,
}

/// A model's wish to call a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Names this call within the conversation.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments as JSON text, as the model wrote them: not validated.
    pub arguments: String,
}

/// The place of a call in a trace (<https://www.w3.org/TR/trace-context/>), always sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: String,
    span_id: u64,
}

impl TraceParent {
    /// `trace_id` is 32 hexadecimal digits, not all zero; `span_id` is not zero. Otherwise `None`:
    /// a trace that is not one is left out rather than refused.
    pub fn new(trace_id: &str, span_id: u64) -> Option<Self> {
        let is_id = trace_id.len() == 32
            && trace_id.bytes().all(|byte| byte.is_ascii_hexdigit())
            && trace_id.bytes().any(|byte| byte != b'0');
        (is_id && span_id != 0).then(|| Self {
            trace_id: trace_id.to_ascii_lowercase(),
            span_id,
        })
    }
}

/// The value of the `traceparent` header.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{:016x}-01", self.trace_id, self.span_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_parent_is_written_as_w3c_says() {
        let trace = TraceParent::new("4BF92F3577B34DA6A3CE929D0E0E4736", 0x00f0_67aa_0ba9_02b7);
        assert_eq!(
            trace.map(|trace| trace.to_string()).as_deref(),
            Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        );
        assert_eq!(TraceParent::new("4bf92f", 1), None);
        assert_eq!(TraceParent::new(&"0".repeat(32), 1), None);
        assert_eq!(TraceParent::new(&"é".repeat(16), 1), None);
        assert_eq!(TraceParent::new(&"a".repeat(32), 0), None);
    }

    #[test]
    fn debug_shows_no_text() {
        let prompt = Prompt::new("m", vec![Message::user("my secret")], 10);
        assert!(!format!("{prompt:?}").contains("secret"));
    }
}
