//! What a test tells the offline model, or the scripted provider, to do: a user message that is
//! [`SCRIPT_MARK`] and a JSON object, such as
//! `#script {"pieces":["导","数"],"pause_ms":20,"fail_after":1,"fail":"cut"}`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{LlmError, Phase, ProviderText};
use crate::prompt::{Prompt, Role, ToolCall};
use crate::reply::FinishReason;
use sparkle_core::unit::TokenUsage;

/// What a scripted message begins with. Text after the JSON object is ignored.
pub use sparkle_core::chat::SCRIPT_MARK;

/// One answer, or the failure of one. Every field may be left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Its text, piece by piece; the bound of the prompt does not cut it.
    pub pieces: Vec<String>,
    /// From this piece on the answer is another in each call, as a real model's is: a number drawn for
    /// the call, such as `~81~`, follows each piece.
    pub drifts_from: Option<usize>,
    /// Wait in ms before each piece, tool call and end.
    pub pause_ms: u64,
    /// Wait in ms before the answer begins.
    pub open_pause_ms: u64,
    /// Its cost; by default the offline model's own count.
    pub usage: Option<TokenUsage>,
    /// Its end; by default `tool_calls` if there are any, else `stop`.
    pub finish: Option<FinishReason>,
    /// What it calls.
    pub tool_calls: Vec<ScriptedCall>,
    /// It fails after this many pieces, with `fail`; 0: instead of an answer.
    pub fail_after: usize,
    /// How it fails.
    pub fail: Option<Failure>,
    /// With `rate_limited`: the pause that is asked for.
    pub retry_after_s: Option<u64>,
    /// The answer to the results of the tool calls; by default the text `ok`.
    pub then: Option<Box<Script>>,
}

/// How a scripted answer fails. Each but `Hang` is the [`LlmError`] of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The connection breaks.
    Cut,
    /// Something comes that is not an answer.
    Garbage,
    /// Too many calls.
    RateLimited,
    /// The provider fails.
    Unavailable,
    /// Wrong key.
    Refused,
    /// Bad request.
    Invalid,
    /// Prompt too long.
    TooLong,
    /// The provider's filter.
    Blocked,
    /// Silence until the caller's patience ends. The offline model, to which no timeout applies,
    /// reports it at once.
    Timeout,
    /// Silence until the caller goes away, also from the offline model.
    Hang,
}

/// A tool call of a script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedCall {
    /// By default `call_0`, `call_1` and so on.
    #[serde(default)]
    pub id: Option<String>,
    /// The function.
    pub name: String,
    /// An object, or text that need not be JSON.
    #[serde(default)]
    pub arguments: Value,
}

impl Script {
    /// The message that makes the model obey.
    pub fn message(&self) -> String {
        // No field of a script can fail to be written: its keys are text and it has no maps.
        format!(
            "{SCRIPT_MARK}{}",
            serde_json::to_string(self).unwrap_or_default()
        )
    }

    /// The script in the newest user message, advanced by the rounds of tool calls since then;
    /// `None` where there is none.
    ///
    /// # Errors
    /// The message begins like a script and is none.
    pub fn of(prompt: &Prompt) -> Option<Result<Self, serde_json::Error>> {
        let json = prompt
            .newest_user_text()
            .trim_start()
            .strip_prefix(SCRIPT_MARK)?;
        let script = serde_json::Deserializer::from_str(json)
            .into_iter::<Self>()
            .next()?;
        let since_user = prompt
            .messages
            .iter()
            .rev()
            .take_while(|one| one.role != Role::User);
        let rounds = since_user
            .filter(|message| !message.tool_calls.is_empty())
            .count();
        Some(script.map(|script| script.after(rounds)))
    }

    fn after(mut self, rounds: usize) -> Self {
        for _ in 0..rounds {
            self = match self.then {
                Some(next) => *next,
                None => Self {
                    pieces: vec!["ok".to_owned()],
                    ..Self::default()
                },
            };
        }
        self
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = ToolCall> {
        self.tool_calls
            .iter()
            .enumerate()
            .map(|(position, call)| ToolCall {
                id: call
                    .id
                    .clone()
                    .unwrap_or_else(|| format!("call_{position}")),
                name: call.name.clone(),
                arguments: match &call.arguments {
                    Value::String(text) => text.clone(),
                    Value::Null => "{}".to_owned(),
                    json => json.to_string(),
                },
            })
    }

    pub(super) fn finish_reason(&self) -> FinishReason {
        self.finish.unwrap_or(if self.tool_calls.is_empty() {
            FinishReason::Stop
        } else {
            FinishReason::ToolCalls
        })
    }

    pub(super) fn error(&self) -> LlmError {
        let said = ProviderText::new("as scripted");
        match self.fail {
            None | Some(Failure::Cut) => LlmError::Cut { source: None },
            Some(Failure::Garbage) => LlmError::Garbage {
                what: "as scripted",
            },
            Some(Failure::RateLimited) => LlmError::RateLimited {
                retry_after: self.retry_after_s.map(Duration::from_secs),
                said,
            },
            Some(Failure::Unavailable) => LlmError::Unavailable { said, source: None },
            Some(Failure::Refused) => LlmError::Refused { status: 401, said },
            Some(Failure::Invalid) => LlmError::Invalid { said },
            Some(Failure::TooLong) => LlmError::TooLong { said },
            Some(Failure::Blocked) => LlmError::Blocked { said },
            Some(Failure::Timeout | Failure::Hang) => LlmError::Timeout {
                phase: if self.fail_after == 0 {
                    Phase::FirstByte
                } else {
                    Phase::Idle
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Message;

    #[test]
    fn a_script_survives_its_message() {
        let script = Script {
            pieces: vec!["导".into()],
            fail: Some(Failure::RateLimited),
            usage: Some(TokenUsage {
                prompt_tokens: 1,
                ..TokenUsage::default()
            }),
            ..Script::default()
        };
        let mut prompt = Prompt::new("m", vec![Message::user(script.message())], 1);
        assert_eq!(Script::of(&prompt).and_then(Result::ok), Some(script));

        prompt.messages = vec![Message::user("#script {\"pause_ms\":1} and more")];
        assert_eq!(
            Script::of(&prompt)
                .and_then(Result::ok)
                .map(|script| script.pause_ms),
            Some(1)
        );
        prompt.messages = vec![Message::user("#script {\"piece\":1}")];
        assert!(Script::of(&prompt).is_some_and(|script| script.is_err()));
        prompt.messages = vec![Message::user("see #script {}")];
        assert!(Script::of(&prompt).is_none());
    }
}
