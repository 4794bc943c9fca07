//! The project's own triples, and tables.

use proptest::prelude::*;

use super::*;

#[test]
fn a_trap_is_seen_and_a_paraphrase_is_not() {
    let triples = include_str!("../../../tests/tutoring_triples.jsonl");
    let mut wrong = Vec::new();
    for line in triples.lines() {
        let triple: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| triple[name].as_str().unwrap();
        let same = differences(text("q"), text("same"));
        if !same.is_empty() {
            wrong.push(format!(
                "{} = {}: {:?}",
                text("q"),
                text("same"),
                same.iter().collect::<Vec<_>>()
            ));
        }
        if differences(text("q"), text("different")).is_empty() {
            wrong.push(format!("{} / {}: none", text("q"), text("different")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn assert_seen(kind: Difference, pairs: &[(&str, &str)]) {
    for (one, two) in pairs {
        let seen = differences(one, two);
        assert!(
            seen.has(kind),
            "{one} / {two}: {:?}",
            seen.iter().collect::<Vec<_>>()
        );
    }
}

fn assert_unseen(kind: Difference, pairs: &[(&str, &str)]) {
    for (one, two) in pairs {
        assert!(!differences(one, two).has(kind), "{one} / {two}: {kind:?}");
    }
}

#[test]
fn numbers_are_read_however_they_are_written() {
    assert_seen(
        Difference::NumberReplaced,
        &[
            ("三年级数学怎么学", "6年级数学怎么学"),
            ("一元二次方程怎么解", "二元一次方程怎么解"),
            ("what is 1.5 squared", "what is 15 squared"),
            ("第一次世界大战的原因", "第二次世界大战的原因"),
            ("what happened in 1914", "what happened in 1941"),
            ("twelve times two", "twelve times 3"),
            ("phones under 10k", "phones under 20k"),
            ("三百二十五除以五", "三百二十除以五"),
            ("Solve 2x + 3 = 11", "Solve 2x - 3 = 11"),
            ("三分之二减四分之一等于多少", "求 2/3 + 1/4 的结果"),
            ("6乘以7等于几", "6+7=?"),
            ("f(x)=x³，求f''(x)", "f(x)=x³，求f'(x)"),
            ("What is 6 times 7?", "What is 6 + 7?"),
            ("解方程 2x+3=11", "解方程 2x−3=11"),
            ("计算 3 × (4 + 5)", "计算 3 ÷ (4 + 5)"),
            (
                "what is the absolute value of -3",
                "what is the absolute value of 3",
            ),
            ("-3的绝对值是多少", "3的绝对值是多少"),
            ("x > 3 的解集", "x < 3 的解集"),
        ],
    );
    assert_seen(
        Difference::NumberMissing,
        &[
            ("how do I lose 5 kg", "how do I lose weight"),
            ("3 + 5 = ?", "3 + 5 + 8 = ?"),
        ],
    );
    for kind in [Difference::NumberReplaced, Difference::NumberMissing] {
        assert_unseen(
            kind,
            &[
                ("三年级数学怎么学", "3年级数学怎么学"),
                ("what is 1,000 + 2", "what is 1000 plus two"),
                ("World War 2", "the second World War"),
                ("一九八四年发生了什么", "1984年发生了什么"),
                ("phones under 10k", "phones under 10,000"),
                ("找一个例子", "找例子"),
                ("两万人", "20000人"),
            ],
        );
    }
}

#[test]
fn units_are_told_apart() {
    assert_seen(
        Difference::Unit,
        &[
            ("how far is 5 km", "how far is 5 miles"),
            ("5公斤是多重", "5磅是多重"),
        ],
    );
    assert_unseen(
        Difference::Unit,
        &[
            ("how far is 5 km", "how far is 5 kilometres"),
            ("5公斤是多重", "5千克是多重"),
        ],
    );
}

#[test]
fn a_no_too_many_is_seen() {
    assert_seen(
        Difference::Negation,
        &[
            ("哪些动物会冬眠", "哪些动物不会冬眠"),
            ("can fish fly", "can't fish fly"),
            ("有空气能燃烧吗", "没有空气能燃烧吗"),
        ],
    );
    assert_unseen(
        Difference::Negation,
        &[
            ("能不能除以零", "可以除以零吗"),
            ("有没有例子", "有例子吗"),
            ("两者有什么区别", "两者有什么不同"),
            ("不等式怎么解", "不等式的解法"),
        ],
    );
}

#[test]
fn opposites_and_classes_are_told_apart() {
    assert_seen(
        Difference::Antonym,
        &[
            ("怎么用Python读取文件", "怎么用Python写入文件"),
            ("how do I read a file", "how do I write a file"),
            ("把列表按由小到大的顺序排好", "列表怎么从大到小排序"),
            ("end of the civil war", "when did the civil war break out"),
            ("is it possible", "is it impossible"),
            ("how does import work", "how does exporting work"),
            ("酸的性质", "碱的性质"),
            ("water boiling point", "water freezing point"),
        ],
    );
    assert_seen(
        Difference::Sibling,
        &[
            ("春天的作文", "秋天的作文"),
            ("sort a list in Python", "sort a list in Java"),
            ("TCP是什么", "UDP是什么"),
            ("现在进行时的用法", "过去进行时的用法"),
        ],
    );
    let both = [
        ("增加和减少的区别", "减少和增加有什么区别"),
        ("difference between Python and Java", "Java vs Python"),
    ];
    assert_unseen(Difference::Antonym, &both);
    assert_unseen(Difference::Sibling, &both);
}

#[test]
fn names_are_told_apart() {
    assert_seen(
        Difference::NameReplaced,
        &[
            ("who wrote Hamlet", "who wrote Macbeth"),
            ("《活着》的作者是谁", "《家》的作者是谁"),
            ("怎么安装Redis", "怎么安装Kafka"),
            ("what does `map` do", "what does `filter` do"),
        ],
    );
    assert_seen(
        Difference::NameMissing,
        &[("how do I sort a list", "how do I sort a list in Haskell")],
    );
    for kind in [Difference::NameReplaced, Difference::NameMissing] {
        assert_unseen(
            kind,
            &[
                ("When did WW1 start", "When did World War 1 start"),
                ("who is Hillary Clinton", "who is Hilary Clinton"),
                ("how old is NASA", "how old is nasa"),
                ("Is it cold in the USA", "is it cold in America"),
                ("what do Indian people eat", "what do people in India eat"),
            ],
        );
    }
}

#[test]
fn one_word_for_another_is_seen() {
    assert_seen(
        Difference::Substitution,
        &[
            ("why is the sky blue", "why is the ocean blue"),
            ("向量的点积怎么算", "向量的叉积怎么算"),
        ],
    );
    assert_unseen(
        Difference::Substitution,
        &[
            ("how can I learn maths", "how do I learn maths"),
            ("怎么学数学", "如何学数学呢"),
        ],
    );
}

#[test]
fn signs_are_those_of_a_calculation() {
    assert_unseen(
        Difference::NumberReplaced,
        &[
            ("Solve 2x + 3 = 11", "How do I solve 2x+3=11?"),
            ("三分之二加四分之一等于多少", "2/3+1/4=?"),
            ("6乘以7等于几", "6×7=?"),
            (
                "物体浸没在水里时浮力怎么算",
                "怎么算物体完全沉在水里时的浮力",
            ),
            ("什么是凝固？", "凝固指的是什么过程"),
            (
                "oxygen proton number",
                "number of protons in an oxygen atom",
            ),
            ("二战为什么爆发", "第二次世界大战为什么爆发"),
            ("3 × 4 等于多少", "3*4是多少"),
            ("what is a well-known poem", "what is a well known poem"),
            ("C++怎么学", "怎么学C++"),
            ("Python 3 and/or Java", "Python 3 and Java"),
            ("解方程 2x+3=11", "2x+3=11 这个方程怎么解"),
        ],
    );
}

#[test]
fn places_changed_around_a_direction_are_seen() {
    assert_seen(
        Difference::Order,
        &[
            ("把十进制数1011化成二进制", "请将二进制的1011换算为十进制数"),
            (
                "hot metal with non-magnetic cold metal",
                "cold metal with non-magnetic hot metal",
            ),
            ("从北京到上海怎么走", "从上海到北京怎么走"),
            ("中文翻译成英语", "英语翻译成中文"),
            ("convert celsius to kelvin", "convert kelvin to celsius"),
            (
                "does the earth orbit the sun",
                "does the sun orbit the earth",
            ),
            (
                "why is iron heavier than wood",
                "why is wood heavier than iron",
            ),
            ("什么情况下函数连续但不可导", "什么情况下函数可导但不连续"),
            ("狮子吃老虎吗", "老虎吃狮子吗"),
        ],
    );
    assert_unseen(
        Difference::Order,
        &[
            ("电流和电压的区别", "电压和电流的区别"),
            (
                "difference between mass and weight",
                "difference between weight and mass",
            ),
            ("Python vs Java", "Java vs Python"),
            (
                "how are current and voltage related",
                "how is voltage related to current",
            ),
            ("从北京到上海怎么走", "北京到上海的路线"),
        ],
    );
}

#[test]
fn what_is_asked_is_told_apart() {
    assert_seen(
        Difference::Aspect,
        &[
            ("光合作用的公式是什么", "为什么要光合作用"),
            ("how do plants grow: give the steps", "why do plants grow"),
            ("牛顿第一定律的例子", "牛顿第一定律的历史"),
            ("when did Rome fall", "why did Rome fall"),
        ],
    );
    assert_unseen(
        Difference::Aspect,
        &[
            ("如何学英语", "学英语的方法"),
            ("how to learn English", "what is the way to learn English"),
            ("天空为什么蓝", "天空蓝的原因"),
            ("what is entropy", "explain entropy"),
        ],
    );
    assert_seen(
        Difference::Form,
        &[
            ("春天", "写一首诗歌：春天"),
            ("explain heat", "explain heat in one sentence"),
        ],
    );
    assert_seen(
        Difference::Language,
        &[
            ("什么是熵", "what is entropy"),
            ("什么是熵，用英语回答", "什么是熵"),
            ("explain heat", "explain heat in Spanish"),
        ],
    );
    assert_seen(
        Difference::Dependence,
        &[("为什么天空是蓝色的", "为什么它是蓝色的")],
    );
}

#[test]
fn long_texts_are_not_compared() {
    let long = "a ".repeat(600);
    let seen = differences(&long, "what is a list");
    assert_eq!(seen.iter().collect::<Vec<_>>(), [Difference::Unread]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_two_questions_does_not_matter(
        one in "([a-z]{1,6}|[A-Z][a-z]{1,5}|[0-9]{1,3}|[的不到和北京上海二三]|to|not|'| ){0,20}",
        two in "([a-z]{1,6}|[A-Z][a-z]{1,5}|[0-9]{1,3}|[的不到和北京上海二三]|to|not|\"| ){0,20}",
    ) {
        prop_assert_eq!(differences(&one, &two), differences(&two, &one));
    }

    #[test]
    fn a_question_does_not_differ_from_itself(question in "(?s).{0,80}") {
        prop_assert!(differences(&question, &question).is_empty());
    }

    #[test]
    fn another_number_is_always_seen(one in 2_u32..99_999, two in 2_u32..99_999) {
        prop_assume!(one != two);
        let ask = |number: u32| format!("what is {number} plus 7");
        prop_assert!(!differences(&ask(one), &ask(two)).is_empty());
    }
}
