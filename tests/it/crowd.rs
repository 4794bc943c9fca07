//! Crowds and floods at the program's port: what they cost it, and that nobody else notices.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, future::join_all, stream};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use serde_json::{Value, json};
use sparkle_tests::{Client, Options, PATIENCE, Stack, http};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::gateway::socket;

const CROWD: usize = 5_000;
/// Upgrades a second that the program is told to let through.
const RATE: u64 = 10;
const MIB: u64 = 1 << 20;

/// Where the program's HTTP is, without the scheme.
fn address(stack: &Stack) -> String {
    stack
        .address("http")
        .trim_start_matches("http://")
        .to_owned()
}

/// Lets this process open a crowd's sockets.
fn make_room() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be raised");
}

/// The program's own resident memory in bytes.
fn memory(stack: &Stack) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", stack.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.context("no VmRSS")?.trim().parse::<u64>()? * 1024)
}

async fn gauge(stack: &Stack, name: &str) -> Result<f64> {
    let text = stack.get("/metrics").await?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("no {name}"))?.parse()?)
}

/// Waits until a gauge has come down.
async fn until_at_most(stack: &Stack, name: &str, most: f64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = gauge(stack, name).await?;
        if value <= most {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{name} is still {value}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Asserts that a ping is answered. Its function may need a second go: on a busy machine it may run
/// into a timeout of its own, which the client is told.
async fn assert_served(client: &mut Client) -> Result<()> {
    let mut said = Value::Null;
    for _ in 0..5 {
        client.request("ping", json!({})).await?;
        said = client.frame().await?;
        if said["type"] == "pong" {
            return Ok(());
        }
    }
    bail!("no pong: {said}")
}

/// What the gateway answers an upgrade with; `None` if it hung up.
async fn status_of_upgrade(address: &str) -> Option<u16> {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(answer.get(..length)?).into_owned();
    answer.split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn five_thousand_upgrades_at_once_are_limited_and_disturb_nobody() -> Result<()> {
    make_room();
    // Lower than AWS's 500, which a busy machine would never reach.
    let options = Options::default().argument("--connection-rate");
    let stack = options.argument(RATE.to_string()).start().await?;
    let mut good = stack.connect("ann").await?;
    assert_served(&mut good).await?;
    let address = address(&stack);
    let began_at = Instant::now();
    let ask = |_| timeout(PATIENCE, status_of_upgrade(&address));
    let mut crowd = stream::iter(0..CROWD).map(ask).buffer_unordered(1_000);
    let mut statuses = BTreeMap::new();
    while let Some(status) = crowd.next().await {
        *statuses.entry(status?).or_insert(0) += 1;
        if statuses.values().sum::<usize>() % 500 == 0 {
            assert_served(&mut good).await?;
        }
    }
    // Refused for want of a token, limited, or cut off before they asked: how many of which depends
    // on how fast this machine is. But no more may ask the authorizer than the rate allows.
    let let_through = *statuses.get(&Some(401)).unwrap_or(&0) as u64;
    let most = RATE + RATE * (began_at.elapsed().as_secs() + 1);
    assert!(
        let_through <= most,
        "{statuses:?}, and {most} would be most"
    );
    assert!(statuses.contains_key(&Some(429)), "{statuses:?}");
    let expected = [None, Some(401), Some(429)];
    assert!(
        statuses.keys().all(|status| expected.contains(status)),
        "{statuses:?}"
    );
    assert_served(&mut good).await?;
    assert!(gauge(&stack, "active_sessions").await? <= 1.0);
    // The good client's, and this test's.
    until_at_most(&stack, "open_connections", 30.0).await?;
    drop(good);
    until_at_most(&stack, "active_sessions", 0.0).await?;
    let log = stack.kill().await?;
    let complaints = log.lines().filter(|line| line.contains("client refused"));
    let complaints = complaints.count();
    assert!((1..1_000).contains(&complaints), "{complaints} lines");
    Ok(())
}

#[tokio::test]
async fn five_thousand_silent_sockets_take_no_room_from_those_who_ask() -> Result<()> {
    make_room();
    let stack = Stack::start().await?;
    let address = address(&stack);
    let before = memory(&stack)?;
    let opened = join_all((0..CROWD).map(|_| TcpStream::connect(&address))).await;
    let crowd: Vec<TcpStream> = opened.into_iter().collect::<Result<_, _>>()?;
    let mut late = stack.connect("ann").await?;
    assert_served(&mut late).await?;
    let answer = late.chat("s1", "thanks").await?;
    assert_eq!(answer.payload("done")["finish_reason"], "stop");
    until_at_most(&stack, "open_connections", 1_100.0).await?;
    let grown = memory(&stack)?.saturating_sub(before);
    assert!(grown < 64 * MIB, "{grown} bytes");
    drop(crowd);
    until_at_most(&stack, "open_connections", 30.0).await?;
    assert!(stack.kill().await?.contains("a client was cut off"));
    Ok(())
}

#[tokio::test]
async fn hundreds_of_sockets_that_vanish_leave_nothing() -> Result<()> {
    make_room();
    let stack = Stack::start().await?;
    let mut good = stack.connect("ann").await?;
    let offer = format!("sparkle.v2, bearer.{}", stack.address("token"));
    for _ in 0..3 {
        // Ten at a time: each needs two functions, and these may be slow on a busy machine.
        let connect = |_| stack.connect_with("Sec-WebSocket-Protocol", &offer);
        let opened = stream::iter(0..100).map(connect).buffer_unordered(10);
        let sockets: Vec<Client> = opened.try_collect().await?;
        assert_eq!(gauge(&stack, "active_sessions").await?.to_string(), "101");
        assert_served(&mut good).await?;
        drop(sockets);
        until_at_most(&stack, "active_sessions", 1.0).await?;
    }
    until_at_most(&stack, "open_connections", 30.0).await
}

#[tokio::test]
async fn without_descriptors_the_silent_are_given_up_for_those_who_ask() -> Result<()> {
    let stack = Stack::start().await?;
    let mut good = stack.connect("ann").await?;
    assert_served(&mut good).await?;
    let open = fs::read_dir(format!("/proc/{}/fd", stack.pid()))?.count() as u64;
    let pid = Pid::from_raw(stack.pid().try_into()?);
    let scarce = Rlimit {
        current: Some(open + 30),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    let plenty = prlimit(pid, Resource::Nofile, scarce)?;
    let address = address(&stack);
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(&address).await?);
    }
    let health = timeout(PATIENCE, stack.get("/health")).await??;
    assert!(health.contains("ok"));
    assert_served(&mut good).await?;
    drop(silent);
    prlimit(pid, Resource::Nofile, plenty)?;
    until_at_most(&stack, "open_connections", 30.0).await?;
    let log = stack.kill().await?;
    assert!(log.contains("no connection can be accepted"));
    Ok(())
}

#[tokio::test]
async fn a_flood_of_pings_from_a_client_that_never_reads_takes_no_memory() -> Result<()> {
    let stack = Stack::start().await?;
    let mut good = stack.connect("ann").await?;
    assert_served(&mut good).await?;
    let mut flooding = socket(&stack, "bob").await?;
    let before = memory(&stack)?;
    // A masked ping of 125 bytes; each is owed a pong of 127.
    let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'x'; 125]].concat();
    let flood = ping.repeat(1_000);
    for _ in 0..500 {
        timeout(PATIENCE, flooding.get_mut().write_all(&flood)).await??;
    }
    let grown = memory(&stack)?.saturating_sub(before);
    assert!(grown < 16 * MIB, "64 MB of pings left {grown} bytes");
    assert_served(&mut good).await?;
    drop(flooding);
    until_at_most(&stack, "active_sessions", 1.0).await
}

