//! What the offline tutor says: one note, one question to check it, and a few words of manners.

use super::formula::typeset;
use super::notes::{Language, Note, Notes};
use crate::prompt::{Prompt, Role};

/// Characters of an earlier question that are quoted.
const QUOTE_CHARS_MAX: usize = 80;

/// A message of at most this many characters may lean on the question before it.
const FOLLOW_UP_CHARS_MAX: usize = 40;

/// The whole answer to the newest user message, in its language.
pub(super) fn answer(notes: &Notes, prompt: &Prompt) -> String {
    let question = prompt.newest_user_text().trim();
    let language = Language::of(question);
    let said = match prompt.messages.last() {
        Some(result) if result.role == Role::Tool => tool_result(language, &result.text),
        _ => match manners(question) {
            Some(Manners::Greeting) => greeting(notes, language),
            Some(Manners::Thanks) => thanks(language).to_owned(),
            Some(Manners::Recall) => recall(language, earlier_question(prompt)),
            None => taught(notes, prompt, question, language),
        },
    };
    format!("{}{said}", preface(language))
}

fn preface(language: Language) -> &'static str {
    match language {
        Language::Zh => "我是离线模型，只能根据自带的少量笔记回答。\n\n",
        Language::En => "I am the offline model and answer from a small set of built-in notes.\n\n",
    }
}

enum Manners {
    Greeting,
    Thanks,
    Recall,
}

/// What a message is that asks about no subject.
fn manners(message: &str) -> Option<Manners> {
    let message = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let begins = |words: &[&str]| words.iter().any(|word| message.starts_with(word));
    let is_short = message.chars().count() <= 24;
    if has(&[
        "我刚才问",
        "我刚刚问",
        "我之前问",
        "我前面问",
        "我问过",
        "上一个问题",
        "刚才问了什么",
    ]) || has(&[
        "did i ask",
        "have i asked",
        "previous question",
        "my last question",
    ]) {
        Some(Manners::Recall)
    } else if is_short && has(&["谢谢", "多谢", "感谢", "thank", "thx"]) {
        Some(Manners::Thanks)
    } else if is_short && begins(&["你好", "您好", "hello", "hi ", "hi!", "hi,", "hey"])
        || matches!(message.as_str(), "hi" | "嗨" | "在吗")
    {
        Some(Manners::Greeting)
    } else {
        None
    }
}

fn greeting(notes: &Notes, language: Language) -> String {
    let subjects = subjects(notes, language);
    match language {
        Language::Zh => format!("你好！你可以问我这些科目的问题：{subjects}。"),
        Language::En => format!("Hello! You can ask me about {subjects}."),
    }
}

fn thanks(language: Language) -> &'static str {
    match language {
        Language::Zh => "不客气！你能用自己的话把刚才的内容再说一遍吗？",
        Language::En => "You're welcome! Can you say it again in your own words?",
    }
}

fn recall(language: Language, earlier: Option<&str>) -> String {
    match (language, earlier.map(quote)) {
        (Language::Zh, Some(earlier)) => format!("你刚才问的是：“{earlier}”。要接着说这个吗？"),
        (Language::Zh, None) => "在这次对话里，我没有看到你更早的问题。".to_owned(),
        (Language::En, Some(earlier)) => {
            format!("You asked: \u{201c}{earlier}\u{201d}. Shall we go on with it?")
        }
        (Language::En, None) => "I see no earlier question in this conversation.".to_owned(),
    }
}

fn tool_result(language: Language, result: &str) -> String {
    let result = quote(result);
    match language {
        Language::Zh => format!("工具的结果是：{result}"),
        Language::En => format!("The tool's result is: {result}"),
    }
}

fn taught(notes: &Notes, prompt: &Prompt, question: &str, language: Language) -> String {
    let found = notes.find(question);
    if !found.is_empty() {
        return lesson(language, &found);
    }
    if let (true, Some(earlier)) = (
        question.chars().count() <= FOLLOW_UP_CHARS_MAX,
        earlier_question(prompt),
    ) {
        let found = notes.find(&format!("{earlier} {question}"));
        if !found.is_empty() {
            let link = match language {
                Language::Zh => format!("接着你刚才的问题“{}”：\n\n", quote(earlier)),
                Language::En => {
                    format!("Going on with \u{201c}{}\u{201d}:\n\n", quote(earlier))
                }
            };
            return format!("{link}{}", lesson(language, &found));
        }
    }
    let subjects = subjects(notes, language);
    match language {
        Language::Zh => format!(
            "这个问题我的笔记里没有，我不想乱猜。\n\n我有这些科目的笔记：{subjects}。换一个问题试试？"
        ),
        Language::En => format!(
            "My notes do not cover this, and I would rather not guess.\n\nI have notes on {subjects}. \
             Would you like to try one of these?"
        ),
    }
}

fn lesson(language: Language, found: &[&Note]) -> String {
    let mut parts: Vec<String> = found
        .iter()
        .map(|note| format!("**{}**\n\n{}", note.subject, typeset(&note.text)))
        .collect();
    parts.push(check(
        language,
        found.first().map_or("", |note| note.text.as_str()),
    ));
    parts.join("\n\n")
}

/// One question to check understanding, about the note's own topic where it begins by naming it.
fn check(language: Language, note: &str) -> String {
    match language {
        Language::Zh => match note
            .split_once('：')
            .filter(|(topic, _)| topic.chars().count() <= 10)
        {
            Some((topic, _)) => {
                format!("**想一想**：请用自己的话说一说“{topic}”，再举一个例子，好吗？")
            }
            None => "**想一想**：请用自己的话复述一遍，再举一个例子，好吗？".to_owned(),
        },
        Language::En => {
            "**Check yourself**: can you put this in your own words and give one example?"
                .to_owned()
        }
    }
}

fn subjects(notes: &Notes, language: Language) -> String {
    notes.subjects(language).join(match language {
        Language::Zh => "、",
        Language::En => ", ",
    })
}

/// The user message before the newest, unless it is only manners.
fn earlier_question(prompt: &Prompt) -> Option<&str> {
    prompt
        .messages
        .iter()
        .rev()
        .filter(|message| message.role == Role::User)
        .skip(1)
        .map(|message| message.text.trim())
        .find(|text| !text.is_empty() && manners(text).is_none())
}

fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
