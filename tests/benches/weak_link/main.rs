//! How soon and how steadily text appears on a weak link, beside a server that sends JSON per token.
//!
//!     cargo bench -p sparkle-tests --bench weak_link                 what `cargo run` gives a newcomer
//!     cargo bench -p sparkle-tests --bench weak_link -- --release    the same, of release binaries
//!
//! Every answer is asked for three times at once, each over a link of its own that is narrow, long and
//! stalls at the same moments (see `link.rs`): of Sparkle in Protobuf and in JSON, and of the peer. All
//! ask the same provider. A token's delay is from when the provider hands it out to when the client has
//! its last byte as text (R-CONN-9).

mod chance;
mod link;
mod peer;
mod provider;

use std::{io::Write, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sparkle_core::frame::{Codec, Format};
use sparkle_tests::{
    Client,
    bench::{Profile, Stack, Store, against, describe_machine, percentile, say},
    request,
};
use sparkle_wire::frame;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    chance::Chance,
    link::{Link, MODEL},
    peer::Peer,
    provider::Pacer,
};

/// Each is one answer in each language at each pace, with its own text and stalls.
const SEEDS: [u64; 4] = [1, 2, 3, 4];
const TOKENS: usize = 400;
/// Tokens a second: a fast model, and a slow one.
const PACES: [u32; 2] = [60, 30];
const LANGUAGES: [Language; 2] = [Language::English, Language::Chinese];
const SERVERS: [Server; 3] = [
    Server::Peer,
    Server::Sparkle(Codec::Json),
    Server::Sparkle(Codec::Protobuf),
];
/// R-CONN-9: at least this much lower than the peer's.
const PERCENT_LOWER: u128 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    English,
    Chinese,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Peer,
    Sparkle(Codec),
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Peer => "JSON per token",
            Self::Sparkle(Codec::Json) => "Sparkle, JSON",
            Self::Sparkle(Codec::Protobuf) => "Sparkle, Protobuf",
        }
    }
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// An answer that no model gave, of tokens as long as a model's: four to five characters of
    /// English, one to two of Chinese.
    fn tokens(self, seed: u64) -> Vec<String> {
        const ENGLISH: [&str; 20] = [
            " the",
            " of",
            " a",
            " deriv",
            "ative",
            " is",
            " function",
            " slope",
            " at",
            " point",
            " which",
            " we",
            " can",
            " change",
            " rate",
            " limit",
            ",",
            ".",
            " tangent",
            " line",
        ];
        const CHINESE: [&str; 20] = [
            "的", "导数", "是", "函数", "在", "一点", "变化", "率", "我们", "可以", "，", "。",
            "切线", "斜率", "极限", "因此", "这", "表示", "当", "时",
        ];
        let words = match self {
            Self::English => &ENGLISH,
            Self::Chinese => &CHINESE,
        };
        let mut chance = Chance::of(seed);
        let token = |_| chance.one_of(words).to_owned();
        (0..TOKENS).map(token).collect()
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut profile = Profile::Debug;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--release" => profile = Profile::Release,
            other => bail!("{other} is not [--release]"),
        }
    }
    describe_machine(profile)?;
    let programs = profile.build()?;
    let provider = Pacer::start().await?;
    let stack = Stack::start(&programs, Store::File, Some(&provider.base_url)).await?;
    let peer = Peer::start(&provider.base_url).await?;
    say(&format!(
        "stack        authorizer, rate limit, durable turns, stored frames, logs and metrics on\n\
         store        dynoxide in a file of a fresh folder\n\
         peer         six JSON fields for each token, sent at once; stores and checks nothing\n\
         link         {MODEL}\n\
         answers      {TOKENS} tokens each, seeds {SEEDS:?}; {} at once, each over a link of its own\n",
        LANGUAGES.len() * SERVERS.len(),
    ))?;
    let place = Place {
        sparkle: stack.process.ws.clone(),
        token: stack.token("learner").await?,
        peer: peer.address,
    };
    for pace in PACES {
        let heard = hear_all(&place, &provider, pace).await?;
        for language in LANGUAGES {
            table(language, pace, &heard)?;
        }
    }
    stack.process.stop().await?;
    say(
        "delays are per token, all answers of a row together; bytes are on the link, overhead included",
    )
}

