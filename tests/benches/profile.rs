//! What keeping profiles in warm instances saves (R-PROF-2).
//!
//!     cargo bench -p sparkle-tests --bench profile
//!
//! Learners sit down for a few questions each, two at a time, on a real stack; now and then one changes their
//! profile. A relay between the functions and DynamoDB counts the reads of profiles. Without copies each turn
//! would be one; the functions' own count of where a profile came from is printed beside it. Then a hit and a
//! miss are timed by themselves, and the rule is played over more instances than a laptop has.

use std::{
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Response, StatusCode},
};
use fastrand::Rng;
use serde_json::{Value, json};
use sparkle_aws::{boot, learners::Learners};
use sparkle_core::{
    id::UserId,
    profile::{COPIES_MAX, Copies, Stamp, UserContext},
    unit::Timestamp,
};
use sparkle_tests::{
    Client,
    bench::{Profile, Stack, Store, against, describe_machine, head, report, say, untouched},
    get, http, processes,
};
use tokio::{net::TcpListener, task::JoinSet};

const LEARNERS: usize = 20;
const SITTINGS_EACH: usize = 3;
const TURNS_A_SITTING: usize = 6;
/// Sittings that go on at once.
const SEATS: usize = 2;
/// One of so many turns follows a change of the profile.
const TURNS_A_CHANGE: usize = 40;
const SEED: u64 = 6;
/// R-PROF-2.
const HIT_RATE_MIN: f64 = 80.0;
const SAVED_MIN: f64 = 70.0;
const HIT_TIME_MAX: Duration = Duration::from_millis(50);
const TIMED: usize = 500;
/// Tells this program to time reads, in a process that has a function's environment.
const TIMING: &str = "SPARKLE_BENCH_TIMING";

#[tokio::main]
async fn main() -> Result<()> {
    if std::env::var_os(TIMING).is_some() {
        return time().await;
    }
    describe_machine(Profile::Debug)?;
    let programs = Profile::Debug.build()?;
    // The first stack is only the database of the second.
    let database = Stack::start(&programs, Store::Memory, None).await?;
    let relay = Relay::start(&database.process.dynamodb).await?;
    let stack = Stack::start_with(&programs, Store::Memory, None, |command| {
        command.env("SPARKLE_DYNAMODB_ENDPOINT", &relay.url)
    })
    .await?;
    let turns = LEARNERS * SITTINGS_EACH * TURNS_A_SITTING;
    say(&format!(
        "load         {turns} turns: {LEARNERS} learners sit down {SITTINGS_EACH} times for {TURNS_A_SITTING} questions, {SEATS} at a \
         time; one turn of {TURNS_A_CHANGE} follows a change\n"
    ))?;
    let changes = learn(&Arc::new(stack), &relay, turns).await?;
    say(&format!(
        "  {changes} changes, each followed by the next turn (checked by unit and wire tests)\n"
    ))?;
    timed(&database.process.dynamodb).await?;
    played()
}

