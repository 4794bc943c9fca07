//! What a model is told about its part, and what a conversation is called.

use crate::notice::Language;

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

    #[test]
    fn a_title_is_one_short_line() {
        assert_eq!(title_of("什么是\n导数?"), "什么是 导数?");
        assert_eq!(title_of(&"长".repeat(100)).chars().count(), 41);
    }
}