/// Where the servers are.
#[derive(Debug, Clone)]
struct Place {
    sparkle: String,
    token: String,
    peer: SocketAddr,
}

/// One answer as its client saw it.
#[derive(Debug)]
struct Heard {
    language: Language,
    server: Server,
    delays: Vec<Duration>,
    /// What no server can be faster than on this link.
    least: Vec<Duration>,
    bytes: usize,
    frames: usize,
    longest_gap: Duration,
}

async fn hear_all(place: &Place, provider: &Pacer, pace: u32) -> Result<Vec<Heard>> {
    let mut all = Vec::new();
    for seed in SEEDS {
        writeln!(std::io::stderr(), "{pace} tokens a second, seed {seed}")?;
        let mut at_once = JoinSet::new();
        for language in LANGUAGES {
            for server in SERVERS {
                let message = format!("{} {} {pace} {seed}", server.name(), language.name());
                provider.plan(&message, language.tokens(seed), pace);
                let place = place.clone();
                at_once.spawn(async move {
                    let told = listen(&place, server, seed, &message).await;
                    (language, server, message, told)
                });
            }
        }
        while let Some(told) = at_once.join_next().await {
            let (language, server, message, told) = told?;
            let told = told.with_context(|| message.clone())?;
            let plan = provider.done(&message)?;
            ensure!(told.text == plan.tokens.concat(), "{message}: other text");
            all.push(Heard {
                language,
                server,
                delays: delays(&plan, &told)?,
                least: plan.left_at.iter().map(|&at| told.link.least(at)).collect(),
                bytes: told.link.bytes_down(),
                frames: told.frames,
                longest_gap: longest_gap(&told),
            });
        }
    }
    Ok(all)
}

/// What came, and when.
#[derive(Debug)]
struct Told {
    link: Link,
    text: String,
    /// How many bytes of text were there at that moment.
    marks: Vec<(Instant, usize)>,
    frames: usize,
}

/// Asks one server over a weak link of its own, and listens until the answer is over.
async fn listen(place: &Place, server: Server, seed: u64, message: &str) -> Result<Told> {
    let address = match server {
        Server::Peer => place.peer,
        Server::Sparkle(_) => place
            .sparkle
            .replace("ws://", "")
            .replace('/', "")
            .parse()?,
    };
    let link = Link::start(address, seed).await?;
    let protocols = match server {
        // It offers no subprotocol, so none may be asked for.
        Server::Peer => ("User-Agent", "weak-link".to_owned()),
        Server::Sparkle(_) => {
            let protocols = format!("sparkle.v2, bearer.{}", place.token);
            ("Sec-WebSocket-Protocol", protocols)
        }
    };
    let url = format!("ws://{}/", link.address);
    let mut client = Client::connect(&url, protocols.0, &protocols.1).await?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    let question = match server {
        Server::Sparkle(Codec::Protobuf) => protobuf_chat(&id, &id, message),
        _ => request("chat", &id, json!({ "session_id": id, "message": message })),
    };
    link.begin();
    client.send(question).await?;
    let mut told = Told {
        link,
        text: String::new(),
        marks: Vec::new(),
        frames: 0,
    };
    loop {
        let text = client.receive().await?;
        let now = Instant::now();
        told.frames += 1;
        let frame = read(&text)?;
        match frame["type"].as_str() {
            Some("delta") => {
                let text = frame["payload"]["text"].as_str();
                told.text.push_str(text.unwrap_or_default());
                told.marks.push((now, told.text.len()));
            }
            Some("done") => return Ok(told),
            Some("ack" | "usage" | "status") => {}
            _ => bail!("an answer failed: {frame}"),
        }
    }
}

/// A frame in either codec.
fn read(text: &str) -> Result<Value> {
    if text.starts_with('{') {
        return Ok(serde_json::from_str(text)?);
    }
    let bytes = BASE64_STANDARD.decode(text)?;
    let json = frame::decode_stored(&bytes, Format::default()).context("not Protobuf")?;
    Ok(serde_json::from_str(&json)?)
}

