//! Tutoring conversations to measure with: generated ones from a seed, and recorded ones from outside of the
//! repository.
//!
//! The generated ones are made of the offline tutor's notes, in Chinese and English. A third of their turns is
//! short, a learner's reply and what the tutor says to it; the others are explained step by step, with an
//! example and a question at the end, as `core::chat::instructions` asks for. How money turns out depends on how
//! long answers are, so there are two lengths. Recorded ones are the lines of
//! `dialogues.jsonl` in the folder that `SPARKLE_EVAL_DATA` names, else in `../shared/data` beside the
//! repository.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context, Result};
use fastrand::Rng;
use serde::Deserialize;
use sparkle_tests::root;

const NOTES: &str = include_str!("../../../shared/llm/src/offline/notes.jsonl");
/// A learner's pace: seconds until the next question, in how many of a hundred cases.
const PACE: [(usize, std::ops::Range<u64>); 3] = [(90, 15..120), (8, 120..480), (2, 1_200..5_400)];

/// A conversation as it was held.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) language: String,
    pub(crate) turns: Vec<Turn>,
    pub(crate) probes: Vec<Probe>,
}

/// A question and its answer.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Since the turn before.
    pub(crate) after_s: u64,
    pub(crate) question: String,
    pub(crate) answer: String,
}

/// A turn that cannot be answered without a message of an earlier one.
#[derive(Debug)]
pub(crate) struct Probe {
    /// Index of the turn that asks.
    pub(crate) turn: usize,
    /// Position of the message that answers, from 1.
    pub(crate) needs: u64,
}

#[derive(Deserialize)]
struct Note {
    lang: String,
    subject: String,
    text: String,
}

/// What is said in one language beside the notes; `{}` stands for a subject, a number, or a note.
struct Phrases {
    language: &'static str,
    questions: &'static [&'static str],
    replies: &'static [&'static str],
    praises: &'static [&'static str],
    steps: &'static [&'static str],
    examples: &'static [&'static str],
    checks: &'static [&'static str],
}

