//! The learners of one stack: each with a connection, a profile and conversations, one question at a time.

use std::{
    collections::HashMap,
    iter::Sum,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use serde_json::{Value, json};
use sparkle_tests::{
    Client,
    bench::{Provider, Stack, Store},
    http, request,
};

use crate::{
    draw::{Ask, Sharing, depth, language},
    questions::Question,
};

/// Text of answers: what it says is of no interest here, how long it is pays for itself.
const SENTENCES: [&str; 8] = [
    "Start from what is given and write it down. ",
    "先把已知条件列出来，再看要求的是什么。",
    "Each step follows from the one before it. ",
    "这里用到的规律课本上有，值得记住。",
    "A small drawing often helps here. ",
    "检查一下单位和符号是否一致。",
    "Compare the result with a rough guess. ",
    "换一个数字再试一次，看看结论是否还成立。",
];
/// Fewest and most sentences of an answer: about 50 to 200 tokens.
const LENGTH: std::ops::RangeInclusive<usize> = 4..=16;
/// How long the provider takes to begin, in milliseconds.
pub(crate) const OPENS_AFTER_MS: std::ops::RangeInclusive<u64> = 200..=900;
/// More than what a stream can call for, summaries included, where each question is one call.
const SPARE_ORDERS: usize = 200;

/// What the learners may get from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing: every question is asked of the model.
    Bypass,
    /// What they share answers with others for.
    Cached(Sharing),
}

/// Whether a profile goes into prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profiles {
    /// Each learner has one.
    On,
    /// The stack knows of none.
    Absent,
}

/// How a question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Fresh,
    Exact,
    Semantic,
}

/// A question and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    /// Where it is in the stream.
    pub(crate) place: usize,
    pub(crate) level: Level,
    pub(crate) similarity: f64,
    /// Which question of the stream the answer was made for: itself if it is fresh.
    pub(crate) answers: usize,
    /// From sending.
    pub(crate) first_delta: Duration,
    /// From sending.
    pub(crate) done: Duration,
    pub(crate) bill: Bill,
}

/// What calls cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bill {
    pub(crate) tokens: u64,
    pub(crate) cost_microusd: u64,
}

impl Sum for Bill {
    fn sum<I: Iterator<Item = Self>>(bills: I) -> Self {
        bills.fold(Self::default(), |sum, bill| Self {
            tokens: sum.tokens + bill.tokens,
            cost_microusd: sum.cost_microusd + bill.cost_microusd,
        })
    }
}

/// One answer as it came over the socket.
#[derive(Debug)]
struct Heard {
    level: Level,
    similarity: f64,
    response_id: String,
    first_delta: Duration,
    done: Duration,
    bill: Bill,
}

/// A stack with its provider and its learners.
pub(crate) struct School {
    stack: Stack,
    _provider: Provider,
    clients: Vec<Client>,
    way: Way,
    pub(crate) profiles: Profiles,
    /// Which question of the stream each answer of the provider was made for.
    made_for: HashMap<String, usize>,
}

impl School {
    /// Starts all, and has the provider's pauses and lengths of answers drawn for as many calls.
    pub(crate) async fn gather(
        programs: &Path,
        way: Way,
        learners: usize,
        calls: usize,
        seed: u64,
    ) -> Result<Self> {
        let provider = Provider::start(programs).await?;
        order(&provider, way, calls, seed).await?;
        let base_url = Some(provider.base_url.as_str());
        let stack = Stack::start_with(programs, Store::Memory, base_url, |command| match way {
            Way::Cached(Sharing::Shared) => command.env("SPARKLE_CACHE_SHARED", "1"),
            Way::Bypass | Way::Cached(Sharing::Private) => command,
        })
        .await?;
        let (mut clients, mut profiles) = (Vec::with_capacity(learners), Profiles::On);
        for learner in 0..learners {
            let token = stack.token_of(&format!("learner-{learner}"), "pro").await?;
            let mut client = stack.process.connect(&token).await?;
            profiles = introduce(&mut client, learner).await?;
            clients.push(client);
        }
        Ok(Self {
            stack,
            _provider: provider,
            clients,
            way,
            profiles,
            made_for: HashMap::new(),
        })
    }

