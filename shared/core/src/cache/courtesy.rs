//! What a question asks without the courtesy around it: two that are equal without it ask the same, whatever the
//! verifier thinks of it (R-CACHE-2).
//!
//! Only whole phrases go, and only where they can be nothing else: a question about words ("how do you say
//! 请问 in English?") keeps all of its own.

use super::canonical::Canonical;

/// Greetings and thanks: they go with the punctuation that sets them apart.
const APART: [&str; 19] = [
    "你好",
    "您好",
    "老师",
    "老师好",
    "谢谢",
    "谢谢你",
    "谢谢您",
    "谢谢老师",
    "多谢",
    "麻烦了",
    "hi",
    "hello",
    "hey",
    "excuse me",
    "please",
    "thanks",
    "thank you",
    "thank you very much",
    "many thanks",
];
/// Phrases before a question, the longer ones of one beginning first.
const BEFORE_CHINESE: [&str; 22] = [
    "请问一下",
    "请问",
    "请教一下",
    "请教",
    "我想请问",
    "我想问一下",
    "我想问",
    "想问一下",
    "想问",
    "我想知道",
    "想知道",
    "请告诉我",
    "请你告诉我",
    "你能不能告诉我",
    "能不能告诉我",
    "你能告诉我",
    "能告诉我",
    "能否告诉我",
    "你可以告诉我",
    "可以告诉我",
    "你知道",
    "告诉我",
];
const BEFORE_ENGLISH: [&str; 17] = [
    "can you please tell me",
    "could you please tell me",
    "can you tell me",
    "could you tell me",
    "would you tell me",
    "will you tell me",
    "please tell me",
    "tell me",
    "do you know",
    "i want to know",
    "i would like to know",
    "i'd like to know",
    "i am wondering",
    "i'm wondering",
    "i was wondering",
    "i wonder",
    "may i ask",
];
/// Ends of a question that asks already.
const PARTICLES: [char; 4] = ['呢', '啊', '呀', '吗'];
const ASKS_CHINESE: [&str; 11] = [
    "什么",
    "怎么",
    "为什么",
    "为何",
    "如何",
    "谁",
    "哪",
    "几",
    "多少",
    "多大",
    "怎样",
];
const ASKS_ENGLISH: [&str; 8] = [
    "what", "who", "where", "when", "why", "how", "which", "whose",
];
const TO_BE: [&str; 4] = ["is", "are", "was", "were"];
/// What is asked about may be the courtesy itself.
const ABOUT_WORDS: [&str; 24] = [
    "英语",
    "英文",
    "中文",
    "日语",
    "翻译",
    "意思",
    "怎么说",
    "怎么读",
    "怎么写",
    "造句",
    "拼音",
    "笔画",
    "词",
    "句",
    "礼貌",
    "say",
    "mean",
    "translate",
    "spell",
    "pronounce",
    "word",
    "phrase",
    "sentence",
    "polite",
];

/// The question without courtesy, in its canonical form; none where nothing is asked.
///
/// ```
/// use sparkle_core::cache::courtesy::bare;
///
/// assert_eq!(bare("老师，请问什么是光合作用呢？"), bare("什么是光合作用"));
/// assert_eq!(bare("Can you tell me why the sky is blue?"), bare("Why is the sky blue?"));
/// assert_ne!(bare("Do you know what an ion is?"), bare("What is an ion for?"));
/// ```
pub fn bare(question: &str) -> Option<String> {
    let canonical = Canonical::of(question)?;
    let whole = canonical.as_str();
    if ABOUT_WORDS.iter().any(|word| whole.contains(word)) {
        return Some(whole.to_owned());
    }
    let mut rest = whole;
    while let Some(less) = without_apart(rest) {
        rest = less;
    }
    let bare = chinese(rest).or_else(|| english(rest));
    Some(bare.unwrap_or_else(|| rest.to_owned()))
}

