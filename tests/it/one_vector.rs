//! No answer ever crosses users, even with an embedder that maps every text to one vector: whatever was asked is then
//! as near as can be to whatever is asked, and only the key and the verifier stand between.
//!
//! Each set of questions is asked in a role of its own, so in a namespace of its own: no more than the nearest few of
//! a namespace are judged, and here every one shall be.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::{Answer, Client, Stack};

use crate::{
    cache::{kept, level},
    endpoint::{DIMENSION, Endpoint, number_of, text_of},
};

/// A learner, and what nobody else shall hear of.
struct Learner {
    id: &'static str,
    name: &'static str,
    name_zh: &'static str,
    phone: &'static str,
    mail: &'static str,
    street: &'static str,
    street_zh: &'static str,
}

const LEARNERS: [Learner; 3] = [
    Learner {
        id: "ann",
        name: "Ann Miller",
        name_zh: "王小明",
        phone: "5550134778",
        mail: "ann@example.org",
        street: "12 Elm Street",
        street_zh: "幸福路12号",
    },
    Learner {
        id: "ben",
        name: "Ben Smith",
        name_zh: "李大伟",
        phone: "5550199021",
        mail: "ben@example.org",
        street: "47 Oak Avenue",
        street_zh: "和平街47号",
    },
    Learner {
        id: "chi",
        name: "Chi Wong",
        name_zh: "陈红",
        phone: "5550162350",
        mail: "chi@example.org",
        street: "3 Mill Lane",
        street_zh: "中山路3号",
    },
];

impl Learner {
    fn facts(&self) -> [&'static str; 4] {
        [self.phone, self.mail, self.street, self.street_zh]
    }
}

/// Whether an answer may be given to others, as a person sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Shareable,
    Private,
}

/// A question.
#[derive(Debug, Clone)]
struct Question {
    text: String,
    /// Equal for questions that ask the same, as a person sees it.
    meaning: String,
    sharing: Sharing,
}

/// Questions that hold nothing of anybody, each with what it asks: paraphrases and near misses.
const HARMLESS: [&[(&str, &str)]; 6] = [
    &[
        ("为什么天空是蓝色的？", "blue sky"),
        ("天空为什么是蓝色的呢？", "blue sky"),
        ("为什么海水是蓝色的？", "blue sea"),
        ("为什么天空是红色的？", "red sky"),
    ],
    &[
        ("How does a vaccine work?", "vaccine"),
        ("How do vaccines work?", "vaccine"),
        ("How does a virus work?", "virus"),
        ("How does a vacuum cleaner work?", "vacuum cleaner"),
    ],
    &[
        ("How do I convert miles to kilometers?", "miles"),
        ("How can I convert miles to kilometers?", "miles"),
        ("How do I convert kilometers to miles?", "kilometers"),
        ("How do I convert meters to kilometers?", "meters"),
    ],
    &[
        ("3的平方是多少？", "square of 3"),
        ("4的平方是多少？", "square of 4"),
        ("3的立方是多少？", "cube of 3"),
    ],
    &[
        ("哪些动物会冬眠？", "hibernate"),
        ("哪些动物不会冬眠？", "do not hibernate"),
        ("哪些植物会冬眠？", "plants"),
    ],
    // No rule knows a name for one: each is a question of its own, and answered without knowing anybody.
    &[
        ("Where does Ann Miller live?", "home of Ann"),
        ("Where does Ben Smith live?", "home of Ben"),
        ("王小明住在哪里？", "home of 小明"),
        ("李大伟住在哪里？", "home of 大伟"),
    ],
];

/// How many sets of questions hold something private.
const PRIVATE: usize = 5;

/// What a learner is asked about in a set, first in its own words, then in others.
fn private(set: usize, of: &Learner) -> Vec<Question> {
    let Learner {
        id,
        name,
        name_zh,
        phone,
        mail,
        street,
        street_zh,
    } = of;
    let texts = match set {
        0 => vec![
            format!("Which city is the phone number {phone} from?"),
            format!("What city is the phone number {phone} from?"),
        ],
        1 => vec![
            format!("电话号码{phone}是哪个城市的？"),
            format!("电话号码{phone}是哪个城市的呢？"),
        ],
        2 => vec![
            format!("How should one begin a letter to {mail}?"),
            format!("How should one start a letter to {mail}?"),
        ],
        3 => vec![format!(
            "My name is {name} and I live at {street}. What is photosynthesis?"
        )],
        _ => vec![
            format!("{name_zh}的家庭地址是{street_zh}，光合作用是什么？"),
            format!("我叫{name_zh}，我家在{street_zh}，什么是光合作用？"),
        ],
    };
    let question = |text| Question {
        text,
        meaning: format!("{id} in {set}"),
        sharing: Sharing::Private,
    };
    texts.into_iter().map(question).collect()
}