/// Uploads 1 TiB until the program hangs up, which it must within 64 MiB.
async fn upload(address: String) -> Result<()> {
    let mut stream = TcpStream::connect(&address).await?;
    let head = format!(
        "POST /2015-03-31/functions/ws-message/invocations HTTP/1.1\r\nHost: {address}\r\n\
         Content-Length: 1099511627776\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let chunk = vec![b' '; 1 << 20];
    for _ in 0..64 {
        if stream.write_all(&chunk).await.is_err() {
            return Ok(());
        }
    }
    bail!("64 MiB were taken")
}

#[tokio::test]
async fn a_huge_upload_to_the_invoke_api_is_refused_and_forgotten() -> Result<()> {
    let stack = Stack::start().await?;
    let mut good = stack.connect("ann").await?;
    let address = address(&stack);
    let before = memory(&stack)?;
    let mut uploads = JoinSet::new();
    for _ in 0..8 {
        uploads.spawn(upload(address.clone()));
    }
    while let Some(upload) = timeout(PATIENCE, uploads.join_next()).await? {
        upload??;
    }
    assert_served(&mut good).await?;
    let grown = memory(&stack)?.saturating_sub(before);
    assert!(grown < 128 * MIB, "{grown} bytes");
    let small = http().post(format!(
        "{}/2015-03-31/functions/ws-message/invocations",
        stack.address("http")
    ));
    assert_eq!(small.body("{}").send().await?.status().as_u16(), 200);
    until_at_most(&stack, "open_connections", 30.0).await
}