/// Has learners ask, and prints how often their profiles were read; how many changed theirs.
async fn learn(stack: &Arc<Stack>, relay: &Relay, turns: usize) -> Result<u64> {
    let mut sittings: Vec<usize> = (0..LEARNERS * SITTINGS_EACH)
        .map(|n| n % LEARNERS)
        .collect();
    Rng::with_seed(SEED).shuffle(&mut sittings);
    let sittings = Arc::new(Mutex::new(sittings));
    let changes = Arc::new(AtomicU64::new(0));
    let mut seats = JoinSet::new();
    for seat in 0..SEATS {
        let (stack, sittings) = (Arc::clone(stack), Arc::clone(&sittings));
        let changes = Arc::clone(&changes);
        seats.spawn(async move {
            let mut rng = Rng::with_seed(SEED + seat as u64);
            loop {
                let next = sittings
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop();
                let Some(learner) = next else {
                    return anyhow::Ok(());
                };
                let mut client = stack.connect(&format!("learner-{learner}")).await?;
                let made = sit(&mut client, &mut rng).await?;
                changes.fetch_add(made, Ordering::Relaxed);
            }
        });
    }
    while let Some(seat) = seats.join_next().await {
        seat??;
    }
    let changes = changes.load(Ordering::Relaxed);
    let instances = processes::of_function(stack.process.pid()?, "ws-message").len();
    // A change reads the profile too, as it would without copies.
    let reads = relay
        .profiles
        .load(Ordering::Relaxed)
        .saturating_sub(changes);
    let address = stack.process.ws.replace("ws://", "http://");
    let metrics = get(&format!("{}/metrics", address.trim_end_matches('/'))).await?;
    let from = |word: &str| {
        let name = format!("profile_reads_total{{from=\"{word}\"}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
        count.map_or(Ok(0_usize), str::parse)
    };
    let (copies, table) = (from("copy")?, from("table")?);
    ensure!(
        copies + table == turns,
        "{copies} + {table} of {turns} turns"
    );
    let percent = |part: f64| 100.0 * part / turns as f64;
    say(&format!(
        "  {turns} turns accepted by {instances} instances of ws-message: {copies} from a copy, {table} from the table; {reads} reads of \
         ProfilesTable seen on the wire"
    ))?;
    let hits = percent(copies as f64);
    against(
        "R-PROF-2: hit rate over 80 %",
        &format!("{hits:.1} %"),
        hits > HIT_RATE_MIN,
    )?;
    let saved = 100.0 - percent(reads as f64);
    against(
        "R-PROF-2: table reads down by over 70 %",
        &format!("{saved:.1} %"),
        saved > SAVED_MIN,
    )?;
    Ok(changes)
}

/// A learner's questions, with a change now and then; how many changes.
async fn sit(client: &mut Client, rng: &mut Rng) -> Result<u64> {
    let mut changes = 0;
    for turn in 0..TURNS_A_SITTING {
        if rng.usize(..TURNS_A_CHANGE) == 0 {
            let asked = json!({ "depth": rng.u32(0..=100) });
            let answer = client.ask("profile.update", asked).await?;
            ensure!(answer["type"] == "profile", "{answer}");
            changes += 1;
        }
        let script = json!({ "pieces": [turn.to_string()] });
        let answer = client.chat("s1", &format!("#script {script}")).await?;
        ensure!(answer.last()["type"] == "done", "{}", answer.last());
    }
    Ok(changes)
}

/// Has this program time hits and misses against a database.
async fn timed(dynamodb: &str) -> Result<()> {
    let this = std::env::current_exe()?;
    let output = untouched(this)
        .env(TIMING, "1")
        .env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "local")
        .env("AWS_SECRET_ACCESS_KEY", "local")
        .env("SPARKLE_TABLE_PROFILES", "ProfilesTable")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let waits = |name: &str| -> Result<Vec<Duration>> {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        let nanos = line.context("no times")?.split_whitespace();
        nanos
            .map(|nanos| Ok(Duration::from_nanos(nanos.parse()?)))
            .collect()
    };
    head()?;
    let hits = waits("hit ")?;
    report(
        "a hit, its metric included",
        &hits,
        "this program's profile",
    )?;
    report(
        "a miss, one strongly consistent read",
        &waits("miss ")?,
        "dynoxide in memory",
    )?;
    let slowest = hits.iter().max().copied().unwrap_or_default();
    against(
        "R-PROF-2: a hit in under 50 ms",
        &format!("{:.3} ms at most", slowest.as_secs_f64() * 1_000.0),
        slowest < HIT_TIME_MAX,
    )
}

/// Times reads of profiles, and prints nanoseconds to stderr: metrics go to stdout.
async fn time() -> Result<()> {
    use std::io::Write;

    let learners = Learners::open(&boot::aws()?)?;
    let user = UserId::parse("learner-1")?;
    let now = Timestamp::from_unix_ms(1_764_000_000_000);
    let stamp = Stamp::of_number(1).context("no stamp")?;
    learners.of(&user, Some(stamp), now).await;
    for (name, stamp) in [("hit", Some(stamp)), ("miss", None)] {
        let mut line = name.to_owned();
        for _ in 0..TIMED {
            let begun = Instant::now();
            learners.of(&user, stamp, now).await;
            line.push_str(&format!(" {}", begun.elapsed().as_nanos()));
        }
        writeln!(std::io::stderr(), "{line}")?;
    }
    Ok(())
}

