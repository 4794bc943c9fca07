//! Faults on purpose: what stands between the functions and the services they call, with `--fault`.
//!
//! An HTTP reverse proxy. The functions' endpoint variables point to it; everybody else uses the
//! services as ever. It hands every call on, but where a rule of the plan says otherwise. Without
//! the flag there is no proxy.
//!
//! # The plan
//! A YAML file (JSON is YAML too), of which `tests/faults.yaml` is an example:
//!
//! ```yaml
//! seed: 7                  # what chance starts from; 0 if left out
//! rules:
//!   - name: a busy table   # shown in the log; "rule 1" if left out
//!     target: dynamodb     # dynamodb, sqs, connections, llm or "*"
//!     call: PutItem        # see below; "*" if left out
//!     function: ws-message # who calls; "*" if left out
//!     fault: status        # status, delay, cut, kill or duplicate
//!     status: 400
//!     probability: 0.5     # of each call that matches; 1 if left out
//!     after: 2             # leaves the first 2 that match alone; 0 if left out
//!     times: 3             # at most 3 faults; no limit if left out
//! ```
//!
//! A call is an operation of DynamoDB on items or of SQS on messages, for `connections` `POST`, `GET` or `DELETE`, and for
//! `llm` the path, such as `/v1/chat/completions`. The target `llm` is there if the functions use a
//! provider, so with `SPARKLE_LLM_BASE_URL`.
//!
//! | fault | fields | does |
//! | --- | --- | --- |
//! | `status` | `status` 400 to 599, `error`, `moment` | answers with this status, in the service's own words: `error` names the error, else the one usual for the status |
//! | `delay` | `delay_ms`, `jitter_ms`, `moment` | waits so long, more or less by up to the jitter |
//! | `cut` | `moment`, `bytes` | drops the connection; with `bytes`, once so much of the answer's body has passed |
//! | `kill` | `moment`, `bytes` | kills the process that calls with SIGKILL, where `cut` would cut it off |
//! | `duplicate` | `answer` | does the call twice and returns the `second` answer, or the `first` |
//!
//! With `call`, `function`, `moment` and `after` a `kill` names one point of a function: the second frame
//! that the worker posts is `target: connections, call: POST, function: turn-worker, after: 1, times: 1`.
//! Lambda reports such a death as any other, and starts another process when it needs one.
//!
//! The moment is `before` the effect, of which the service then never learns, or `after` it, of
//! which the caller never learns; `before` if left out.
//!
//! Of each call the rules are tried in their order. A delay lets the next ones be tried as well, any
//! other fault is the last. Chance is each rule's own: the same seed and the same order of the
//! calls that match a rule make the same faults.
//!
//! # While it runs
//! Each fault is one log line, and counted in `chaos_injection_total{target,kind}`.
//! `GET /_sparkle/faults` shows the plan with what each rule has matched and injected;
//! `PUT /_sparkle/faults` with a plan replaces it, seed and counts included:
//! `curl -T faults.yaml http://127.0.0.1:3000/_sparkle/faults`. `rules: []` ends all faults.

mod plan;
mod proxy;
mod refusal;

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use reqwest::Url;
use tokio::net::TcpListener;

use crate::{
    lambda::{Executable, INSTANCE, Processes},
    metrics::Metrics,
};
pub use plan::PlanError;
use plan::{Call, Fault, Plan, Target};

/// The variables by which functions find services.
const VARIABLES: [(&str, Target); 4] = [
    ("AWS_ENDPOINT_URL_DYNAMODB", Target::Dynamodb),
    ("AWS_ENDPOINT_URL_SQS", Target::Sqs),
    (
        "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI",
        Target::Connections,
    ),
    ("SPARKLE_LLM_BASE_URL", Target::Llm),
];
/// Longest plan.
const PLAN_BYTES_MAX: usize = 256 * 1024;

/// There can be no faults.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The file cannot be read.
    #[error("the fault file {path} cannot be read")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file is no plan.
    #[error("the fault file {path} is refused")]
    Plan {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: PlanError,
    },
    /// The proxy cannot be set up.
    #[error("the fault proxy cannot listen")]
    Listen(#[source] io::Error),
    /// No call can be handed on.
    #[error("the fault proxy has no HTTP client")]
    Client(#[source] reqwest::Error),
}

/// The fault layer. Cheap to clone; every clone is the same one.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    functions: Vec<String>,
    plan: Mutex<Plan>,
    /// Where each function's calls go, as scheme, host and port.
    origins: Mutex<BTreeMap<(Target, String), String>>,
    http: reqwest::Client,
    metrics: Metrics,
    /// The functions' processes, to be killed.
    processes: Processes,
}

