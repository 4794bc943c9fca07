//! The local Lambda service: runs each function's own binary and hides processes, the Runtime
//! API, concurrency, timeouts and freezing behind [`Lambda::invoke`].
//!
//! An invocation goes `lambda` → `pool` (which instance, or a new one) → `instance` (one process
//! and its states) → `runtime_api` (HTTP to the process) and back. `group` sees to it that no
//! process is left behind, `processes` lets one be killed on purpose, `logs` sorts what they print,
//! `memory` sees what they use, and `invoke_api` is the service's own HTTP face. What else invokes
//! functions: `mapping` from queues (as untidily as SQS may deliver: `duplicates`, `reorder`), `stream`
//! from tables, `schedule` by the clock, `later` for who does not wait.

mod checkpoints;
mod duplicates;
mod error;
mod failures;
mod group;
mod instance;
mod invoke_api;
mod later;
mod logs;
mod mapping;
mod memory;
mod pool;
mod processes;
mod reorder;
mod report;
mod runtime_api;
mod schedule;
mod stream;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::{
    sync::{Semaphore, oneshot, watch},
    task::JoinSet,
    time,
};
use uuid::Uuid;

pub use checkpoints::Checkpoints;
pub use duplicates::{Duplicates, Share};
pub use error::{InvokeError, LambdaError};
use group::Group;
use pool::{Job, Pool};
pub use processes::{INSTANCE, Processes};
pub use reorder::Reorder;

use crate::{
    metrics::Metrics,
    sqs::{ACCOUNT, REGION},
    template,
};

/// Largest event of a synchronous invocation, in bytes (Lambda quotas).
pub const EVENT_BYTES_MAX: usize = 6_291_456;

/// The Lambda service of the local cloud. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lambda {
    pools: Arc<BTreeMap<String, Arc<Pool>>>,
    platform: Arc<Platform>,
}

/// A function and what runs it.
#[derive(Clone)]
pub struct Executable {
    /// What the template says of it.
    pub function: template::Function,
    /// Its binary.
    pub path: PathBuf,
    /// Its whole environment, already merged; the runtime's own variables are added. [`INSTANCE`] in a
    /// value is each instance's id.
    pub environment: BTreeMap<String, String>,
    /// Where its instances can be found.
    pub processes: Processes,
}

/// What takes long on AWS and here alike. `Default` is AWS's pace; tests hurry.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long an instance may take to start: 10 s (Lambda developer guide, "Init phase").
    pub init_time_max: Duration,
    /// When a failed asynchronous invocation is tried again: after 1 min, and then after 2 min
    /// (Lambda developer guide, "How Lambda handles errors and retries with asynchronous
    /// invocation").
    pub retry_delay: Duration,
    /// How many seconds of schedules pass in a second.
    pub schedule_speed: u32,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            init_time_max: Duration::from_secs(10),
            retry_delay: Duration::from_mins(1),
            schedule_speed: 1,
        }
    }
}

/// What an invocation may say besides its event.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// An `X-Amzn-Trace-Id`; a new one is made where none is given.
    pub trace_header: Option<String>,
    /// What to do when every instance is busy and no more may start.
    pub when_busy: WhenBusy,
}

/// What an invocation does at the function's concurrency limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenBusy {
    /// Waits for its turn, first come first served.
    #[default]
    Wait,
    /// Fails with [`InvokeError::Throttled`], as Lambda does.
    Refuse,
}

/// What the functions share: their tasks, their process group, their metrics.
#[derive(Debug)]
struct Platform {
    tasks: Mutex<JoinSet<()>>,
    group: Mutex<Option<Group>>,
    closing: watch::Sender<bool>,
    metrics: Metrics,
    pace: Pace,
    /// The room that asynchronous events have left, in kB.
    later: Arc<Semaphore>,
}

impl Lambda {
    /// Starts one instance of every function and waits until each is ready or has failed (a
    /// failure is logged, and its next invocation tries again).
    ///
    /// # Errors
    /// A function has no binary, two have one name, or no process can be started at all.
    pub async fn start(
        executables: Vec<Executable>,
        metrics: Metrics,
    ) -> Result<Lambda, LambdaError> {
        Lambda::start_at(Pace::default(), executables, metrics).await
    }

    /// [`Lambda::start`] at another pace than AWS's.
    ///
    /// # Errors
    /// As [`Lambda::start`].
    pub async fn start_at(
        pace: Pace,
        executables: Vec<Executable>,
        metrics: Metrics,
    ) -> Result<Lambda, LambdaError> {
        let group = Group::start().map_err(|source| LambdaError::Group { source })?;
        let platform = Arc::new(Platform {
            tasks: Mutex::default(),
            group: Mutex::new(Some(group)),
            closing: watch::Sender::new(false),
            metrics,
            pace,
            later: Arc::new(Semaphore::new(later::ROOM_KB)),
        });
        let mut pools = BTreeMap::new();
        for mut executable in executables {
            let name = executable.function.name.clone();
            executable.path =
                executable
                    .path
                    .canonicalize()
                    .map_err(|source| LambdaError::NoBinary {
                        function: name.clone(),
                        path: executable.path.display().to_string(),
                        source,
                    })?;
            let pool = Pool::new(executable, Arc::clone(&platform));
            if pools.insert(name.clone(), Arc::new(pool)).is_some() {
                return Err(LambdaError::DuplicateFunction { function: name });
            }
        }
        let starting = join_all(pools.values().map(Pool::prestart));
        if time::timeout(pace.init_time_max, starting).await.is_err() {
            tracing::warn!("a function is not ready yet; its invocations wait for it");
        }
        Ok(Lambda {
            pools: Arc::new(pools),
            platform,
        })
    }

