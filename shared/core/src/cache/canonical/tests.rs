//! Laws and tables of the canonical form.

use proptest::prelude::*;

use super::*;

fn form(question: &str) -> String {
    Canonical::of(question).unwrap().0
}

/// Each line is one question in several spellings.
fn assert_same(groups: &[&[&str]]) {
    for group in groups {
        for other in *group {
            assert_eq!(form(group[0]), form(other), "{group:?}");
        }
    }
}

/// Each line holds questions no two of which are the same.
fn assert_distinct(groups: &[&[&str]]) {
    for group in groups {
        for (at, one) in group.iter().enumerate() {
            for other in &group[at + 1..] {
                assert_ne!(form(one), form(other), "{one} | {other}");
            }
        }
    }
}

#[test]
fn width_and_ligatures_do_not_matter() {
    assert_same(&[
        &["什么是ＡＩ？", "什么是AI?", "什么是AI"],
        &["３＋５＝？", "3+5=?"],
        &["what is an eﬃcient ﬁlter", "what is an efficient filter"],
        &["ｶﾀｶﾅとは何ですか", "カタカナとは何ですか"],
        &["水在１００℃沸腾吗", "水在100°C沸腾吗"],
        &["解释𝑓(𝑥)", "解释f(x)"],
        &["第Ⅳ章讲什么", "第IV章讲什么"],
        &["e\u{301}lan vital", "\u{e9}lan vital"],
    ]);
}

#[test]
fn wide_punctuation_is_narrow() {
    assert_same(&[
        &[
            "“光合作用”是什么？",
            "\"光合作用\"是什么?",
            "「光合作用」是什么",
        ],
        &["【数学】怎么学", "[数学]怎么学"],
        &[
            "苹果、香蕉，梨：哪个甜；为什么！",
            "苹果,香蕉,梨:哪个甜;为什么!",
        ],
        &["列夫・托尔斯泰是谁", "列夫·托尔斯泰是谁"],
        &["什么是‘熵’……", "什么是'熵'......"],
        &["1～10的和", "1〜10的和", "1~10的和"],
        &["what’s new — in short", "what's new - in short"],
    ]);
    assert_distinct(&[&["《活着》讲什么", "活着讲什么", "\"活着\"讲什么"]]);
}

#[test]
fn what_nfkc_confuses_stays_apart() {
    assert_distinct(&[
        &["x² 是什么", "x2 是什么", "x^2 是什么", "x₂ 是什么"],
        &["what is H₂O", "what is H2O"],
        &["2½ 是多少", "21/2 是多少", "21⁄2 是多少", "2 1/2 是多少"],
        &["2ⁿ 等于几", "2n 等于几"],
        &["①是什么", "1是什么"],
        &["3㎡多大", "3m2多大"],
        &["what is ℝ", "what is R"],
        &["ª是什么", "a是什么"],
        &["12⒈5是多少", "121.5是多少"],
    ]);
}

#[test]
fn what_nobody_sees_is_not_there() {
    assert_same(&[
        &["什么\u{200B}是\u{FEFF}熵", "什么是熵"],
        &[
            "photo\u{AD}synthesis",
            "photosynthesis",
            "photo\u{2060}synthesis",
        ],
        &["❤\u{FE0F} 是什么", "❤ 是什么"],
        &["a\u{200D}b是什么", "ab是什么"],
    ]);
    assert_distinct(&[&["👨\u{200D}👩 是什么", "👨👩 是什么"]]);
}

#[test]
fn nothing_asked_is_no_question() {
    for nothing in [
        "",
        " \n\t",
        "?",
        "？！。",
        "...",
        "……",
        "——",
        "\u{200B}\u{200D}",
        "``",
        "$$",
        "()",
        "\u{FE0F}",
        "·",
        "\u{301}",
        "。 。",
        "\u{3000}",
    ] {
        assert_eq!(Canonical::of(nothing), None, "{nothing:?}");
    }
    for something in ["👍", "❤️", "π", "a", "5", "什", "½", "∞", "`x`", "∑?"] {
        assert!(Canonical::of(something).is_some(), "{something:?}");
    }
}

#[test]
fn a_question_over_a_frame_has_no_form() {
    assert!(Canonical::of(&"a".repeat(QUESTION_BYTES_MAX)).is_some());
    assert_eq!(Canonical::of(&"a".repeat(QUESTION_BYTES_MAX + 1)), None);
}