const PHRASES: [Phrases; 2] = [
    Phrases {
        language: "zh",
        questions: &[
            "老师，{}这一课我没听懂，能从头讲一遍吗？",
            "我们今天学了{}，书上第{}页的那道题怎么想？",
            "为什么会这样？我总觉得{}这里的结论是反过来的。",
            "能再举一个{}的例子吗？最好和生活有关，数字小一点。",
            "考试的时候{}一般怎么考？我上次错了{}分。",
        ],
        replies: &[
            "我算出来是{}，对吗？",
            "懂了，就是说先看条件再代入，对吧？",
            "不太明白第{}步，为什么可以这样做？",
            "我觉得答案是{}，因为两边都要除以同一个数。",
        ],
        praises: &[
            "很好，思路完全正确。你先找到了条件，再一步一步代入，这正是关键。结果是{}，检验一下：代回原来的式子，两边相等。",
            "差一点点。前面都对，只是最后一步把{}抄错了。再算一次，注意单位和符号，你会发现结果小了一些。",
            "可以这样理解。不过要记住，这个结论有前提条件，离开这个条件就不成立了。我们用数字{}试一试就能看出来。",
        ],
        steps: &[
            "第一步，先把题目里已知的量写下来，找出哪一个是要求的，哪一个是已知的，不要急着套公式。",
            "接着，把已知的量代入上面的关系。这里的$x={}$，单位要统一，否则后面的结果会差很多。",
            "然后化简。注意括号前面的负号，展开之后每一项都要变号，这是最容易丢分的地方。",
            "最后检验：把结果代回去，看看是不是合理。如果得到的数比{}还大，多半是前面抄错了。",
            "也可以换一个角度想：画一张图，把变化的量放在横轴上，不变的量用虚线标出来，关系就一目了然了。",
        ],
        examples: &[
            "举个例子：假设有{}个苹果，平均分给{}个同学，每人得到的数量就是两个数的商，余下的部分再继续分。",
            "例如当数值取{}的时候，左边等于右边，都可以写成$\\frac{a}{b}=\\frac{c}{d}$，所以等式成立；换成{}就不行了。",
            "生活中的例子：骑车每小时走{}公里，{}分钟能走多远？先把时间换成小时，再用速度乘以时间。",
        ],
        checks: &[
            "现在轮到你：如果把数字换成{}，结果会是多少？",
            "你能用自己的话说说，为什么第二步不能省略吗？",
            "想一想：如果条件反过来，结论还成立吗？",
        ],
    },
    Phrases {
        language: "en",
        questions: &[
            "I did not follow today's lesson on {}. Could you go through it once more from the beginning?",
            "We are doing {} this week. How do I start the exercise on page {} of the book?",
            "But why is that so? In {} I would have said that it is the other way round.",
            "Can I have another example of {}, with small numbers and something from everyday life?",
            "What do they usually ask about {} in a test? Last time I lost {} points on it.",
        ],
        replies: &[
            "I got {}. Is that right?",
            "So first I look at what is given and then I put it in, yes?",
            "I don't get step {}. Why may we do that?",
            "I think it is {}, because both sides are divided by the same thing.",
        ],
        praises: &[
            "Well done, that is exactly the idea. You looked at what was given first and then put it in one step at a time. The result is {}; check it by putting it back into the equation: both sides agree.",
            "Almost. Everything up to the last line is right, but there you copied {} with the wrong sign. Do that line once more, mind the units, and you will see that the result becomes a little smaller.",
            "You can see it that way. Remember, though, that it only holds under the condition that we wrote down first; without it, it fails, as you see when you try it with {}.",
        ],
        steps: &[
            "**Step 1.** Write down what is given and what you are looking for, before you reach for any formula.",
            "**Step 2.** Put what is given into the relation above. Here $x = {}$, and all units have to be the same, or else the result is off by a large factor.",
            "**Step 3.** Simplify. Mind the minus sign in front of the bracket: when you expand it, every term changes its sign, and that is where most points are lost.",
            "**Step 4.** Check the result by putting it back. If it is greater than {}, something was most likely copied wrongly on the way.",
            "Another way to see it is to draw a picture: put what changes on the horizontal axis, mark what stays the same by a dashed line, and the relation is plain to see.",
        ],
        examples: &[
            "For example, say that {} apples are shared by {} children. Each of them gets the quotient of the two numbers, and what is left over is cut and shared again.",
            "For example, at {} the left side equals the right side, both can be written as $\\frac{a}{b} = \\frac{c}{d}$, so the equation holds; at {} it does not.",
            "An example from everyday life: you cycle at {} km an hour. How far do you get in {} minutes? Turn the minutes into hours first, then multiply speed and time.",
        ],
        checks: &[
            "Now you: what would the result be with {} instead?",
            "Can you say in your own words why the second step must not be left out?",
            "Think about it: does the conclusion still hold if the condition is turned around?",
        ],
    },
];

/// How long a tutor's explanations are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    /// Of one thing in each.
    Short,
    /// Of three, which makes some 500 tokens.
    Long,
}

/// So many conversations of so many turns in each language, the same ones every time.
pub(crate) fn generated(each: usize, turns: usize, length: Length) -> Result<Vec<Talk>> {
    let notes = NOTES
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect::<Result<Vec<Note>>>()?;
    let mut talks = Vec::new();
    for phrases in &PHRASES {
        let notes: Vec<&Note> = notes
            .iter()
            .filter(|note| note.lang == phrases.language)
            .collect();
        for number in 0..each {
            let mut rng = Rng::with_seed((turns * 1_000 + number) as u64);
            talks.push(Talk {
                language: phrases.language.to_owned(),
                turns: (0..turns)
                    .map(|_| turn(phrases, &notes, length, &mut rng))
                    .collect(),
                probes: Vec::new(),
            });
        }
    }
    Ok(talks)
}

