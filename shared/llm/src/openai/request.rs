//! A prompt as the body of `POST /chat/completions`.

use reqwest::Url;
use serde::Serialize;

use crate::prompt::{Message, Prompt, Role, Tool, ToolCall};

/// Under which name a server takes the upper bound of the answer.
///
/// OpenAI has replaced `max_tokens` by `max_completion_tokens`, and its reasoning models refuse the
/// old name (<https://platform.openai.com/docs/api-reference/chat/create>). Many compatible servers
/// know only the old one, and ignore the new one without a word: Ollama then generates until the
/// context is full (<https://github.com/ollama/ollama/issues/7125>). The bound is what was reserved
/// of the learner's quota, so it must not be ignored; and both at once are refused by OpenAI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerCap {
    MaxTokens,
    MaxCompletionTokens,
}

impl AnswerCap {
    pub(super) fn known_by(endpoint: &Url) -> Self {
        let host = endpoint.host_str().unwrap_or_default();
        if host == "api.openai.com" || host.ends_with(".openai.azure.com") {
            Self::MaxCompletionTokens
        } else {
            Self::MaxTokens
        }
    }
}

#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    messages: Vec<BodyMessage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<BodyTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    stream: bool,
    stream_options: StreamOptions,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct BodyMessage<'a> {
    role: Role,
    /// `null` where an assistant says nothing and only calls tools.
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<BodyToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
struct BodyToolCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: BodyFunctionCall<'a>,
}

#[derive(Serialize)]
struct BodyFunctionCall<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct BodyTool<'a> {
    r#type: &'static str,
    function: BodyFunction<'a>,
}

#[derive(Serialize)]
struct BodyFunction<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a serde_json::Value,
}

pub(super) fn body(prompt: &Prompt, answer_cap: AnswerCap) -> Body<'_> {
    let cap = |name| (answer_cap == name).then_some(prompt.answer_tokens_max);
    Body {
        model: &prompt.model,
        messages: prompt.messages.iter().map(message).collect(),
        tools: prompt.tools.iter().map(tool).collect(),
        max_tokens: cap(AnswerCap::MaxTokens),
        max_completion_tokens: cap(AnswerCap::MaxCompletionTokens),
        stream: true,
        stream_options: StreamOptions {
            include_usage: true,
        },
    }
}

fn message(message: &Message) -> BodyMessage<'_> {
    let is_silent = message.text.is_empty() && !message.tool_calls.is_empty();
    BodyMessage {
        role: message.role,
        content: (!is_silent).then_some(message.text.as_str()),
        tool_calls: message.tool_calls.iter().map(tool_call).collect(),
        tool_call_id: message.tool_call_id.as_deref(),
    }
}

fn tool_call(call: &ToolCall) -> BodyToolCall<'_> {
    BodyToolCall {
        id: &call.id,
        r#type: "function",
        function: BodyFunctionCall {
            name: &call.name,
            arguments: &call.arguments,
        },
    }
}

fn tool(tool: &Tool) -> BodyTool<'_> {
    BodyTool {
        r#type: "function",
        function: BodyFunction {
            name: &tool.name,
            description: &tool.description,
            parameters: &tool.parameters,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_whole_body() {
        let call = ToolCall {
            id: "c1".into(),
            name: "add".into(),
            arguments: "{\"a\":1}".into(),
        };
        let mut prompt = Prompt::new(
            "m",
            vec![
                Message::system("be kind"),
                Message::user("1+1?"),
                Message::tool_calls("", vec![call]),
                Message::tool_result("c1", "2"),
            ],
            100,
        );
        prompt.tools.push(Tool {
            name: "add".into(),
            description: "adds".into(),
            parameters: json!({"type": "object"}),
        });
        let written = serde_json::to_value(body(&prompt, AnswerCap::MaxTokens)).expect("JSON");
        assert_eq!(
            written,
            json!({
                "model": "m",
                "messages": [
                    {"role": "system", "content": "be kind"},
                    {"role": "user", "content": "1+1?"},
                    {"role": "assistant", "content": null, "tool_calls": [
                        {"id": "c1", "type": "function",
                         "function": {"name": "add", "arguments": "{\"a\":1}"}}]},
                    {"role": "tool", "content": "2", "tool_call_id": "c1"},
                ],
                "tools": [{"type": "function", "function":
                    {"name": "add", "description": "adds", "parameters": {"type": "object"}}}],
                "max_tokens": 100,
                "stream": true,
                "stream_options": {"include_usage": true},
            })
        );
    }

    #[test]
    fn the_bound_of_the_answer_has_the_name_that_the_server_knows() {
        let name = |base: &str| AnswerCap::known_by(&Url::parse(base).expect("a URL"));
        assert_eq!(
            name("https://api.openai.com/v1"),
            AnswerCap::MaxCompletionTokens
        );
        assert_eq!(
            name("https://x.openai.azure.com/openai"),
            AnswerCap::MaxCompletionTokens
        );
        assert_eq!(name("https://api.deepseek.com"), AnswerCap::MaxTokens);
        assert_eq!(name("http://127.0.0.1:11434/v1"), AnswerCap::MaxTokens);
        assert_eq!(
            name("https://api.openai.com.evil.example/v1"),
            AnswerCap::MaxTokens
        );
    }
}