#[test]
fn white_space_beside_cjk_and_punctuation_does_not_matter() {
    assert_same(&[
        &[
            "怎么 用 Python 读 文件",
            "怎么用Python读文件",
            "怎么用 Python 读\n文件",
        ],
        &["第 3 章 讲 什么", "第3章讲什么"],
        &["计算 $x^2$ 的导数", "计算$x^2$的导数"],
        &["What is AI ?", "What is AI?", "  What   is\tAI"],
        &[
            "solve ( x + 1 ) , please",
            "solve (x+1), please",
            "solve(x+1),please",
        ],
        &["3 + 5 = ?", "3+5=?", "3 + 5 =", "3+5="],
        &["a\nb c", "a b c", "a\r\n b\u{a0}c"],
    ]);
}

#[test]
fn white_space_that_parts_stays() {
    assert_distinct(&[
        &["what is a b", "what is ab"],
        &[
            "1. 5是什么",
            "1.5是什么",
            "15是什么",
            "1 .5是什么",
            "1 5是什么",
        ],
        &["3 , 000是什么", "3,000是什么", "3000是什么", "3 000是什么"],
        &["1、234是什么", "1,234是什么"],
        &["选3。5是什么", "选3.5是什么"],
        &["solve 5! = 120", "solve 5 != 120"],
        &["what does A- mean", "what does A -mean"],
        &["한국어 공부", "한국어공부"],
        &["2 1/2 in decimal", "21/2 in decimal"],
    ]);
}

#[test]
fn indented_code_keeps_its_lines() {
    let inside = "why:\nfor x in y:\n    a()\n    b()";
    let outside = "why:\nfor x in y:\n    a()\nb()";
    assert_distinct(&[&[inside, outside]]);
    assert_same(&[&[inside, "why:\nfor x in y:\r\n\ta()\r\n\tb()\n"]]);
}

#[test]
fn case_folds_where_it_says_nothing() {
    assert_same(&[
        &["What Is Photosynthesis?", "what is photosynthesis"],
        &["Python怎么学", "python怎么学"],
        &[
            "How do I learn Spanish? Explain, Please.",
            "how do I learn spanish? explain, please",
        ],
        &["Don't plants sleep", "don't plants sleep"],
        &["In what year did it end", "in what year did it end"],
        &["What is Ohm's law", "what is ohm's law"],
        &["Who Is (Queen) Anne", "who is (queen) anne"],
    ]);
}

#[test]
fn case_stays_where_it_says_something() {
    assert_distinct(&[
        &["what is NASA", "what is nasa"],
        &["what is pH", "what is ph", "what is PH"],
        &["what is NaCl", "what is nacl"],
        &["what is mRNA", "what is mrna"],
        &["what is Co", "what is CO", "what is co"],
        &["Polish history", "polish history"],
        &["what is Rust", "what is rust"],
        &["what is X", "what is x"],
        &["vitamin A是什么", "vitamin a是什么"],
        &["what is Array(3)", "what is array(3)"],
        &["what is Node.js", "what is node.js"],
        &["why is `Foo` so", "why is `foo` so"],
        &["what is $Sin x$", "what is $sin x$"],
        &["where is As in food", "where is as in food"],
        &["is Élan ok", "is élan ok"],
        &["what is Win10", "what is win10"],
    ]);
}

#[test]
fn one_mark_at_the_end_does_not_matter() {
    assert_same(&[
        &[
            "什么是熵",
            "什么是熵？",
            "什么是熵。",
            "什么是熵?",
            "什么是熵 ？",
        ],
        &["what is $x$?", "what is $x$"],
        &["what is C#?", "what is C#"],
    ]);
    assert_distinct(&[
        &["什么是熵！", "什么是熵", "什么是熵??", "什么是熵..."],
        &["list 1.", "list 1"],
        &["nuts, etc.", "nuts, etc"],
    ]);
}

#[test]
fn signs_are_part_of_a_name_or_number() {
    assert_distinct(&[
        &["C是什么", "C#是什么", "C++是什么"],
        &["-5是什么", "5是什么", "+5是什么"],
        &["1.5是什么", "15是什么", "1,5是什么"],
        &["what costs $5", "what costs 5", "what costs €5"],
        &["p\u{430}ge", "page"],
    ]);
}