    /// Runs a function (by name, `name:qualifier` or ARN) once and returns what it answered.
    /// Takes as long as the function, at most its timeout and the wait for an instance. When the
    /// caller goes away, an invocation that has begun still runs to its end.
    ///
    /// # Errors
    /// See [`InvokeError`].
    pub async fn invoke(
        &self,
        function: &str,
        event: Bytes,
        invocation: Invocation,
    ) -> Result<Bytes, InvokeError> {
        self.invoke_as(request_id(), function, event, invocation, None)
            .await
    }

    async fn invoke_as(
        &self,
        request_id: String,
        function: &str,
        event: Bytes,
        invocation: Invocation,
        tail: Option<oneshot::Sender<Vec<u8>>>,
    ) -> Result<Bytes, InvokeError> {
        let pool = self.pool(function)?;
        if event.len() > EVENT_BYTES_MAX {
            return Err(InvokeError::EventTooLarge {
                function: function.to_owned(),
                bytes: event.len(),
                bytes_max: EVENT_BYTES_MAX,
            });
        }
        let trace_header = invocation.trace_header.unwrap_or_else(new_trace_header);
        let (reply, answer) = oneshot::channel();
        let job = Job {
            request_id,
            event,
            trace_header,
            reply,
            tail,
        };
        pool.submit(job, invocation.when_busy)?;
        // A job is dropped without a reply only when its instance's task was, at the very end.
        answer.await.unwrap_or(Err(InvokeError::ShuttingDown))
    }

    fn pool(&self, function: &str) -> Result<&Arc<Pool>, InvokeError> {
        let name = function_name(function);
        self.pools.get(name).ok_or_else(|| InvokeError::NotFound {
            function: function.to_owned(),
        })
    }

    /// The Invoke API: `POST /2015-03-31/functions/{name}/invocations`.
    pub fn router(&self) -> axum::Router {
        invoke_api::router(self.clone())
    }

    /// Has a function run from its binary as it is now: a new instance is started, and waited for
    /// until it is ready or has failed (which is logged); the others finish what they do and stop.
    ///
    /// # Errors
    /// [`InvokeError::NotFound`].
    pub async fn replace(&self, function: &str) -> Result<(), InvokeError> {
        let pool = self.pool(function)?;
        pool.retire();
        pool.prestart().await;
        Ok(())
    }

    /// Refuses new invocations, ends those that run with [`InvokeError::ShuttingDown`] and stops
    /// every process: SIGTERM, and SIGKILL after 2 s. Nothing is left behind.
    pub async fn shutdown(&self) {
        self.platform.closing.send_replace(true);
        for pool in self.pools.values() {
            pool.close();
        }
        let mut tasks = std::mem::take(&mut *self.platform.tasks());
        while tasks.join_next().await.is_some() {}
        let group = self
            .platform
            .group
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(group) = group {
            group.kill().await;
        }
    }
}

impl Platform {
    fn tasks(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task that [`Lambda::shutdown`] waits for.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// The functions' process group, until the service has shut down.
    fn group_id(&self) -> Option<i32> {
        let group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
        group.as_ref().map(Group::id)
    }

    /// Returns when the service is going down.
    async fn closing(&self) {
        let mut closing = self.closing.subscribe();
        if closing.wait_for(|closing| *closing).await.is_err() {
            tracing::debug!("the service ended without a shutdown");
        }
    }
}

impl fmt::Debug for Executable {
    /// Leaves the environment out: it may hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executable")
            .field("function", &self.function.name)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The name in `name`, `name:qualifier`, `account:function:name` or a whole ARN.
fn function_name(reference: &str) -> &str {
    let name = reference
        .rsplit_once("function:")
        .map_or(reference, |(_, name)| name);
    name.split_once(':').map_or(name, |(name, _)| name)
}

fn function_arn(name: &str) -> String {
    format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}")
}

fn request_id() -> String {
    Uuid::new_v4().to_string()
}

/// A sampled trace that begins here.
fn new_trace_header() -> String {
    let unix_s = unix_time_ms() / 1000;
    let random = Uuid::new_v4().simple().to_string();
    let root = random.get(..24).unwrap_or_default();
    let random = Uuid::new_v4().simple().to_string();
    let parent = random.get(..16).unwrap_or_default();
    format!("Root=1-{unix_s:08x}-{root};Parent={parent};Sampled=1")
}

/// The wall clock: deadlines and trace ids are in Unix time.
#[expect(
    clippy::disallowed_methods,
    reason = "the platform is where a function's time is made"
)]
fn unix_time_ms() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_function_finds_it() {
        for reference in [
            "ws-message",
            "ws-message:live",
            "000000000000:function:ws-message",
            "arn:aws:lambda:us-east-1:000000000000:function:ws-message",
            "arn:aws:lambda:us-east-1:000000000000:function:ws-message:live",
        ] {
            assert_eq!(function_name(reference), "ws-message", "{reference}");
        }
    }

    #[test]
    fn a_new_trace_header_has_lambdas_form() {
        let header = new_trace_header();
        let mut parts = header.split(';');
        let root = parts.next().unwrap().strip_prefix("Root=1-").unwrap();
        let (time, random) = root.split_once('-').unwrap();
        assert_eq!((time.len(), random.len()), (8, 24), "{header}");
        assert_eq!(
            parts.next().unwrap().strip_prefix("Parent=").unwrap().len(),
            16,
            "{header}"
        );
        assert_eq!(parts.next(), Some("Sampled=1"));
    }
}