/// What a learner asks in a set: of itself, what each other asked of itself, and what anybody may ask.
fn of_private_set(set: usize, learner: &Learner) -> Vec<Question> {
    let mut questions = private(set, learner);
    let others = LEARNERS.iter().filter(|other| other.id != learner.id);
    questions.extend(others.flat_map(|other| private(set, other).into_iter().next()));
    let (text, meaning) = match set {
        0 | 2 => ("Which city is the largest one in France?", "Paris"),
        1 => ("法国最大的城市是哪个城市？", "Paris"),
        3 => ("What is photosynthesis?", "photosynthesis"),
        _ => ("光合作用是什么？", "photosynthesis"),
    };
    questions.push(Question {
        text: text.to_owned(),
        meaning: meaning.to_owned(),
        sharing: Sharing::Shareable,
    });
    questions
}

fn harmless(set: &[(&str, &str)]) -> impl Iterator<Item = Question> {
    set.iter().map(|(text, meaning)| Question {
        text: (*text).to_owned(),
        meaning: (*meaning).to_owned(),
        sharing: Sharing::Shareable,
    })
}

/// Every set with its role, and what a learner asks in it.
fn sets(learner: &Learner) -> Vec<(String, Vec<Question>)> {
    let harmless = HARMLESS.iter().enumerate().map(|(set, questions)| {
        let questions = harmless(questions).collect();
        (format!("harmless-{set}"), questions)
    });
    let private = (0..PRIVATE).map(|set| (format!("private-{set}"), of_private_set(set, learner)));
    harmless.chain(private).collect()
}

