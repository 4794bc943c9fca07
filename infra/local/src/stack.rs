//! Starting everything in order, saying what is happening, and stopping it again.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use axum::serve::ListenerExt;
use serde::Serialize;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tracing::info;

use crate::{
    binaries, dynamo,
    gateway::{Gateway, Limits},
    lambda::{Executable, Lambda},
    metrics::Metrics,
    page,
    settings::{Settings, shell_environment},
    sqs::Sqs,
    template::{Function, Surroundings, Template},
    token::{Mint, Token},
};

/// The learner and the life of the token that is printed.
const LEARNER: &str = "learner";
const TOKEN_SECONDS: u64 = 24 * 3_600;

/// Where everything is, as printed with `--json`.
#[derive(Debug, Clone, Serialize)]
pub struct Addresses {
    /// The WebSocket.
    pub ws: String,
    /// The chat page, `@connections`, the Invoke API, `/health`, `/metrics`.
    pub http: String,
    /// DynamoDB.
    pub dynamodb: String,
    /// SQS.
    pub sqs: String,
    /// A token of the learner `learner`, valid for 24 h.
    pub token: String,
    /// The process to stop.
    pub pid: u32,
}

/// The sockets that everything listens on, all of them on this machine only.
struct Listeners {
    http: TcpListener,
    dynamodb: Option<TcpListener>,
    sqs: TcpListener,
}

/// Starts everything, says where it is, and runs until it is told to stop.
///
/// # Errors
/// What could not be started, and what to do about it.
pub async fn run(settings: Settings, announce: impl FnOnce(&Addresses)) -> anyhow::Result<()> {
    let listeners = Listeners::bind(&settings).await?;
    let sqs_url = format!("http://{}", listeners.sqs.local_addr()?);
    let dynamodb_url = match (&listeners.dynamodb, &settings.dynamodb_endpoint) {
        (Some(listener), _) => format!("http://{}", listener.local_addr()?),
        (None, Some(endpoint)) => endpoint.clone(),
        (None, None) => return Err(anyhow!("no DynamoDB")),
    };
    let http_address = listeners.http.local_addr()?;

    let template_path = find(&settings.template)?;
    let template = Template::load(&template_path, &surroundings(&sqs_url))?;
    let mint = Mint::open(&settings)?;
    let binaries = build(&template_path, &template.functions).await?;

    let files = (!settings.ephemeral).then_some(&settings.data_dir);
    if let Some(directory) = files {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create the data directory {}", directory.display()))?;
    }
    let mut services = JoinSet::new();
    if let Some(listener) = listeners.dynamodb {
        let database = dynamo::open(files.map(|dir| dir.join("dynamodb.sqlite")).as_deref())?;
        services.spawn(dynamo::serve(listener, database));
    }
    dynamo::create(&dynamodb_url, &template.tables).await?;
    let queues_file = files.map(|directory| directory.join("sqs.sqlite"));
    let sqs = Sqs::open(
        queues_file.as_deref(),
        template.queues.clone(),
        sqs_url.clone(),
    )?;
    let router = sqs.router();
    services.spawn(async move { drop(axum::serve(listeners.sqs.tap_io(at_once), router).await) });

    let endpoints = Endpoints {
        http: http_address,
        dynamodb: &dynamodb_url,
        sqs: settings.sqs_endpoint.as_deref().unwrap_or(&sqs_url),
    };
    let executables = executables(&template.functions, &binaries, &endpoints, &mint);
    let metrics = Metrics::default();
    let lambda = Lambda::start(executables, metrics.clone()).await?;
    let gateway = Gateway::new(
        template.api.clone(),
        lambda.clone(),
        metrics.clone(),
        Limits::default(),
    );
    let router = gateway.router(lambda.router().merge(page::router(mint.clone(), metrics)));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    services.spawn(async move { drop(axum::serve(listeners.http.tap_io(at_once), service).await) });
    lambda.poll_queues(sqs);

    let Token { token, .. } = mint.token(LEARNER, "free", TOKEN_SECONDS)?;
    announce(&Addresses {
        ws: format!("ws://{http_address}/"),
        http: format!("http://{http_address}"),
        dynamodb: dynamodb_url,
        sqs: sqs_url,
        token,
        pid: std::process::id(),
    });
    until_told_to_stop().await?;
    info!("stopping");
    gateway.close_all().await;
    lambda.shutdown().await;
    services.shutdown().await;
    Ok(())
}

