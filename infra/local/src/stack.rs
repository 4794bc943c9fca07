//! Starting everything in order, saying what is happening, and stopping it again.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use axum::{Router, serve::ListenerExt};
use serde::Serialize;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tracing::info;

use crate::{
    access::{Access, access_key, guard},
    binaries,
    dynamo::{self, Streams},
    fault::Faults,
    gateway::{Gateway, Limits},
    lambda::{Checkpoints, Duplicates, Executable, Lambda},
    metrics::Metrics,
    page,
    settings::{Settings, shell_environment},
    sqs::{Outside, Queues, Sqs},
    template::{Function, Surroundings, Template},
    token::{Mint, Token},
    watch::Watch,
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
    /// What the functions see of it.
    guarded_dynamodb: TcpListener,
    sqs: Option<TcpListener>,
}

/// Starts everything, says where it is, and runs until it is told to stop.
///
/// # Errors
/// What could not be started, and what to do about it.
pub async fn run(settings: Settings, announce: impl FnOnce(&Addresses)) -> anyhow::Result<()> {
    let listeners = Listeners::bind(&settings).await?;
    let sqs_url = listeners.sqs_url(&settings)?;
    let dynamodb_url = listeners.dynamodb_url(&settings)?;
    let http_address = listeners.http.local_addr()?;

    let template_path = find(&settings.template)?;
    let mut surroundings = surroundings(&sqs_url);
    let mut template = Template::load(&template_path, &surroundings)?;
    let metrics = Metrics::default();
    let faults = faults(&settings, &template, &metrics).await?;
    let mint = Mint::open(&settings)?;
    let binaries = build(&template_path, &template.functions).await?;
    let files = data_dir(&settings)?;
    let mut services = JoinSet::new();
    if let Some(listener) = listeners.dynamodb {
        let file = files.map(|directory| directory.join("dynamodb.sqlite"));
        let database = dynamo::open(file.as_deref())?;
        services.spawn(dynamo::serve(listener, database));
    }
    dynamo::create(&dynamodb_url, &template.tables).await?;
    let access = access(&template)?;
    let functions_dynamodb_url = guard_tables(
        listeners.guarded_dynamodb,
        &dynamodb_url,
        &access,
        &mut services,
    )?;
    let queues = match listeners.sqs {
        Some(listener) => {
            let sqs = open_queues(&sqs_url, files, &template)?;
            services.spawn(serve(listener, guard::sqs(&access, sqs.router())));
            sqs.into()
        }
        None => Outside::create(&sqs_url, &template.queues).await?.into(),
    };
    if let Queues::Outside(outside) = &queues {
        // Only now it is known how that service writes its queues' URLs.
        surroundings.queue_urls = outside.urls().clone();
        template = Template::load(&template_path, &surroundings)?;
    }
    let endpoints = Endpoints {
        http: http_address,
        dynamodb: &functions_dynamodb_url,
        sqs: &sqs_url,
    };
    let mut executables = executables(&template.functions, &binaries, &endpoints, &mint);
    let own_pages = page::router(mint.clone(), metrics.clone());
    let own_pages = own_pages.merge(stand_between(faults, &mut executables, &mut services));
    let lambda = Lambda::start(executables, metrics.clone()).await?;
    let gateway = Gateway::new(
        template.api.clone(),
        lambda.clone(),
        metrics.clone(),
        Limits::default(),
    );
    let router = gateway.router(lambda.router().merge(own_pages));
    services.spawn(serve(listeners.http, guard::connections(&access, router)));
    invoke_from_sources(&lambda, queues, &Streams::new(&dynamodb_url), &settings)?;
    if settings.watch {
        services.spawn(Watch::start(&template_path, binaries)?.run(lambda.clone()));
    }

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
    gateway.close_all().await;
    lambda.shutdown().await;
    services.shutdown().await;
    Ok(())
}

/// Lets the functions see of the tables what they may use; returns where. What is reached by TLS is not
/// looked into.
fn guard_tables(
    listener: TcpListener,
    dynamodb_url: &str,
    access: &Access,
    services: &mut JoinSet<()>,
) -> anyhow::Result<String> {
    let Some(upstream) = dynamodb_url.strip_prefix("http://") else {
        return Ok(dynamodb_url.to_owned());
    };
    let url = format!("http://{}", listener.local_addr()?);
    let upstream = upstream.trim_end_matches('/').to_owned();
    services.spawn(guard::dynamodb(listener, access.clone(), upstream));
    Ok(url)
}

