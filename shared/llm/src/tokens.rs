//! How many tokens a prompt has: a bound that costs nothing, and a count that is exact where the model's
//! tokenizer is known.
//!
//! Hides the vocabularies. One takes a tenth of a second and 25 to 45 MB to load, so it is loaded when the
//! first count needs it and not before (docs/adr/0009); who fits by [`Counter::bound`] never does. What is
//! counted is never less than what the provider bills: text with the model's own tokenizer, the marks around
//! messages as OpenAI documents them, and what it does not document, such as tools, by its bytes.

mod correction;

use std::{collections::HashSet, fmt, str::FromStr, sync::OnceLock};

use icu_normalizer::ComposingNormalizerBorrowed;
use sparkle_core::unit::TokenUsage;
use tiktoken_rs::CoreBPE;

pub use correction::Correction;

use crate::error::SettingsError;
use crate::prompt::{Message, Prompt, Tool};

/// Around a message: `<|im_start|>`, the break after the role, `<|im_end|>` (OpenAI's cookbook, "How to
/// count tokens with tiktoken", `tokens_per_message`, read 2026-11).
const AROUND_MESSAGE: u32 = 3;
/// Each role is one token of every family.
const ROLE: u32 = 1;
/// Every answer is primed with `<|im_start|>assistant<|im_sep|>` (the same page).
const PRIMING: u32 = 3;
/// What a call of a tool or a tool takes beside its text. Not documented; a bound.
const AROUND_TOOL: usize = 16;
/// A longer text is counted by its bytes. Its time is then bounded: a tokenizer takes some quarter of a
/// microsecond a byte of the worst text, however long it is (`cargo bench -p sparkle-tests --bench tokenizer`).
const EXACT_BYTES_MAX: usize = 128 * 1024;

/// Models that share a tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// GPT-4o, GPT-4.1.
    O200k,
    /// GPT-4, GPT-3.5.
    Cl100k,
}

const KNOWN: [(&str, Family); 8] = [
    ("gpt-4o", Family::O200k),
    ("gpt-4o-mini", Family::O200k),
    ("gpt-4.1", Family::O200k),
    ("gpt-4.1-mini", Family::O200k),
    ("gpt-4.1-nano", Family::O200k),
    ("gpt-4", Family::Cl100k),
    ("gpt-4-turbo", Family::Cl100k),
    ("gpt-3.5-turbo", Family::Cl100k),
];

/// A vocabulary in memory; none if the one that is compiled in is damaged.
struct Vocabulary(OnceLock<Option<CoreBPE>>);

static O200K: Vocabulary = Vocabulary(OnceLock::new());
static CL100K: Vocabulary = Vocabulary(OnceLock::new());

impl Family {
    /// Of a model of OpenAI's, also by the name of a dated release. None of the models that think before
    /// they answer: nobody documents what goes around their messages.
    pub fn of_model(model: &str) -> Option<Self> {
        let known = KNOWN.iter().find(|(name, _)| {
            let release = model.strip_prefix(name);
            release.is_some_and(is_release)
        });
        known.map(|(_, family)| *family)
    }

    /// The ids that a text is cut into; text that looks like a special token is text. None of a text that
    /// cannot be cut within bounds: over 128 KiB, or against the pattern that cuts words.
    ///
    /// Cost: on first use a tenth of a second and 25 to 45 MB, then 20 MB a second of prose, 4 of the worst
    /// (`cargo bench -p sparkle-tests --bench tokenizer`).
    pub fn ids(self, text: &str) -> Option<Vec<u32>> {
        if text.len() > EXACT_BYTES_MAX {
            return None;
        }
        let (ids, _) = self.vocabulary()?.encode(text, &HashSet::new()).ok()?;
        Some(ids)
    }

    /// Whether its vocabulary is in memory.
    pub fn is_loaded(self) -> bool {
        self.place().0.get().is_some()
    }

    fn vocabulary(self) -> Option<&'static CoreBPE> {
        let load = match self {
            Self::O200k => tiktoken_rs::o200k_base,
            Self::Cl100k => tiktoken_rs::cl100k_base,
        };
        self.place().0.get_or_init(|| load().ok()).as_ref()
    }

    fn place(self) -> &'static Vocabulary {
        match self {
            Self::O200k => &O200K,
            Self::Cl100k => &CL100K,
        }
    }
}

/// The word in settings: `o200k` or `cl100k`.
impl FromStr for Family {
    type Err = SettingsError;

    fn from_str(word: &str) -> Result<Self, SettingsError> {
        match word {
            "o200k" => Ok(Self::O200k),
            "cl100k" => Ok(Self::Cl100k),
            _ => Err(SettingsError::Tokenizer),
        }
    }
}

/// Nothing, `-0613`, or `-2024-08-06`.
fn is_release(rest: &str) -> bool {
    let shape: String = rest
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    matches!(shape.as_str(), "" | "-0000" | "-0000-00-00")
}