/// A `chat` as base64 of `WebSocketMessage { version=1, type=2, payload=3, request_id=5 }`.
fn protobuf_chat(id: &str, session: &str, message: &str) -> String {
    let payload = [field(1, session.as_bytes()), field(3, message.as_bytes())].concat();
    let envelope = [
        field(1, frame::VERSION.as_bytes()),
        field(2, b"chat"),
        field(3, &payload),
        field(5, id.as_bytes()),
    ];
    BASE64_STANDARD.encode(envelope.concat())
}

/// A field of Protobuf that holds bytes, fewer than 16,384 of them.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let (low, high) = (value.len() % 128, value.len() / 128);
    let length = [low, high].map(|part| u8::try_from(part).unwrap_or(u8::MAX));
    let length = match length {
        [low, 0] => vec![low],
        [low, high] => vec![low | 0x80, high],
    };
    [vec![number << 3 | 2], length, value.to_vec()].concat()
}

/// How long each token was under way.
fn delays(plan: &provider::Plan, told: &Told) -> Result<Vec<Duration>> {
    ensure!(
        plan.left_at.len() == plan.tokens.len(),
        "tokens that never left"
    );
    let (mut end, mut marks) = (0, told.marks.iter().peekable());
    let mut delays = Vec::new();
    for (token, left_at) in plan.tokens.iter().zip(&plan.left_at) {
        end += token.len();
        while marks.next_if(|(_, there)| *there < end).is_some() {}
        let (seen_at, _) = marks.peek().context("text that never came")?;
        delays.push(seen_at.saturating_duration_since(*left_at));
    }
    Ok(delays)
}

fn longest_gap(told: &Told) -> Duration {
    let later = told.marks.iter().skip(1);
    let gaps = later
        .zip(&told.marks)
        .map(|(later, earlier)| later.0 - earlier.0);
    gaps.max().unwrap_or_default()
}

fn table(language: Language, pace: u32, heard: &[Heard]) -> Result<()> {
    let title = format!("{}, {pace} tokens a second", language.name());
    say(&format!(
        "{title:<28}{:>10}{:>10}{:>10}{:>12}{:>10}{:>10}",
        "p50 ms", "p95 ms", "max ms", "longest gap", "frames", "bytes"
    ))?;
    let of = |server| {
        let mine = heard.iter();
        mine.filter(move |one| one.server == server && one.language == language)
    };
    let delay = |server, percent| {
        let delays: Vec<_> = of(server).flat_map(|one| one.delays.clone()).collect();
        percentile(&delays, percent)
    };
    let least: Vec<_> = of(Server::Peer).flat_map(|one| one.least.clone()).collect();
    let [p50, p95, max] = [50, 95, 100].map(|percent| percentile(&least, percent).as_millis());
    say(&format!(
        "  {:<26}{p50:>10}{p95:>10}{max:>10}",
        "the link alone"
    ))?;
    for server in SERVERS {
        let answers = of(server).count().max(1);
        let gap = of(server).map(|one| one.longest_gap).max();
        say(&format!(
            "  {:<26}{:>10}{:>10}{:>10}{:>12}{:>10}{:>10}",
            server.name(),
            delay(server, 50).as_millis(),
            delay(server, 95).as_millis(),
            delay(server, 100).as_millis(),
            gap.unwrap_or_default().as_millis(),
            of(server).map(|one| one.frames).sum::<usize>() / answers,
            of(server).map(|one| one.bytes).sum::<usize>() / answers,
        ))?;
    }
    for codec in [Codec::Protobuf, Codec::Json] {
        for percent in [50, 95] {
            let ours = delay(Server::Sparkle(codec), percent).as_micros();
            let theirs = delay(Server::Peer, percent).as_micros().max(1);
            let is_met = ours * 100 <= theirs * (100 - PERCENT_LOWER);
            let target = format!(
                "R-CONN-9: p{percent} {PERCENT_LOWER} % lower, {}",
                Server::Sparkle(codec).name()
            );
            against(
                &target,
                &format!("{} % of the peer's", ours * 100 / theirs),
                is_met,
            )?;
        }
    }
    say("")
}
