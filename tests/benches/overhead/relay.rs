//! Hands on what two programs say to each other, and shows every part of it as it goes by.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
    time::sleep,
};

/// Which side sent what goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Caller,
    Callee,
}

/// One read's worth of what goes by.
pub(crate) struct Part<'a> {
    /// Stands for the connection that the caller opened.
    pub(crate) caller: SocketAddr,
    pub(crate) from: Side,
    pub(crate) bytes: &'a [u8],
    pub(crate) at: Instant,
}

/// Runs until it is dropped.
pub(crate) struct Relay {
    /// Where callers are to call.
    pub(crate) address: SocketAddr,
    _server: JoinSet<()>,
}

impl Relay {
    /// Stands in front of what listens at `callee`, a host and a port. Every part of a question
    /// reaches it `later` than it was sent.
    pub(crate) async fn start(
        callee: &str,
        later: Duration,
        watch: impl Fn(Part<'_>) + Send + Sync + 'static,
    ) -> Result<Self> {
        let callee = callee.to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let watch: Arc<Watch> = Arc::new(watch);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, caller)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let (callee, watch) = (callee.clone(), Arc::clone(&watch));
                connections.spawn(hand_on(connection, caller, callee, later, watch));
            }
        });
        Ok(Self {
            address,
            _server: server,
        })
    }
}

type Watch = dyn Fn(Part<'_>) + Send + Sync;

async fn hand_on(
    connection: TcpStream,
    caller: SocketAddr,
    callee: String,
    later: Duration,
    watch: Arc<Watch>,
) -> Result<()> {
    let callee = TcpStream::connect(callee).await?;
    callee.set_nodelay(true)?;
    connection.set_nodelay(true)?;
    let (asked, told) = connection.into_split();
    let (answered, ask) = callee.into_split();
    let one_way = |from| {
        let watch = Arc::clone(&watch);
        move |bytes: &[u8]| {
            let at = Instant::now();
            watch(Part {
                caller,
                from,
                bytes,
                at,
            });
        }
    };
    tokio::try_join!(
        pump(asked, ask, later, one_way(Side::Caller)),
        pump(answered, told, Duration::ZERO, one_way(Side::Callee)),
    )?;
    Ok(())
}

async fn pump(
    mut source: OwnedReadHalf,
    mut sink: OwnedWriteHalf,
    later: Duration,
    watch: impl Fn(&[u8]),
) -> Result<()> {
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let length = source.read(&mut chunk).await?;
        let bytes = chunk.get(..length).context("more than was asked for")?;
        if bytes.is_empty() {
            return Ok(sink.shutdown().await?);
        }
        watch(bytes);
        if !later.is_zero() {
            sleep(later).await;
        }
        sink.write_all(bytes).await?;
    }
}
