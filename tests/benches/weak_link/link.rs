//! A weak link in user space: what goes through it takes as long as on a narrow, long and unsteady one.
//!
//! Each direction is a bottleneck of 64 kbit/s with a queue before it and 150 ms of way behind it. A
//! sender writes into the queue while that holds less than a second's worth; then it waits, and what it
//! wrote meanwhile leaves in full segments, as TCP does it. Each segment costs 62 bytes besides what it
//! carries: 40 of TCP and IP, 22 of a TLS 1.3 record. A server that writes many small frames is thus
//! let off lightly: really every frame is a record of its own, also where several share a segment.
//! During a stall nothing passes the bottleneck; nothing is lost, and acknowledgements cost nothing.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::chance::Chance;

const BYTES_PER_SECOND: u32 = 64_000 / 8;
const ONE_WAY: Duration = Duration::from_millis(150);
const QUEUE_TIME_MAX: Duration = Duration::from_secs(1);
/// What an Ethernet frame carries, less the overhead.
const SEGMENT_BYTES_MAX: usize = 1_500 - SEGMENT_OVERHEAD_BYTES;
const SEGMENT_OVERHEAD_BYTES: usize = 62;
/// Segments under way at once are bounded by rate and delay: this is far above.
const UNDER_WAY_MAX: usize = 1_024;

/// The model in words.
pub(crate) const MODEL: &str = "64 kbit/s and 150 ms each way, 62 bytes more per segment (TCP, IP, TLS), a queue of 1 s,\n\
     \x20            stalls of 1 to 2 s every 8 to 12 s, the first 1 to 6 s after the question";

/// A link to one server; dropped, it breaks.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    path: Arc<Path>,
    _relay: JoinSet<Result<()>>,
}

/// What both directions share.
#[derive(Debug)]
struct Path {
    stalls: Stalls,
    /// Towards the client, overhead included.
    bytes_down: AtomicUsize,
}

impl Link {
    /// A link for one connection, whose stalls come as the seed says.
    pub(crate) async fn start(server: SocketAddr, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let path = Arc::new(Path {
            stalls: Stalls::of(seed),
            bytes_down: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&path);
        let mut relay = JoinSet::new();
        relay.spawn(async move {
            let (client, _) = listener.accept().await?;
            let server = TcpStream::connect(server).await.context("the server")?;
            for end in [&client, &server] {
                end.set_nodelay(true)?;
            }
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let nobody = AtomicUsize::new(0);
            tokio::try_join!(
                pass(from_client, to_server, &shared.stalls, &nobody),
                pass(from_server, to_client, &shared.stalls, &shared.bytes_down),
            )?;
            Ok(())
        });
        Ok(Self {
            address,
            path,
            _relay: relay,
        })
    }

    /// The question is asked now: stalls and the count of bytes begin.
    pub(crate) fn begin(&self) {
        self.path.bytes_down.store(0, Ordering::Relaxed);
        self.path.stalls.begin();
    }

    /// How long a token that leaves then is under way at the least: alone on the link, and without
    /// bytes. No server can be faster.
    pub(crate) fn least(&self, left_at: Instant) -> Duration {
        self.path.stalls.passed(left_at, 0) + ONE_WAY - left_at
    }

    /// What the link has carried to the client, overhead included.
    pub(crate) fn bytes_down(&self) -> usize {
        self.path.bytes_down.load(Ordering::Relaxed)
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    stalls: &Stalls,
    bytes: &AtomicUsize,
) -> Result<()> {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY_MAX);
    let enter = async move {
        let mut free_at = Instant::now();
        loop {
            if let Some(room_at) = free_at.checked_sub(QUEUE_TIME_MAX) {
                sleep_until(room_at).await;
            }
            let mut segment = vec![0; SEGMENT_BYTES_MAX];
            let length = from.read(&mut segment).await?;
            if length == 0 {
                return anyhow::Ok(());
            }
            segment.truncate(length);
            let on_link = length + SEGMENT_OVERHEAD_BYTES;
            bytes.fetch_add(on_link, Ordering::Relaxed);
            free_at = stalls.passed(free_at.max(Instant::now()), on_link);
            sender.send((free_at + ONE_WAY, segment)).await?;
        }
    };
    let leave = async {
        while let Some((arrives_at, segment)) = under_way.recv().await {
            sleep_until(arrives_at).await;
            to.write_all(&segment).await?;
        }
        Ok(to.shutdown().await?)
    };
    tokio::try_join!(enter, leave)?;
    Ok(())
}

/// When nothing passes.
#[derive(Debug)]
struct Stalls {
    begun_at: OnceLock<Instant>,
    /// Begin and end, since the question.
    spans: Vec<(Duration, Duration)>,
}

impl Stalls {
    fn of(seed: u64) -> Self {
        let mut chance = Chance::of(seed);
        let mut next = Duration::from_millis(chance.between(1_000, 6_000));
        let mut spans = Vec::new();
        // Far longer than any answer takes.
        while next < Duration::from_mins(5) {
            let end = next + Duration::from_millis(chance.between(1_000, 2_000));
            spans.push((next, end));
            next = end + Duration::from_millis(chance.between(8_000, 12_000));
        }
        let begun_at = OnceLock::new();
        Self { begun_at, spans }
    }

    fn begin(&self) {
        self.begun_at.get_or_init(Instant::now);
    }

    /// When that many bytes that begin to pass at `start` have passed.
    fn passed(&self, start: Instant, bytes: usize) -> Instant {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut left = Duration::from_secs(1) * bytes / BYTES_PER_SECOND;
        let mut at = start;
        let Some(begun_at) = self.begun_at.get() else {
            return at + left;
        };
        for &(stalls, passes) in &self.spans {
            let (stalls_at, passes_at) = (*begun_at + stalls, *begun_at + passes);
            if at >= passes_at {
                continue;
            }
            let before = stalls_at.saturating_duration_since(at);
            if left <= before && !before.is_zero() {
                break;
            }
            left -= before;
            at = passes_at;
        }
        at + left
    }
}