fn turn(phrases: &Phrases, notes: &[&Note], length: Length, rng: &mut Rng) -> Turn {
    let note = notes[rng.usize(..notes.len())];
    let after_s = pause(rng);
    if rng.usize(..3) == 0 {
        return Turn {
            after_s,
            question: one_of(phrases.replies, &note.subject, rng),
            answer: [phrases.praises, phrases.checks]
                .map(|of| one_of(of, &note.subject, rng))
                .join("\n\n"),
        };
    }
    let things = match length {
        Length::Short => 1,
        Length::Long => 3,
    };
    let mut paragraphs = Vec::new();
    for thing in 0..things {
        let explained = match thing {
            0 => note,
            _ => notes[rng.usize(..notes.len())],
        };
        paragraphs.push(explained.text.clone());
        for step in phrases.steps {
            if rng.usize(..3) > 0 {
                paragraphs.push(filled(step, &note.subject, rng));
            }
        }
        paragraphs.push(one_of(phrases.examples, &note.subject, rng));
    }
    paragraphs.push(one_of(phrases.checks, &note.subject, rng));
    Turn {
        after_s,
        question: one_of(phrases.questions, &note.subject, rng),
        answer: paragraphs.join("\n\n"),
    }
}

fn one_of(phrases: &[&str], subject: &str, rng: &mut Rng) -> String {
    filled(phrases[rng.usize(..phrases.len())], subject, rng)
}

/// A question's first blank is its subject, every other one a number.
fn filled(phrase: &str, subject: &str, rng: &mut Rng) -> String {
    let is_question = PHRASES.iter().any(|p| p.questions.contains(&phrase));
    let mut parts = phrase.split("{}");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (blank, part) in parts.enumerate() {
        if is_question && blank == 0 {
            text += subject;
        } else {
            text += &rng.u32(2..200).to_string();
        }
        text += part;
    }
    text
}

fn pause(rng: &mut Rng) -> u64 {
    let mut percent = rng.usize(..100);
    for (share, seconds) in PACE {
        if percent < share {
            return rng.u64(seconds);
        }
        percent -= share;
    }
    0
}

/// Where recorded conversations are looked for.
pub(crate) fn recorded_path() -> PathBuf {
    let folder = std::env::var_os("SPARKLE_EVAL_DATA");
    let folder = folder.map_or_else(|| root().join("../shared/data"), PathBuf::from);
    folder.join("dialogues.jsonl")
}

/// The recorded conversations; none where there is no such file. What one side says in several messages is
/// one message here; a question that nobody answered is left out. Their pace is that of the generated ones.
pub(crate) fn recorded() -> Result<Option<Vec<Talk>>> {
    let path = recorded_path();
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).context("the recorded conversations")?;
    let talks = text.lines().enumerate();
    let talks = talks.map(|(number, line)| dialogue(line, number as u64));
    Ok(Some(talks.collect::<Result<_>>()?))
}

fn dialogue(line: &str, seed: u64) -> Result<Talk> {
    #[derive(Deserialize)]
    struct Said {
        role: String,
        text: String,
    }
    #[derive(Deserialize)]
    struct Asked {
        turn: usize,
        needs_turn: usize,
    }
    #[derive(Deserialize)]
    struct Dialogue {
        lang: String,
        turns: Vec<Said>,
        probes: Vec<Asked>,
    }
    let Dialogue {
        lang,
        turns,
        probes,
    } = serde_json::from_str(line)?;
    let mut rng = Rng::with_seed(seed);
    let mut messages: Vec<(String, String)> = Vec::new();
    // Index in the file to position in the conversation.
    let mut positions = BTreeMap::new();
    let begun = turns.into_iter().enumerate();
    for (index, Said { role, text }) in begun.skip_while(|(_, said)| said.role != "user") {
        match messages.last_mut() {
            Some((before, so_far)) if *before == role => *so_far += &format!("\n{text}"),
            _ => messages.push((role, text)),
        }
        positions.insert(index, messages.len());
    }
    let pairs = messages.chunks_exact(2).filter_map(|pair| match pair {
        [(_, question), (_, answer)] => Some(Turn {
            after_s: pause(&mut rng),
            question: question.clone(),
            answer: answer.clone(),
        }),
        _ => None,
    });
    let turns: Vec<Turn> = pairs.collect();
    let probes = probes.iter().filter_map(|probe| {
        let turn = (positions.get(&probe.turn)? - 1) / 2;
        let needs = *positions.get(&probe.needs_turn)? as u64;
        (turn < turns.len()).then_some(Probe { turn, needs })
    });
    Ok(Talk {
        language: lang,
        probes: probes.collect(),
        turns,
    })
}