/// The built-in queues.
fn open_queues(url: &str, files: Option<&PathBuf>, template: &Template) -> anyhow::Result<Sqs> {
    let file = files.map(|directory| directory.join("sqs.sqlite"));
    Ok(Sqs::open(
        file.as_deref(),
        template.queues.clone(),
        url.to_owned(),
    )?)
}

/// Has queues, streams and schedules invoke the functions.
fn invoke_from_sources(
    lambda: &Lambda,
    queues: Queues,
    streams: &Streams,
    settings: &Settings,
) -> anyhow::Result<()> {
    let checkpoints = if settings.ephemeral {
        Checkpoints::default()
    } else {
        Checkpoints::open(settings.data_dir.join("streams.json"))
            .context("streams.json in the data directory is of no use; delete it")?
    };
    let duplicates = Duplicates {
        share: settings.duplicates,
        seed: settings.seed,
    };
    lambda.poll_queues(queues, duplicates);
    lambda.poll_streams(streams, &checkpoints);
    lambda.run_schedules();
    Ok(())
}

impl Listeners {
    fn sqs_url(&self, settings: &Settings) -> anyhow::Result<String> {
        match (&self.sqs, &settings.sqs_endpoint) {
            (Some(listener), _) => Ok(format!("http://{}", listener.local_addr()?)),
            (None, Some(endpoint)) => Ok(endpoint.trim_end_matches('/').to_owned()),
            (None, None) => Err(anyhow!("no SQS")),
        }
    }

    fn dynamodb_url(&self, settings: &Settings) -> anyhow::Result<String> {
        match (&self.dynamodb, &settings.dynamodb_endpoint) {
            (Some(listener), _) => Ok(format!("http://{}", listener.local_addr()?)),
            (None, Some(endpoint)) => Ok(endpoint.clone()),
            (None, None) => Err(anyhow!("no DynamoDB")),
        }
    }

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
            guarded_dynamodb: bind(0, "--port").await?,
            sqs: match settings.sqs_endpoint {
                Some(_) => None,
                None => Some(bind(other(settings.sqs_port, 9324), "--sqs-port").await?),
            },
        })
    }
}

async fn bind(port: u16, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.with_context(|| {
        format!("port {port} cannot be used; choose another with {flag}, or `--port 0` for free ones")
    })
}

/// Where data is kept, if it is.
fn data_dir(settings: &Settings) -> anyhow::Result<Option<&PathBuf>> {
    let files = (!settings.ephemeral).then_some(&settings.data_dir);
    if let Some(directory) = files {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create the data directory {}", directory.display()))?;
    }
    Ok(files)
}

fn access(template: &Template) -> anyhow::Result<Access> {
    let access = Access::of(template);
    for (function, what) in access.unchecked() {
        info!(
            function,
            "its calls are not checked: what {what} allows is not in the template"
        );
    }
    access
        .sources(&template.functions)
        .context("Lambda would refuse a function's queue; give the function's role the action")?;
    Ok(access)
}

/// Serves until it is dropped.
async fn serve(listener: TcpListener, router: Router) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    drop(axum::serve(listener.tap_io(at_once), service).await);
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
        ..Surroundings::default()
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

/// What `--fault` asks for.
async fn faults(
    settings: &Settings,
    template: &Template,
    metrics: &Metrics,
) -> anyhow::Result<Option<(Faults, TcpListener)>> {
    let Some(path) = &settings.fault else {
        return Ok(None);
    };
    let functions = template.functions.iter();
    let names = functions.map(|function| function.name.clone()).collect();
    Ok(Some(Faults::open(path, names, metrics.clone()).await?))
}

/// Puts the fault layer between the functions and the services; returns the pages that steer it.
fn stand_between(
    faults: Option<(Faults, TcpListener)>,
    executables: &mut [Executable],
    services: &mut JoinSet<()>,
) -> Router {
    let Some((faults, listener)) = faults else {
        return Router::new();
    };
    for executable in executables {
        faults.divert(&executable.function.name, &mut executable.environment);
    }
    let router = faults.router();
    services.spawn(faults.serve(listener));
    router
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
        // By this its calls are known to be its own.
        ("AWS_ACCESS_KEY_ID".to_owned(), access_key(&function.name)),
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
    info!("stopping");
    Ok(())
}