#[test]
fn code_and_formulas_stay_as_they_are() {
    for verbatim in [
        "`a  ， B`",
        "``x ` Y``",
        "```rust\nlet A = 1 ;\n```",
        "$A  +  b$",
        "$$\nA\n$$",
        "\\( A ， b \\)",
        "\\[ A  b \\]",
        "```\nno End",
    ] {
        let form = form(&format!("解释 {verbatim}"));
        assert!(form.contains(verbatim), "{verbatim} in {form}");
    }
    assert_same(&[
        &["Is $5 More than $6", "is $5 more than $6"],
        &["A lone ` Tick", "A lone ` tick"],
        &["＄x＄ 是什么", "$x$是什么"],
    ]);
}

#[test]
fn a_digest_is_that_of_the_form() {
    let digest = |question| Canonical::of(question).unwrap().digest();
    assert_eq!(digest("What is AI ?"), digest("what is AI"));
    assert_ne!(digest("what is AI"), digest("what is ai"));
    assert_eq!(digest("a").len(), 64);
}

/// What learners type, and what they could type to break the rules.
fn question() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        " ", "  ", "\n", "\n  ", "\t", "\u{3000}", "`", "``", "```", "$", "$$", "\\", "\\(", "\\)",
        "\\[", "（", "【", "\\$", "什么", "是", "。", "、", "，", "？", "？", ".", "?", "!", "...",
        ",", ":", ";", "(", ")", "[", "{", "\"", "'", "+", "-", "=", "==", "*", "#", "—", "…",
        "～", "What", "Is", "In", "the", "A", "I", "NASA", "pH", "Polish", "etc", "a", "x", "5",
        "12", "½", "²", "５", "〇", "①", "㎡", "Ⅳ", "ﬁ", "\u{200B}", "\u{200D}", "\u{FE0F}",
        "\u{301}", "\u{338}", "👍", "´", "é", "한국", "ｶﾞ", "\u{1FEF}", "＼", "＄", "ℝ", "\r",
        "\u{AD}", "C#",
    ]);
    let chosen = proptest::collection::vec(pieces, 0..16).prop_map(|pieces| pieces.concat());
    prop_oneof![4 => chosen, 1 => "(?s).{0,24}", 1 => "[ -~，。？（）]{0,24}"]
}

/// The digits and the text between them, where that makes them one number.
fn numbers(text: &str) -> Vec<String> {
    let mut numbers = vec![String::new()];
    for c in text.chars() {
        let number = numbers.last_mut().unwrap();
        if c.is_numeric() || (matches!(c, '.' | ',') && !number.is_empty()) {
            number.push(c);
        } else if !number.is_empty() {
            numbers.push(String::new());
        }
    }
    let trimmed = numbers
        .iter()
        .map(|number| number.trim_end_matches(['.', ',']).to_owned());
    trimmed.filter(|number| !number.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_form_is_its_own_form(question in question()) {
        if let Some(form) = Canonical::of(&question) {
            prop_assert_eq!(Canonical::of(form.as_str()), Some(form));
        }
    }

    #[test]
    fn white_space_between_cjk_does_not_matter(
        chars in proptest::collection::vec("[一-龥ぁ-んァ-ヶ]", 2..20),
        at in 1_usize..20,
        blank in "[ \u{3000}\n]{1,3}",
    ) {
        let mut spaced = chars.clone();
        spaced.insert(at.min(chars.len() - 1), blank);
        prop_assert_eq!(form(&chars.concat()), form(&spaced.concat()));
    }

    #[test]
    fn numbers_stay_what_they_are(question in "([0-9]{1,3}|[ .,、。:+-]|[a-c]|中|[０-９½²]){0,16}") {
        let folded: String = question.chars().map(|c| match c {
            '０'..='９' => char::from_u32(u32::from(c) - 0xFEE0).unwrap(),
            _ => c,
        }).collect();
        if let Some(form) = Canonical::of(&question) {
            prop_assert_eq!(numbers(form.as_str()), numbers(&folded));
        }
    }

    #[test]
    fn words_stay_apart(one in "[a-z]{1,8}", two in "[a-z]{1,8}", blank in "[ \n\t\u{3000}]{1,4}") {
        prop_assert_eq!(form(&[&one, " ", &two].concat()), form(&[&one, &blank[..], &two].concat()));
        prop_assert_ne!(form(&[&one, &blank[..], &two].concat()), form(&[one, two].concat()));
    }
}