/// What became of all that was asked.
#[derive(Debug, Default)]
struct Record {
    /// By the number of an answer: who was given it first, and for what.
    given: BTreeMap<usize, (&'static str, Question)>,
    /// Hits, by their level and by whether another had asked first.
    hits: BTreeMap<(String, &'static str), usize>,
}

impl Record {
    /// Takes an answer in, and fails if it is not the learner's to have.
    fn take(
        &mut self,
        learner: &Learner,
        question: &Question,
        answer: &Answer,
        is_shared: bool,
    ) -> Result<()> {
        let seen = format!("{} asked {question:?} and got {}", learner.id, answer.text);
        for other in LEARNERS.iter().filter(|other| other.id != learner.id) {
            let told = |fact: &&str| answer.text.contains(*fact) && !question.text.contains(*fact);
            ensure!(!other.facts().iter().any(told), "a fact was told: {seen}");
        }
        let number = number_of(&answer.text)?;
        let level = level(answer);
        let Some((first, answered)) = self.given.get(&number) else {
            ensure!(level == "none", "{level} of nothing: {seen}");
            ensure!(answer.text == text_of(number, &question.text), "{seen}");
            self.given.insert(number, (learner.id, question.clone()));
            return Ok(());
        };
        ensure!(level != "none", "an answer again: {seen}");
        ensure!(answered.meaning == question.meaning, "another's: {seen}");
        let is_own = *first == learner.id;
        let may_cross = is_shared
            && [answered, question]
                .iter()
                .all(|question| question.sharing == Sharing::Shareable);
        ensure!(is_own || may_cross, "it crossed from {first}: {seen}");
        let whose = if is_own { "own" } else { "another's" };
        *self.hits.entry((level.to_owned(), whose)).or_default() += 1;
        Ok(())
    }

    /// Takes in what a lookup shows; whether it is an answer. Only what the learner was given first may be shown.
    fn show(&self, learner: &Learner, question: &Question, shown: &Value) -> Result<bool> {
        let Some(text) = shown["answer"].as_str() else {
            ensure!(*shown == json!({ "level": "none" }), "{shown}");
            return Ok(false);
        };
        let seen = format!("{} looked for {question:?} and saw {text}", learner.id);
        let (first, answered) = self.given.get(&number_of(text)?).context("of nobody")?;
        ensure!(*first == learner.id, "it crossed from {first}: {seen}");
        ensure!(answered.meaning == question.meaning, "another's: {seen}");
        Ok(true)
    }

    fn hits(&self, whose: &str) -> usize {
        let hits = self.hits.iter().filter(|((_, of), _)| *of == whose);
        hits.map(|(_, count)| count).sum()
    }
}

async fn ask(client: &mut Client, session: &str, role: &str, text: &str) -> Result<Answer> {
    let payload = json!({ "session_id": session, "message": text, "role": role });
    let id = client.request("chat", payload).await?;
    client.answer(&id).await
}

/// Has every learner ask all there is, each question in a conversation of its own, and look for all of it.
async fn school(stack: &Stack, is_shared: bool) -> Result<Record> {
    let mut record = Record::default();
    let mut clients = Vec::new();
    for learner in &LEARNERS {
        clients.push(stack.connect(learner.id).await?);
    }
    let sets: Vec<_> = LEARNERS.iter().map(sets).collect();
    for place in 0..sets[0].len() {
        for ((learner, client), sets) in LEARNERS.iter().zip(&mut clients).zip(&sets) {
            let (role, questions) = &sets[place];
            for (number, question) in questions.iter().enumerate() {
                let session = format!("{role}-{number}");
                let answer = ask(client, &session, role, &question.text).await?;
                record.take(learner, question, &answer, is_shared)?;
            }
        }
    }
    let mut shown = 0;
    for ((learner, client), sets) in LEARNERS.iter().zip(&mut clients).zip(&sets) {
        for (role, questions) in sets {
            for question in questions {
                let payload = json!({ "message": question.text, "role": role });
                let found = client.ask("lookup", payload).await?;
                shown += usize::from(record.show(learner, question, &found["payload"])?);
            }
        }
    }
    ensure!(shown > LEARNERS.len(), "lookups show {shown} answers");
    Ok(record)
}

/// The candidates of a stack, which all have the one vector.
async fn candidates(stack: &Stack) -> Result<Vec<Value>> {
    let mut entries = stack.items("CacheTable").await?;
    entries.retain(|entry| entry.get("vector").is_some());
    let vectors: BTreeSet<_> = entries
        .iter()
        .map(|entry| entry["vector"].to_string())
        .collect();
    ensure!(vectors.len() == 1, "{vectors:?}");
    for entry in &entries {
        let mark = entry["entry"].as_str().context("no entry")?;
        ensure!(mark.contains(&format!("x{DIMENSION}/")), "{mark}");
    }
    Ok(entries)
}

/// What everybody may be given holds nothing of a learner.
async fn nothing_private_is_shared(stack: &Stack) -> Result<usize> {
    let mut entries = stack.items("CacheTable").await?;
    entries.retain(|entry| entry["scope"] == "everybody");
    for entry in &entries {
        let text = entry.to_string();
        let facts = LEARNERS.iter().flat_map(Learner::facts);
        for fact in facts {
            ensure!(!text.contains(fact), "{entry}");
        }
    }
    Ok(entries.len())
}

#[tokio::test]
async fn no_answer_crosses_learners_even_if_all_texts_have_one_vector() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    let stack = endpoint.options().start().await?;
    let record = school(&stack, false).await?;
    assert_eq!(record.hits("another's"), 0);
    ensure!(record.hits.contains_key(&("semantic".to_owned(), "own")));
    assert_eq!(nothing_private_is_shared(&stack).await?, 0);
    let candidates = candidates(&stack).await?;
    let asked = endpoint.asked();
    ensure!(candidates.len() > 3 * LEARNERS.len(), "{candidates:?}");
    for candidate in &candidates {
        let question = candidate["question"].as_str().context("no question")?;
        ensure!(asked.texts.iter().any(|text| text == question));
    }
    Ok(())
}

#[tokio::test]
async fn only_what_may_be_shared_crosses_learners_where_all_texts_have_one_vector() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    let options = endpoint.options().variable("SPARKLE_CACHE_SHARED", "1");
    let stack = options.start().await?;
    let record = school(&stack, true).await?;
    ensure!(
        record
            .hits
            .contains_key(&("semantic".to_owned(), "another's")),
        "{:?}",
        record.hits
    );
    ensure!(record.hits("own") > 0, "{:?}", record.hits);
    ensure!(nothing_private_is_shared(&stack).await? > HARMLESS.len());
    candidates(&stack).await?;
    Ok(())
}

/// The verifier alone tells them apart: they are one learner's, in one namespace, with one vector.
#[tokio::test]
async fn different_questions_of_one_learner_with_one_vector_keep_their_own_answers() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    let stack = endpoint.options().start().await?;
    let mut ann = stack.connect("ann").await?;
    let mut record = Record::default();
    let questions: Vec<Question> = HARMLESS.iter().flat_map(|set| harmless(set)).collect();
    // The first one of each set is the first that is kept in its namespace, so that it is judged for all others.
    for (place, set) in HARMLESS.iter().enumerate() {
        let first = harmless(set).next().context("an empty set")?;
        let role = format!("first-{place}");
        let answer = ask(&mut ann, &role, &role, &first.text).await?;
        assert_eq!(level(&answer), "none");
        record.take(&LEARNERS[0], &first, &answer, false)?;
        kept(&stack, place + 1).await?;
        for other in questions.iter().filter(|other| other.text != first.text) {
            // It is answered by what is kept, or not at all: nothing more is kept.
            let payload = json!({ "message": other.text, "role": role, "cache": "only" });
            let id = ann.request("chat", payload).await?;
            let answer = ann.answer(&id).await?;
            if answer.last()["type"] == "done" {
                record.take(&LEARNERS[0], other, &answer, false)?;
            }
        }
    }
    ensure!(record.hits("own") > 0, "{:?}", record.hits);
    assert_eq!(record.given.len(), HARMLESS.len());
    Ok(())
}