impl Faults {
    /// Reads the plan and takes a free port of this machine for the proxy. `functions` are the
    /// names that rules may speak of.
    ///
    /// # Errors
    /// [`FaultError`]; a rule that is wrong is named with its field.
    pub async fn open(
        path: &Path,
        functions: Vec<String>,
        metrics: Metrics,
    ) -> Result<(Faults, TcpListener), FaultError> {
        let name = || path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| FaultError::Read {
            path: name(),
            source,
        })?;
        let plan = Plan::read(&text, &functions).map_err(|source| FaultError::Plan {
            path: name(),
            source,
        })?;
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .map_err(FaultError::Listen)?;
        let address = listener.local_addr().map_err(FaultError::Listen)?;
        let http = reqwest::Client::builder()
            // A provider's key must not travel to where a redirect or a variable points.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .map_err(FaultError::Client)?;
        let shared = Shared {
            address,
            functions,
            plan: Mutex::new(plan),
            origins: Mutex::default(),
            http,
            metrics,
            processes: Processes::default(),
        };
        Ok((Faults(Arc::new(shared)), listener))
    }

    /// Has a function call the proxy in place of the services that its environment names, and its
    /// processes be known here.
    pub fn divert(&self, executable: &mut Executable) {
        let Executable {
            function,
            environment,
            processes,
            ..
        } = executable;
        let function = function.name.as_str();
        *processes = self.0.processes.clone();
        for (variable, target) in VARIABLES {
            // What is no address reaches the function, which says so by itself.
            let Some(mut url) = environment
                .get(variable)
                .and_then(|url| Url::parse(url).ok())
                .filter(Url::has_host)
            else {
                continue;
            };
            let origin = url.origin().ascii_serialization();
            self.origins().insert((target, function.to_owned()), origin);
            let path = format!("/{target}/{function}/{INSTANCE}{}", url.path());
            url.set_path(path.trim_end_matches('/'));
            let path_and_query = url.as_str().get(url.origin().ascii_serialization().len()..);
            let proxy = format!(
                "http://{}{}",
                self.0.address,
                path_and_query.unwrap_or_default()
            );
            environment.insert(variable.to_owned(), proxy);
        }
    }

    /// Hands calls on, and injects, until it is dropped.
    pub async fn serve(self, listener: TcpListener) {
        proxy::serve(self, listener).await;
    }

    /// `/_sparkle/faults`, for this machine only: shows and replaces the plan.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/_sparkle/faults", get(show).put(replace))
            .layer(DefaultBodyLimit::max(PLAN_BYTES_MAX))
            .with_state(self.clone())
    }

    /// What is to happen to a call. It is logged and counted as having happened.
    fn strike(&self, call: &Call<'_>) -> Vec<Fault> {
        let struck = self.plan().strike(call);
        for strike in &struck {
            tracing::info!(
                rule = strike.rule,
                nth = strike.nth,
                service = %call.target,
                call = call.name,
                function = call.function,
                kind = strike.fault.kind(),
                moment = strike.fault.moment(),
                "fault injected"
            );
            self.0.metrics.labelled_counter(
                "chaos_injection",
                "Faults injected by --fault.",
                &[
                    ("target", call.target.word()),
                    ("kind", strike.fault.kind()),
                ],
                1,
            );
        }
        struck.into_iter().map(|strike| strike.fault).collect()
    }

    /// Where a function's calls to a service go.
    fn origin(&self, target: Target, function: &str) -> Option<String> {
        self.origins().get(&(target, function.to_owned())).cloned()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn origins(&self) -> MutexGuard<'_, BTreeMap<(Target, String), String>> {
        let origins = self.0.origins.lock();
        origins.unwrap_or_else(PoisonError::into_inner)
    }
}

async fn show(State(faults): State<Faults>) -> Response {
    Json(&*faults.plan()).into_response()
}

async fn replace(State(faults): State<Faults>, text: String) -> Response {
    match Plan::read(&text, &faults.0.functions) {
        Ok(plan) => {
            tracing::info!(rules = plan.rules(), "the plan of faults is replaced");
            let mut current = faults.plan();
            *current = plan;
            Json(&*current).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