impl Listeners {
    async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let other = |port: Option<u16>, default| match settings.port {
            0 => port.unwrap_or(0),
            _ => port.unwrap_or(default),
        };
        let dynamodb = match settings.dynamodb_endpoint {
            Some(_) => None,
            None => Some(bind(other(settings.dynamodb_port, 8000), "--dynamodb-port").await?),
        };
        Ok(Self {
            http: bind(settings.port, "--port").await?,
            dynamodb,
            sqs: bind(other(settings.sqs_port, 9324), "--sqs-port").await?,
        })
    }
}

async fn bind(port: u16, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.with_context(|| {
        format!("port {port} cannot be used; choose another with {flag}, or `--port 0` for free ones")
    })
}

/// Sends small writes as they come. Otherwise a frame that follows another waits for the client to
/// acknowledge the first, which it puts off for 40 ms.
fn at_once(connection: &mut TcpStream) {
    if let Err(error) = connection.set_nodelay(true) {
        tracing::warn!(%error, "frames of a connection may be late");
    }
}

/// The template: as named, or where it stands in a directory above.
fn find(template: &Path) -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir()?;
    let found = here
        .ancestors()
        .map(|dir| dir.join(template))
        .find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "there is no {} here or above; run this in Sparkle's repository",
            template.display()
        )
    })
}

fn surroundings(sqs_url: &str) -> Surroundings {
    // There is no Secrets Manager on this machine: what the shell does not give is not there.
    let no_secret = |parameter: &str| (parameter.to_owned(), String::new());
    let parameters = ["LlmApiKeySecret", "JwtSecret"]
        .into_iter()
        .map(no_secret)
        .collect();
    Surroundings {
        sqs_url: sqs_url.to_owned(),
        parameters,
    }
}

async fn build(
    template: &Path,
    functions: &[Function],
) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    info!(
        "building {} functions; the first time this takes some minutes",
        functions.len()
    );
    let workspace = template.parent().unwrap_or(Path::new(".")).to_owned();
    let names: Vec<String> = functions
        .iter()
        .map(|function| function.name.clone())
        .collect();
    let built = tokio::task::spawn_blocking(move || {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        binaries::build(&workspace, &names)
    });
    Ok(built.await??)
}

struct Endpoints<'a> {
    http: SocketAddr,
    dynamodb: &'a str,
    sqs: &'a str,
}

fn executables(
    functions: &[Function],
    binaries: &BTreeMap<String, PathBuf>,
    endpoints: &Endpoints<'_>,
    mint: &Mint,
) -> Vec<Executable> {
    let executable = |function: &Function| Executable {
        function: function.clone(),
        path: binaries.get(&function.name).cloned().unwrap_or_default(),
        environment: environment(function, endpoints, mint),
    };
    functions.iter().map(executable).collect()
}

/// What a function sees: the template's variables, where the services are, and over them the shell's.
fn environment(
    function: &Function,
    endpoints: &Endpoints<'_>,
    mint: &Mint,
) -> BTreeMap<String, String> {
    let mut environment = function.environment.clone();
    let gateway = format!("http://{}", endpoints.http);
    environment.extend([
        (
            "AWS_ENDPOINT_URL_DYNAMODB".to_owned(),
            endpoints.dynamodb.to_owned(),
        ),
        ("AWS_ENDPOINT_URL_SQS".to_owned(), endpoints.sqs.to_owned()),
        (
            "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI".to_owned(),
            gateway,
        ),
        ("SPARKLE_JWT_SECRET".to_owned(), mint.secret.clone()),
    ]);
    environment.extend(shell_environment());
    environment
}

async fn until_told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
