//! A gateway on a real port in front of real function processes, each of which asks the test what
//! to answer (`examples/relay_function.rs`).

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sparkle_local::gateway::{Gateway, Limits};
use sparkle_local::lambda::{Executable, Lambda, Processes};
use sparkle_local::listen::{self, Bounds};
use sparkle_local::metrics::Metrics;
use sparkle_local::template::{Function, WebSocketApi};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// How long anything may take that is expected to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Fails instead of hanging.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> Result<T> {
    timeout(PATIENCE, what)
        .await
        .context("it did not happen in time")
}

/// One invocation that waits for the test's answer.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: String,
    pub(crate) trace: String,
    pub(crate) event: Value,
    function_process: BufReader<TcpStream>,
}

impl Call {
    pub(crate) async fn answer(self, answer: Value) -> Result<()> {
        self.say(json!({ "answer": answer })).await
    }

    pub(crate) async fn ok(self) -> Result<()> {
        self.answer(json!({ "statusCode": 200 })).await
    }

    pub(crate) async fn fail(self, message: &str) -> Result<()> {
        self.say(json!({ "error": message })).await
    }

    async fn say(mut self, what: Value) -> Result<()> {
        Ok(self
            .function_process
            .write_all(format!("{what}\n").as_bytes())
            .await?)
    }

    pub(crate) fn context(&self, name: &str) -> &Value {
        &self.event["requestContext"][name]
    }

    pub(crate) fn connection_id(&self) -> String {
        self.context("connectionId")
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

pub(crate) struct Stack {
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Metrics,
    lambda: Lambda,
    calls: mpsc::UnboundedReceiver<Call>,
    _tasks: JoinSet<()>,
}

/// An API of which every route is served by the function `relay`.
pub(crate) fn api(routes: &[&str]) -> WebSocketApi {
    WebSocketApi {
        logical_id: "WebSocketApi".to_owned(),
        stage: "dev".to_owned(),
        route_selection_expression: "$request.body.type".to_owned(),
        authorizer: None,
        routes: routes
            .iter()
            .map(|key| ((*key).to_owned(), "relay".to_owned()))
            .collect(),
    }
}

pub(crate) fn plain_api() -> WebSocketApi {
    api(&["$connect", "$disconnect", "$default"])
}

pub(crate) fn authorized_api() -> WebSocketApi {
    WebSocketApi {
        authorizer: Some("authorizer".to_owned()),
        ..plain_api()
    }
}

impl Stack {
    pub(crate) async fn start(api: WebSocketApi, limits: Limits) -> Result<Self> {
        Self::behind(Bounds::default(), api, limits).await
    }

    /// A stack whose port is bounded so.
    pub(crate) async fn behind(bounds: Bounds, api: WebSocketApi, limits: Limits) -> Result<Self> {
        let relay = TcpListener::bind("127.0.0.1:0").await?;
        let relay_address = relay.local_addr()?.to_string();
        let metrics = Metrics::default();
        let mut names: Vec<&String> = api.routes.values().chain(&api.authorizer).collect();
        names.sort();
        names.dedup();
        let executables = names.iter().map(|name| executable(name, &relay_address));
        let executables = executables.collect::<Result<Vec<Executable>>>()?;
        let lambda = Lambda::start(executables, metrics.clone()).await?;
        let gateway = Gateway::new(api, lambda.clone(), metrics.clone(), limits);

        let upload = post(|body: Bytes| async move { body.len().to_string() });
        let page = Router::new()
            .route("/", get(|| async { "the page" }))
            .route("/upload", upload);
        let router = gateway.router(page);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (sender, calls) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let served = metrics.clone();
        tasks.spawn(async { match listen::serve(listener, router, served, bounds).await {} });
        tasks.spawn(accept_calls(relay, sender));
        Ok(Self {
            gateway,
            address,
            metrics,
            lambda,
            calls,
            _tasks: tasks,
        })
    }

    /// Ends everything: the clients, who would not answer a close frame any more, then invocations
    /// that nobody answered, then the rest.
    pub(crate) async fn stop<C>(self, clients: C) {
        drop(clients);
        drop(self.calls);
        self.gateway.close_all().await;
        self.lambda.shutdown().await;
    }

    /// The next invocation.
    pub(crate) async fn call(&mut self) -> Result<Call> {
        soon(self.calls.recv()).await?.context("no more calls")
    }

    /// The next invocation, which must be of this route.
    pub(crate) async fn call_of(&mut self, route_key: &str) -> Result<Call> {
        let call = self.call().await?;
        if call.context("routeKey") != route_key {
            bail!("expected a call of {route_key}, got {}", call.event);
        }
        Ok(call)
    }

    /// Whether no invocation has come, nor comes for a moment.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        timeout(Duration::from_millis(300), self.calls.recv())
            .await
            .is_err()
    }

    /// Begins a WebSocket handshake; the future completes when the gateway has answered.
    pub(crate) fn handshake(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> impl Future<Output = Result<(Client, Response), Error>> + Send + 'static {
        let request = format!("ws://{}{path}", self.address).into_client_request();
        let headers: Vec<(&'static str, String)> = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let address = self.address;
        async move {
            let mut request = request?;
            for (name, value) in headers {
                request.headers_mut().insert(name, value.parse()?);
            }
            let stream = TcpStream::connect(address).await?;
            // No frame from the gateway may be over 32 KiB.
            let config = WebSocketConfig::default().max_frame_size(Some(32 * 1024));
            let (socket, response) =
                client_async_with_config(request, stream, Some(config)).await?;
            Ok((Client(socket), response))
        }
    }

    /// A handshake that is refused: its status and body.
    pub(crate) fn refused(
        &self,
        path: &str,
    ) -> impl Future<Output = Result<(u16, Value)>> + Send + 'static {
        let handshake = self.handshake(path, &[]);
        async move {
            match soon(handshake).await? {
                Err(Error::Http(response)) => {
                    let body = response.body().clone().unwrap_or_default();
                    let body = serde_json::from_slice(&body).unwrap_or_default();
                    Ok((response.status().as_u16(), body))
                }
                Err(error) => Err(error.into()),
                Ok(_) => bail!("the handshake was accepted"),
            }
        }
    }

    /// An open connection and its id.
    pub(crate) async fn open(&mut self) -> Result<(Client, String)> {
        let mut opening = JoinSet::new();
        opening.spawn(self.handshake("/", &[]));
        let connect = self.call_of("$connect").await?;
        let id = connect.connection_id();
        connect.ok().await?;
        let opened = soon(opening.join_next()).await?.context("no handshake")?;
        Ok((opened??.0, id))
    }

    /// The gauge of open sockets.
    pub(crate) fn sockets(&self) -> Option<String> {
        let text = self.metrics.render();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix("active_sessions "));
        value.map(|value| value.parse::<f64>().unwrap_or(f64::NAN).to_string())
    }