/// How the tokens of a model's prompts are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// As the provider does: model and endpoint are known.
    Exact(Family),
    /// Never less than the provider does: no tokenizer in use makes more tokens of a text than it has bytes.
    Bytes,
}

impl Counter {
    /// What a prompt cannot have more tokens than. Costs nothing.
    pub fn bound(prompt: &Prompt) -> u32 {
        let bytes: usize = prompt.messages.iter().map(bytes_of).sum();
        let tools = tools_bytes(&prompt.tools);
        TokenUsage::bound(bytes.saturating_add(tools), prompt.messages.len(), 0).prompt_tokens
    }

    /// What the provider bills for a prompt; [`Self::bound`] where its tokenizer is not known.
    ///
    /// Cost: see [`Family::ids`]; not for a thread that has to answer others.
    pub fn count(self, prompt: &Prompt) -> u32 {
        let Self::Exact(_) = self else {
            return Self::bound(prompt);
        };
        let messages = prompt.messages.iter().map(|message| {
            let beside_text = bytes_of(message) - message.text.len();
            self.message(self.text(&message.text))
                .saturating_add(whole(beside_text))
        });
        messages
            .fold(PRIMING, u32::saturating_add)
            .saturating_add(whole(tools_bytes(&prompt.tools)))
    }

    /// What a text without anything around it has; its bytes where that is not known. Cost: see
    /// [`Self::count`].
    pub fn text(self, text: &str) -> u32 {
        let ids = match self {
            Self::Exact(family) => family.ids(text),
            Self::Bytes => None,
        };
        ids.map_or_else(|| whole(text.len()), |ids| whole(ids.len()))
    }

    /// What a message takes of a prompt whose text has so many tokens.
    pub fn message(self, text_tokens: u32) -> u32 {
        let around = match self {
            Self::Exact(_) => AROUND_MESSAGE + ROLE,
            Self::Bytes => TokenUsage::bound(0, 1, 0).prompt_tokens,
        };
        text_tokens.saturating_add(around)
    }

    /// Whether it counts exactly, and at once.
    pub fn is_ready(self) -> bool {
        match self {
            Self::Exact(family) => family.is_loaded(),
            Self::Bytes => false,
        }
    }
}

/// Not its content.
impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabulary").finish_non_exhaustive()
    }
}

fn whole(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn bytes_of(message: &Message) -> usize {
    let calls = message.tool_calls.iter().map(|call| {
        let said = call.name.len() + call.arguments.len() + call.id.len();
        said + AROUND_TOOL
    });
    let answered = message.tool_call_id.as_ref().map_or(0, String::len);
    longest(&message.text) + calls.sum::<usize>() + answered
}

/// Bytes of a text in the longest of the forms in which a tokenizer may take it: several normalise it first,
/// and there are characters of which that makes three.
fn longest(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    let forms = [
        ComposingNormalizerBorrowed::new_nfc(),
        ComposingNormalizerBorrowed::new_nfkc(),
    ];
    let lengths = forms.map(|form| form.normalize(text).len());
    lengths.into_iter().fold(text.len(), usize::max)
}

fn tools_bytes(tools: &[Tool]) -> usize {
    let tools = tools.iter().map(|tool| {
        let schema = tool.parameters.to_string().len();
        tool.name.len() + tool.description.len() + schema + AROUND_TOOL
    });
    tools.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Role;

    #[test]
    fn a_family_is_known_by_the_name_of_a_model_or_of_its_release() {
        for (model, family) in [
            ("gpt-4o", Some(Family::O200k)),
            ("gpt-4o-mini-2024-07-18", Some(Family::O200k)),
            ("gpt-4.1", Some(Family::O200k)),
            ("gpt-4.1-2025-04-14", Some(Family::O200k)),
            ("gpt-4", Some(Family::Cl100k)),
            ("gpt-4-0613", Some(Family::Cl100k)),
            ("gpt-3.5-turbo-0125", Some(Family::Cl100k)),
            ("gpt-4o-audio-preview", None),
            ("gpt-4-32k", None),
            ("o3", None),
            ("qwen2.5:7b", None),
            ("", None),
        ] {
            assert_eq!(Family::of_model(model), family, "{model}");
        }
    }

    #[test]
    fn what_grows_when_it_is_normalised_is_bound_by_its_longest_form() {
        for (text, bytes) in [
            ("abc", 3),
            ("什么是导数", 15),
            ("\u{1d160}", 12),
            ("\u{fdfa}", 33),
            ("e\u{301}", 3),
        ] {
            assert_eq!(longest(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn every_role_is_one_token() {
        for role in [Role::System, Role::User, Role::Assistant, Role::Tool] {
            let word = serde_json::to_value(role).unwrap();
            for family in [Family::O200k, Family::Cl100k] {
                let ids = family.ids(word.as_str().unwrap()).unwrap();
                assert_eq!(ids.len(), 1, "{word}");
            }
        }
    }
}
