//! Starting everything in order, saying what is happening, and stopping it again.

mod stores;

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use axum::{Router, middleware::from_fn};
use serde::Serialize;
use stores::{Stores, Urls};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tracing::info;

use crate::{
    access::{Access, access_key, guard},
    binaries,
    dynamo::Streams,
    fault::Faults,
    gateway::Gateway,
    lambda::{Checkpoints, Duplicates, Executable, Lambda, Processes, Reorder},
    listen::{self, Bounds},
    local_only,
    metrics::Metrics,
    page,
    settings::{Settings, shell_environment},
    sqs::Queues,
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

/// Starts everything, says where it is, and runs until it is told to stop.
///
/// # Errors
/// What could not be started, and what to do about it.
pub async fn run(settings: Settings, announce: impl FnOnce(&Addresses)) -> anyhow::Result<()> {
    listen::raise_descriptor_limit();
    // Everything listens on this machine only.
    let http = bind(settings.port, "--port").await?;
    let http_address = http.local_addr()?;
    let http_url = format!("http://{http_address}");
    let stores = Stores::bind(&settings).await?;
    let urls = stores.urls.clone();

    let template_path = find(&settings.template)?;
    let mut surroundings = surroundings(&urls.sqs);
    let mut template = Template::load(&template_path, &surroundings)?;
    let access = access(&template)?;
    let metrics = Metrics::default();
    let faults = faults(&settings, &template, &metrics).await?;
    let mint = Mint::open(&settings)?;
    let binaries = build(&template_path, &template.functions).await?;

    let mut services = JoinSet::new();
    let queues = stores.open(&settings, &template, &access, &mut services);
    let queues = queues.await?;
    if let Queues::Outside(outside) = &queues {
        // Only now it is known how that service writes its queues' URLs.
        surroundings.queue_urls = outside.urls().clone();
        template = Template::load(&template_path, &surroundings)?;
    }
    let mut executables = executables(&template.functions, &binaries, |function| {
        environment(function, &template_path, &urls, &http_url, &mint)
    });
    let own_pages = page::router(mint.clone(), metrics.clone());
    let own_pages = own_pages.merge(stand_between(faults, &mut executables, &mut services));
    let lambda = Lambda::start(executables, metrics.clone()).await?;
    let gateway = Gateway::new(
        template.api.clone(),
        lambda.clone(),
        metrics.clone(),
        settings.sockets.limits(),
    );
    let router = gateway.router(lambda.router().merge(own_pages));
    serve(
        &mut services,
        http,
        guard::connections(&access, router),
        metrics,
    );
    invoke_from_sources(&lambda, queues, &Streams::new(&urls.dynamodb), &settings)?;
    if settings.watch {
        services.spawn(Watch::start(&template_path, binaries)?.run(lambda.clone()));
    }

    let Token { token, .. } = mint.token(LEARNER, "free", TOKEN_SECONDS)?;
    announce(&Addresses {
        ws: format!("ws://{http_address}/"),
        http: http_url,
        dynamodb: urls.dynamodb,
        sqs: urls.sqs,
        token,
        pid: std::process::id(),
    });
    until_told_to_stop().await?;
    gateway.close_all().await;
    lambda.shutdown().await;
    services.shutdown().await;
    Ok(())
}

async fn bind(port: u16, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.with_context(|| {
        format!("port {port} cannot be used; choose another with {flag}, or `--port 0` for free ones")
    })
}

/// Serves what is for this machine only.
fn serve(services: &mut JoinSet<()>, listener: TcpListener, router: Router, metrics: Metrics) {
    let router = router.layer(from_fn(local_only::check));
    services.spawn(async {
        match listen::serve(listener, router, metrics, Bounds::default()).await {}
    });
}

/// The template: as named, or where it stands in a directory above.
pub(crate) fn find(template: &Path) -> anyhow::Result<PathBuf> {
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
    let parameters = [
        "LlmApiKeySecret",
        "SummaryApiKeySecret",
        "EmbeddingApiKeySecret",
        "JwtSecret",
    ]
    .into_iter()
    .map(no_secret)
    .collect();
    Surroundings {
        sqs_url: sqs_url.to_owned(),
        parameters,
        ..Surroundings::default()
    }
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
        faults.divert(executable);
    }
    let router = faults.router();
    services.spawn(faults.serve(listener));
    router
}

fn executables(
    functions: &[Function],
    binaries: &BTreeMap<String, PathBuf>,
    environment: impl Fn(&Function) -> BTreeMap<String, String>,
) -> Vec<Executable> {
    let executable = |function: &Function| Executable {
        function: function.clone(),
        path: binaries.get(&function.name).cloned().unwrap_or_default(),
        environment: environment(function),
        processes: Processes::default(),
    };
    functions.iter().map(executable).collect()
}

/// What a function sees: the template's variables, where the services are, and over them the shell's.
fn environment(
    function: &Function,
    template: &Path,
    urls: &Urls,
    http_url: &str,
    mint: &Mint,
) -> BTreeMap<String, String> {
    let mut environment = function.environment.clone();
    // Lambda unpacks a layer in /opt; here its folder stays where it is.
    if let Some(layer) = function.layers.first() {
        let folder = template.parent().unwrap_or(Path::new(".")).join(layer);
        for value in environment.values_mut().filter(|value| *value == "/opt") {
            *value = folder.display().to_string();
        }
    }
    let access_key = access_key(&function.name);
    let given = [
        (
            "AWS_ENDPOINT_URL_DYNAMODB",
            urls.functions_dynamodb.as_str(),
        ),
        ("AWS_ENDPOINT_URL_SQS", &urls.sqs),
        ("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", http_url),
        ("SPARKLE_JWT_SECRET", &mint.secret),
        // By this its calls are known to be its own.
        ("AWS_ACCESS_KEY_ID", &access_key),
    ];
    environment.extend(given.map(|(name, value)| (name.to_owned(), value.to_owned())));
    environment.extend(shell_environment());
    environment
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
    let reorder = Reorder {
        share: settings.reorder,
        seed: settings.seed,
    };
    lambda.poll_queues(queues, duplicates, reorder);
    lambda.poll_streams(streams, &checkpoints);
    lambda.run_schedules();
    Ok(())
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