/// Without a greeting before or thanks behind.
fn without_apart(text: &str) -> Option<&str> {
    let is_apart = |part: &str| APART.iter().any(|phrase| part.eq_ignore_ascii_case(phrase));
    let before = text.split_once([',', '!', '.']);
    let behind = text
        .trim_end_matches(['!', '.'])
        .rsplit_once([',', '!', '.', '?']);
    let less = before
        .filter(|(part, _)| is_apart(part))
        .map(|(_, rest)| rest)
        .or_else(|| {
            behind
                .filter(|(_, part)| is_apart(part))
                .map(|(rest, _)| rest)
        })?;
    Some(less.trim_matches(['?', '.', ' '])).filter(|less| !less.is_empty())
}

fn chinese(text: &str) -> Option<String> {
    let asks = |text: &str| ASKS_CHINESE.iter().any(|word| text.contains(word));
    let mut rest = text;
    while let Some(less) = BEFORE_CHINESE
        .iter()
        .find_map(|phrase| rest.strip_prefix(phrase))
    {
        rest = less.trim_start_matches([',', ':']);
    }
    let rest = rest.strip_suffix(PARTICLES).unwrap_or(rest);
    (rest != text && asks(rest)).then(|| rest.to_owned())
}

fn english(text: &str) -> Option<String> {
    let mut words: Vec<&str> = BEFORE_ENGLISH
        .iter()
        .find_map(|phrase| after(text, phrase)?.strip_prefix(' '))?
        .split(' ')
        .collect();
    let asks = words
        .first()
        .is_some_and(|first| ASKS_ENGLISH.contains(first));
    if !asks {
        return None;
    }
    // An embedded question has its verb behind its subject: "what an ion is".
    if let Some(place) = words.iter().position(|word| TO_BE.contains(word)) {
        let verb = words.remove(place);
        words.insert(1, verb);
    }
    Some(words.join(" "))
}

/// What follows a phrase, in whatever case it stands: the canonical form leaves `I` and `Hi` as they are.
fn after<'a>(text: &'a str, phrase: &str) -> Option<&'a str> {
    let (begin, rest) = text.split_at_checked(phrase.len())?;
    begin.eq_ignore_ascii_case(phrase).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn courtesy_is_no_part_of_a_question() {
        for (polite, plain) in [
            ("请问什么是光合作用？", "什么是光合作用"),
            ("老师，请问一下，什么是光合作用呢？", "什么是光合作用？"),
            ("你好！我想知道为什么天空是蓝色的", "为什么天空是蓝色的？"),
            ("你知道水为什么会结冰吗？", "水为什么会结冰"),
            (
                "能不能告诉我三角形的内角和是多少？谢谢！",
                "三角形的内角和是多少",
            ),
            (
                "Can you tell me what photosynthesis is?",
                "What is photosynthesis?",
            ),
            (
                "Hi, do you know why the sky is blue?",
                "Why is the sky blue",
            ),
            ("What is an ion, please?", "What is an ion?"),
            ("I wonder who Marie Curie was.", "Who was Marie Curie?"),
            ("What is an ion? Thank you!", "what is an ion"),
        ] {
            assert_eq!(bare(polite), bare(plain), "{polite}");
        }
    }

    #[test]
    fn what_may_be_asked_about_stays() {
        for (question, other) in [
            ("请问的英文怎么说", "你好的英文怎么说"),
            ("请问用英语怎么说？", "我想知道用英语怎么说？"),
            ("光合作用呢？", "光合作用"),
            ("你知道光合作用吗？", "光合作用"),
            ("这是对的吗？", "这是对的"),
            ("How do you say please?", "How do you say thanks?"),
            ("Do you know the answer?", "the answer"),
            ("Tell me about ions", "about ions"),
            ("老师的职责是什么", "的职责是什么"),
            ("What is an ion, and why?", "What is an ion?"),
            ("请假要几天？", "假要几天？"),
        ] {
            assert_ne!(bare(question), bare(other), "{question}");
        }
    }

    #[test]
    fn nothing_is_left_of_nothing_and_courtesy_alone_stays() {
        assert_eq!(bare("？！"), None);
        for alone in ["谢谢！", "你好", "请问", "please", "hi, hi!", "do you know"] {
            assert!(bare(alone).is_some_and(|bare| !bare.is_empty()), "{alone}");
        }
    }
}