/// The rule over an evening of more learners and instances: which instance runs a turn is chance, which is the
/// worst that a platform can do.
fn played() -> Result<()> {
    const EVENING_S: i64 = 4 * 3_600;
    const PLAYED_LEARNERS: usize = 2_000;
    say(
        "\n  played: 2,000 learners in an evening of 4 h, each in two sittings of 20 turns, a turn a minute, a change a sitting;",
    )?;
    say(
        "  any instance may accept any turn: 80,000 of them, 5 a second, keep less than one instance busy\n  instances   hit rate",
    )?;
    for instances in [1_usize, 2, 4, 8, 16, 32] {
        let mut rng = Rng::with_seed(SEED);
        let mut turns: Vec<(i64, usize)> = Vec::new();
        for learner in 0..PLAYED_LEARNERS {
            for _ in 0..2 {
                let begun = rng.i64(0..EVENING_S);
                turns.extend((0..20).map(|turn| (begun + turn * 60, learner)));
            }
        }
        turns.sort_unstable();
        let mut stamps = vec![1_i64; PLAYED_LEARNERS];
        let mut warm: Vec<Copies> = (0..instances).map(|_| Copies::up_to(COPIES_MAX)).collect();
        let (mut hits, all) = (0_usize, turns.len());
        for (second, learner) in turns {
            if rng.usize(..20) == 0 {
                stamps[learner] += 1;
            }
            let user = UserId::parse(format!("learner-{learner}"))?;
            let stamp = Stamp::of_number(stamps[learner]).context("no stamp")?;
            let now = Timestamp::from_unix_ms(second * 1_000);
            let copies = &mut warm[rng.usize(..instances)];
            if copies.current(&user, stamp, now).is_some() {
                hits += 1;
            } else {
                copies.keep(Arc::new(UserContext::unknown(user)), stamp, now);
            }
        }
        say(&format!(
            "  {instances:>9}   {:>6.1} %",
            100.0 * hits as f64 / all as f64
        ))?;
    }
    Ok(())
}

/// A relay in front of DynamoDB that counts reads of profiles.
struct Relay {
    url: String,
    profiles: Arc<AtomicU64>,
    _server: JoinSet<()>,
}

#[derive(Clone)]
struct Upstream {
    url: String,
    http: reqwest::Client,
    profiles: Arc<AtomicU64>,
}

impl Relay {
    async fn start(upstream: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let profiles = Arc::new(AtomicU64::new(0));
        let router = Router::new().fallback(relay).with_state(Upstream {
            url: upstream.to_owned(),
            http: http(),
            profiles: Arc::clone(&profiles),
        });
        let mut server = JoinSet::new();
        server.spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self {
            url,
            profiles,
            _server: server,
        })
    }
}

async fn relay(State(to): State<Upstream>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    to.relay(&headers, body).await.unwrap_or_else(|error| {
        let mut answer = Response::new(Body::from(format!("{error:#}")));
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
        answer
    })
}

impl Upstream {
    async fn relay(&self, headers: &HeaderMap, body: Bytes) -> Result<Response<Body>> {
        let target = headers.get("x-amz-target").context("no target")?.to_str()?;
        let request: Value = serde_json::from_slice(&body)?;
        if target.ends_with(".GetItem") && request["TableName"] == "ProfilesTable" {
            self.profiles.fetch_add(1, Ordering::Relaxed);
        }
        let mut call = self.http.post(&self.url).body(body);
        for name in [
            "x-amz-target",
            "content-type",
            "authorization",
            "x-amz-date",
        ] {
            if let Some(value) = headers.get(name) {
                call = call.header(name, value);
            }
        }
        let answer = call.send().await?;
        let status = answer.status();
        let mut relayed = Response::new(Body::from(answer.bytes().await?));
        *relayed.status_mut() = status;
        let json = "application/x-amz-json-1.0".try_into()?;
        relayed.headers_mut().insert("content-type", json);
        Ok(relayed)
    }
}
