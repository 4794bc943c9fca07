//! Which part of a conversation a model sees.

use crate::{
    frame::{HistoryEntry, Speaker},
    notice::Language,
    price::Model,
};

/// Messages of history that go with a new one (R-CTX-1).
pub const HISTORY_MESSAGES_MAX: usize = 10;
/// Bytes of history that go with a new message, whatever the model.
pub const HISTORY_BYTES_MAX: usize = 48 * 1024;
/// Bytes that instructions and the marks between messages may take of a prompt.
const PROMPT_FRAME_BYTES: usize = 1024;

/// What stands above every conversation.
///
/// Byte-stable for the same role and language, so that providers can cache it.
pub fn instructions(role: &str, language: &str) -> String {
    let role = if role.is_empty() { "coach" } else { role };
    let language = match Language::of_tag(language) {
        Language::Chinese => "Chinese",
        Language::English => "English",
    };
    format!(
        "You are a patient tutor in the role of a {role}. Help the learner to understand: explain step \
         by step, give a short example, and end with one question that checks understanding. Write \
         formulas in LaTeX between dollar signs. Answer in the language of the learner's message; \
         when in doubt, in {language}."
    )
}

/// How many bytes of history a model takes together with a new message and its answer. A token is at
/// least one byte, so that a byte for each token is on the safe side.
pub fn history_bytes_max(model: &Model, message: &str) -> usize {
    let prompt_tokens = model.context_tokens.saturating_sub(model.answer_tokens_max);
    let taken = PROMPT_FRAME_BYTES + message.len();
    let left = usize::try_from(prompt_tokens)
        .unwrap_or(usize::MAX)
        .saturating_sub(taken);
    left.min(HISTORY_BYTES_MAX)
}

/// The newest part of a conversation that goes with a new message: whole messages, oldest first,
/// at most [`HISTORY_MESSAGES_MAX`] and `bytes_max`, beginning with the learner.
pub fn window(history: &[HistoryEntry], bytes_max: usize) -> &[HistoryEntry] {
    let mut bytes = 0;
    let kept = history
        .iter()
        .rev()
        .take(HISTORY_MESSAGES_MAX)
        .take_while(|entry| {
            bytes += entry.text.len();
            bytes <= bytes_max
        })
        .count();
    let recent = history.get(history.len() - kept..).unwrap_or_default();
    let first_question = recent
        .iter()
        .position(|entry| entry.speaker == Speaker::User);
    first_question
        .and_then(|start| recent.get(start..))
        .unwrap_or_default()
}

/// A conversation's title until it is given one: the beginning of its first message, one line,
/// at most 40 characters.
pub fn title_of(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut title: String = line.chars().filter(|c| !c.is_control()).take(40).collect();
    if title.chars().count() < line.chars().count() {
        title.push('…');
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::RequestId, unit::Timestamp};

    fn history(messages: usize, bytes_each: usize) -> Vec<HistoryEntry> {
        let entry = |n: usize| HistoryEntry {
            speaker: if n.is_multiple_of(2) {
                Speaker::User
            } else {
                Speaker::Assistant
            },
            text: "x".repeat(bytes_each),
            at: Timestamp::from_unix_ms(0),
            request_id: RequestId::parse(format!("r{}", n / 2)).unwrap(),
        };
        (0..messages).map(entry).collect()
    }

    #[test]
    fn a_short_history_goes_whole_and_a_long_one_by_its_newest_ten() {
        assert_eq!(window(&history(0, 5), HISTORY_BYTES_MAX).len(), 0);
        assert_eq!(window(&history(10, 5), HISTORY_BYTES_MAX).len(), 10);
        let long = history(30, 5);
        assert_eq!(window(&long, HISTORY_BYTES_MAX), &long[20..]);
    }

    #[test]
    fn a_heavy_history_is_cut_to_whole_turns() {
        let heavy = history(10, HISTORY_BYTES_MAX / 3);
        assert_eq!(
            window(&heavy, HISTORY_BYTES_MAX),
            &heavy[8..],
            "three would fit, but the third is half a turn"
        );
        assert_eq!(
            window(&history(2, HISTORY_BYTES_MAX + 1), HISTORY_BYTES_MAX).len(),
            0
        );
    }

    #[test]
    fn a_title_is_one_short_line() {
        assert_eq!(title_of("什么是\n导数?"), "什么是 导数?");
        assert_eq!(title_of(&"长".repeat(100)).chars().count(), 41);
    }

    #[test]
    fn a_small_model_is_sent_what_fits_it() {
        let model = |context_tokens| Model {
            id: String::new(),
            context_tokens,
            answer_tokens_max: 1_024,
            input: 0,
            cached_input: 0,
            output: 0,
        };
        assert_eq!(history_bytes_max(&model(128_000), "hi"), HISTORY_BYTES_MAX);
        assert_eq!(
            history_bytes_max(&model(8_192), "hi"),
            8_192 - 1_024 - 1_024 - 2
        );
        assert_eq!(history_bytes_max(&model(8_192), &"x".repeat(32_768)), 0);
    }
}