    /// A signed request to `@connections`.
    pub(crate) async fn manage(&self, method: &str, id: &str, body: &[u8]) -> Result<Answer> {
        let path = format!("/dev/@connections/{}", id.replace('=', "%3D"));
        let headers = "Authorization: AWS4-HMAC-SHA256 Credential=x\r\n";
        request(self.address, method, &path, headers, body).await
    }
}

fn executable(name: &str, relay_address: &str) -> Result<Executable> {
    let test = std::env::current_exe()?;
    let target = test
        .parent()
        .and_then(Path::parent)
        .context("no target folder")?;
    Ok(Executable {
        function: Function {
            logical_id: name.to_owned(),
            name: name.to_owned(),
            timeout: Duration::from_mins(1),
            memory_mb: 128,
            ..Function::default()
        },
        path: target.join("examples").join("relay_function"),
        processes: Processes::default(),
        environment: BTreeMap::from([("RELAY".to_owned(), relay_address.to_owned())]),
    })
}

async fn accept_calls(relay: TcpListener, calls: mpsc::UnboundedSender<Call>) {
    while let Ok((stream, _)) = relay.accept().await {
        let mut function_process = BufReader::new(stream);
        let mut line = String::new();
        let read = function_process.read_line(&mut line).await;
        read.expect("a function's event");
        let said: Value = serde_json::from_str(&line).expect("a function's event is JSON");
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        let (function, trace) = (text("function"), text("trace"));
        let call = Call {
            function,
            trace,
            event: said["event"].clone(),
            function_process,
        };
        if calls.send(call).is_err() {
            return;
        }
    }
}

/// A client's end of a connection.
#[derive(Debug)]
pub(crate) struct Client(pub(crate) WebSocketStream<TcpStream>);

impl Client {
    pub(crate) async fn send(&mut self, message: impl Into<Message>) -> Result<()> {
        Ok(soon(self.0.send(message.into())).await??)
    }

    /// The next text message.
    pub(crate) async fn text(&mut self) -> Result<String> {
        match soon(self.0.next())
            .await?
            .context("the gateway hung up")??
        {
            Message::Text(text) => Ok(text.as_str().to_owned()),
            other => bail!("expected text, got {other:?}"),
        }
    }

    /// The next text message as JSON.
    pub(crate) async fn json(&mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.text().await?)?)
    }

    /// The close frame that comes next, after which the connection must end.
    pub(crate) async fn closed(&mut self) -> Result<CloseFrame> {
        let Message::Close(Some(frame)) =
            soon(self.0.next()).await?.context("no close frame")??
        else {
            bail!("expected a close frame");
        };
        while let Some(Ok(_)) = soon(self.0.next()).await? {}
        Ok(frame)
    }
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The SDKs' name of the error.
    pub(crate) fn error_type(&self) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix("x-amzn-errortype: "))
    }
}

/// One HTTP/1.1 request, without a library that would tidy it up.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Result<Answer> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await?;
        anyhow::Ok(String::from_utf8(response)?)
    };
    let response = soon(exchange).await??;
    let (head, body) = response
        .split_once("\r\n\r\n")
        .context("no end of the head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
