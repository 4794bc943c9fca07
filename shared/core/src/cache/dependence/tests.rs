//! Tables of what depends on what.

use proptest::prelude::*;

use super::*;

fn assert_all(expected: Dependence, questions: &[&str]) {
    for question in questions {
        assert_eq!(Dependence::of(question), expected, "{question}");
    }
}

#[test]
fn a_whole_question_depends_on_nothing() {
    assert_all(
        Dependence::Nothing,
        &[
            "什么是光合作用？",
            "什么是那达慕大会",
            "天空为什么会呈现蓝色？",
            "怎么用Python读取文件",
            "吉他怎么学",
            "3+5=?",
            "光合作用是什么，它有什么用？",
            "“这”和“那”有什么区别",
            "'that' 引导的从句有哪些",
            "春秋之前是什么朝代",
            "天气和气候的区别是什么",
            "现在完成时怎么用",
            "我们为什么会做梦",
            "请翻译下面的句子：The cat sat on the mat",
            "用`this`关键字有什么作用",
            "床前明月光的下一句",
            "other 和 another 的用法",
            "什么是其他收入",
            "What is photosynthesis?",
            "What does it mean to be free?",
            "Is it possible to divide by zero?",
            "How long does it take to orbit the Sun?",
            "Explain the word 'it'",
            "What are some animals that hibernate?",
            "Prove that the square root of 2 is irrational",
            "What is photosynthesis and why is it important?",
            "How do I read a file in Python?",
            "How can I improve my English?",
            "How are current and voltage related?",
            "Who was Newton and what did he discover?",
            "When is `it` in a test run?",
            "Is it true that water expands?",
            "What is a random variable?",
            "Why is the sky blue?",
            "甲骨文出现在哪个朝代",
            "请解释“温故而知新”这句话",
            "求3，5，8这组数据的平均数",
            "一件衣服原价200元，打八折后多少钱？",
            "随机掷一枚骰子，点数大于4的概率是多少",
            "3h=?min",
            "tan(45°)=?",
            "How come ships do not sink?",
            "How do you say good morning in Spanish?",
            "How likely is it to throw a six?",
            "Who was the first president of the United States?",
            "A right triangle has legs 6 and 8. How long is the hypotenuse?",
            "How do I undo a commit but keep my changes?",
            "Что такое энтропия?",
            "광합성이란 무엇인가요?",
        ],
    );
}

#[test]
fn what_points_back_depends_on_the_conversation() {
    assert_all(
        Dependence::Conversation,
        &[
            "它为什么是绿色的",
            "这个怎么算",
            "为什么？",
            "继续",
            "再举一个例子",
            "还有呢",
            "换一个",
            "详细点",
            "那乘法呢",
            "所以答案是多少呢",
            "你刚才说的公式是什么",
            "上面的公式怎么来的",
            "是的",
            "B",
            "42",
            "不知道",
            "x=3",
            "他是哪国人",
            "举个例子",
            "总结一下我们的对话",
            "好的，它为什么会这样",
            "下面哪个是对的",
            "乘法呢？",
            "我明白了，它为什么会发光",
            "Why?",
            "How come?",
            "How?",
            "What does it do?",
            "Explain that again",
            "Can you do that?",
            "Tell me more",
            "go on",
            "yes",
            "OK",
            "thanks",
            "What about division?",
            "And why is that?",
            "Give me another example",
            "What did you say earlier?",
            "Explain step 2",
            "Is this correct?",
            "I don't know",
            "What is her name?",
            "Solve the problem",
            "😀",
            "",
            "This question is confusing to me",
            "Can you explain it to me?",
            "photosynthesis",
            "option B is my answer",
        ],
    );
}

#[test]
fn what_is_about_the_asker_depends_on_the_learner() {
    assert_all(
        Dependence::Learner,
        &[
            "我叫什么名字",
            "我的成绩怎么样",
            "我的生日是哪天",
            "我是谁你知道吗",
            "记住我喜欢数学",
            "我适合学什么专业",
            "What is my name?",
            "Who am I?",
            "What's my level of English?",
            "Remember that I like maths",
            "I am 12 years old, which books fit?",
            "How did I do in algebra?",
        ],
    );
}

#[test]
fn what_changes_with_time_depends_on_the_moment() {
    assert_all(
        Dependence::Moment,
        &[
            "今天星期几",
            "现在几点了",
            "最新的诺贝尔奖得主是谁",
            "北京天气怎么样",
            "美国总统是谁",
            "黄金价格是多少",
            "一台6000元左右的新款手机多少钱",
            "今年高考是哪天",
            "What time is it now?",
            "Who is the president of France?",
            "What is the latest version of Rust?",
            "What is the weather in London?",
            "What is the price of gold?",
            "Which exams are this year?",
            "What is the current inflation rate?",
        ],
    );
}

#[test]
fn what_should_differ_each_time_depends_on_chance() {
    assert_all(
        Dependence::Variety,
        &[
            "出一道二次方程的题",
            "给我讲个笑话吧",
            "随机说一个成语",
            "考考我历史知识",
            "Tell me a joke",
            "Quiz me on fractions: ask me",
            "Give me a random word",
            "Make up a practice problem on fractions",
            "Give me a quiz on Rome",
        ],
    );
}

#[test]
fn nobody_shares_what_may_be_private() {
    for private in [
        "我的邮箱是什么格式",
        "我叫李雷，怎么自我介绍",
        "联系方式（+86 13800755500）写在作文最后可以吗？",
        "My mum's card is 6011-1111-1111-1117 and it expires in 12/30.",
        "Write to mr.green_x@class.test",
        "ask @ann_b about it",
        "why does sk-abcdef fail",
        "open https://example.org/a",
        "read /srv/ann/notes.txt",
        "read C:\\Users\\ann",
        "```\nlet a = 1;\n```",
        "I'm from Leeds, what dialect is that",
        "How can I improve my spoken English?",
        "I live in Leeds",
        "我妈说三七二十一对吗",
        "身份证号码有几位",
        "what is 13 80 07 55 50",
        "一三八零零七五五五零零是什么",
    ] {
        assert_eq!(may_be_shared(private), Sharing::Private, "{private}");
    }
    assert_eq!(may_be_shared(&"为什么".repeat(101)), Sharing::Private);
    for shareable in [
        "什么是光合作用？",
        "How do I read a file in Python?",
        "What happened in 1939-1945?",
        "What is 3.14 * 2?",
        "计算 $123456789 \\times 2$",
        "Can I divide by zero?",
        "帮我写一篇关于春天的作文",
        "What is 12/30?",
        "我能用计算器吗",
    ] {
        assert_eq!(may_be_shared(shareable), Sharing::Shareable, "{shareable}");
    }
}

proptest! {
    #[test]
    fn any_text_is_judged(text in "(?s).{0,400}") {
        Dependence::of(&text);
        may_be_shared(&text);
    }

    #[test]
    fn a_private_fact_stays_private_wherever_it_stands(
        before in "[a-z 什么是]{0,40}",
        fact in prop_oneof![
            Just("ann@example.org"), Just("13800280500"), Just("my sister"), Just("我的成绩"), Just("6011-1111-1111-1117"),
        ],
        after in "[a-z ?吗呢]{0,40}",
    ) {
        let text = [&before, " ", fact, " ", &after].concat();
        prop_assert_eq!(may_be_shared(&text), Sharing::Private);
    }
}