    /// Has one learner ask, and waits for the end of the answer.
    pub(crate) async fn ask(
        &mut self,
        questions: &[Question],
        place: usize,
        ask: &Ask,
    ) -> Result<Turn> {
        let message = &questions[ask.question].forms[ask.form];
        let policy = match self.way {
            Way::Bypass => "bypass",
            Way::Cached(_) => "",
        };
        let payload = json!({
            "session_id": ask.session,
            "message": message,
            "language": language(ask.learner).tag(),
            "cache": policy,
        });
        let client = self.clients.get_mut(ask.learner).context("no learner")?;
        let heard = heard(client, payload).await;
        let heard = heard.with_context(|| format!("question {place}: {message}"))?;
        if heard.level == Level::Fresh {
            let before = self.made_for.insert(heard.response_id.clone(), place);
            ensure!(before.is_none(), "two answers are {}", heard.response_id);
        }
        let answers = self.made_for.get(&heard.response_id).copied();
        Ok(Turn {
            place,
            level: heard.level,
            similarity: heard.similarity,
            answers: answers.context("an answer that nobody was given before")?,
            first_delta: heard.first_delta,
            done: heard.done,
            bill: heard.bill,
        })
    }

    /// Ends it.
    pub(crate) async fn dismiss(self) -> Result<()> {
        self.stack.process.stop().await
    }
}

/// Tells the provider how the next calls are to be answered.
async fn order(provider: &Provider, way: Way, calls: usize, seed: u64) -> Result<()> {
    let mut rng = Rng::with_seed(seed);
    let url = provider.base_url.replace("/v1", "/script?times=1");
    let http = http();
    for _ in 0..calls + SPARE_ORDERS {
        let length = rng.usize(LENGTH);
        let pieces: Vec<&str> = (0..length).filter_map(|_| rng.choice(SENTENCES)).collect();
        let open_pause_ms = match way {
            // Only what it costs is of interest.
            Way::Bypass => 0,
            Way::Cached(_) => rng.u64(OPENS_AFTER_MS),
        };
        let script = json!({ "pieces": pieces, "open_pause_ms": open_pause_ms });
        let answer = http.post(&url).json(&script).send().await?;
        answer.error_for_status()?;
    }
    Ok(())
}

/// Tells the stack who a learner is, if it asks.
async fn introduce(client: &mut Client, learner: usize) -> Result<Profiles> {
    let profile = json!({
        "nickname": format!("Learner {learner}"),
        "depth": depth(learner),
        "curiosity": 60,
    });
    let frame = request("profile.update", "introduction", profile);
    client.send(frame).await?;
    let answer = client.frame().await?;
    if answer["payload"]["code"] == "UNKNOWN_TYPE" {
        return Ok(Profiles::Absent);
    }
    ensure!(answer["type"] == "profile", "{answer}");
    Ok(Profiles::On)
}

/// Asks and listens until the answer is over.
async fn heard(client: &mut Client, payload: Value) -> Result<Heard> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let frame = request("chat", &id, payload);
    let sent_at = Instant::now();
    client.send(frame).await?;
    let (mut first_delta, mut bill) = (None, Bill::default());
    loop {
        let frame = client.frame().await?;
        let payload = &frame["payload"];
        match frame["type"].as_str() {
            Some("delta") => first_delta = first_delta.or_else(|| Some(sent_at.elapsed())),
            Some("usage") => {
                let number = |name: &str| payload[name].as_u64().unwrap_or_default();
                bill = Bill {
                    tokens: number("total_tokens"),
                    cost_microusd: number("cost_microusd"),
                };
            }
            Some("done") => {
                ensure!(frame["request_id"] == id.as_str(), "of another: {frame}");
                ensure!(payload["finish_reason"] == "stop", "{frame}");
                let response_id = payload["response_id"].as_str().context("no id")?;
                return Ok(Heard {
                    level: match payload["cache"].as_str() {
                        Some("exact") => Level::Exact,
                        Some("semantic") => Level::Semantic,
                        _ => Level::Fresh,
                    },
                    similarity: payload["similarity"].as_f64().unwrap_or_default(),
                    response_id: response_id.to_owned(),
                    first_delta: first_delta.context("an answer without text")?,
                    done: sent_at.elapsed(),
                    bill,
                });
            }
            Some("error") => bail!("{frame}"),
            _ => {}
        }
    }
}
