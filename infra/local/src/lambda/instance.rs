//! Hides one process of a function from its start to its end: environment, states, freezing,
//! deadline and how it is stopped.
//!
//! Its states are starting (until it first asks for an event), idle (frozen with SIGSTOP, so
//! that nothing runs between invocations), busy (until it has answered and asks again) and ended.

use std::{io, path::Path, process::ExitStatus, process::Stdio, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    sync::oneshot,
    time::{self, Instant},
};

use super::{
    InvokeError, function_arn,
    logs::{Logs, keep_end},
    memory,
    pool::{Job, NextJob, Pool, SoonFree, Start, Withdrawn, answer},
    processes::{Entry, INSTANCE},
    report::{Report, how},
    runtime_api::{Call, Outcome, RuntimeApi, Work},
    unix_time_ms,
};
use crate::sqs::REGION;

/// How long an instance is kept that nobody needs.
const IDLE_TIME_MAX: Duration = Duration::from_mins(5);
/// How long after its answer a process counts as one that will soon ask for the next event.
const LINGER_TIME_MAX: Duration = Duration::from_millis(100);
/// What a process has between SIGTERM and SIGKILL.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);

/// How much is kept of what a process says of its failed start.
const INIT_ERROR_BYTES_MAX: usize = 4096;

/// Lambda's `PATH`.
const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin/:/bin:/opt/bin";

/// A process that waits in `next`.
type Parked = oneshot::Sender<Work>;

/// Why an instance has ended.
#[derive(Debug)]
enum End {
    /// The process is gone.
    Exited(io::Result<ExitStatus>),
    /// It has to be killed at once.
    Kill,
    /// It is to be stopped politely.
    Stop,
}

/// Why an instance is not ready.
#[derive(Debug)]
enum Unready {
    /// Its exit tells.
    Exit,
    Because(String),
    TooSlow,
}

/// An instance's whole life. `settled` is dropped as soon as it is ready or has failed.
pub(super) async fn run(pool: Arc<Pool>, id: u64, settled: Option<oneshot::Sender<()>>) {
    if let Some(start) = pool.no_start_before() {
        tokio::select! {
            () = time::sleep_until(start) => {}
            () = pool.platform.closing() => {}
        }
    }
    let mut instance = match Instance::spawn(&pool, id).await {
        Ok(instance) => instance,
        Err(error) => {
            let reason = format!("the process cannot be started: {error}");
            return pool.failed(not_started(&pool, reason, String::new()));
        }
    };
    let began = Instant::now();
    let start = pool.next_start();
    match instance.wait_until_ready(start).await {
        Ok(parked) => {
            let init_time = began.elapsed();
            let next = pool.ready(id);
            drop(settled);
            instance.report.init_time = Some(init_time);
            instance.live(parked, next).await;
        }
        Err((end, unready)) => {
            let (exit, log) = instance.end(end).await;
            let error = |reason| not_started(&pool, reason, log);
            match unready {
                Unready::Exit => pool.failed(error(format!("the process exited {}", how(&exit)))),
                Unready::Because(reason) => pool.failed(error(reason)),
                Unready::TooSlow => {
                    let time_max_s = pool.time_max(start).as_secs_f64();
                    let reason = format!(
                        "it has not asked for an event within {time_max_s} s; does it call \
                         lambda_runtime::run?"
                    );
                    pool.too_slow(start, error(reason));
                }
            }
        }
    }
}

fn not_started(pool: &Pool, reason: String, log: String) -> InvokeError {
    if *pool.platform.closing.borrow() {
        return InvokeError::ShuttingDown;
    }
    let error = InvokeError::InitFailed {
        function: pool.executable.function.name.clone(),
        reason,
        log,
    };
    tracing::error!(%error, "a function does not start");
    error
}

struct Instance {
    pool: Arc<Pool>,
    id: u64,
    child: Child,
    pid: Option<Pid>,
    entry: Entry,
    api: RuntimeApi,
    logs: Logs,
    report: Report,
}

impl Instance {
    async fn spawn(pool: &Arc<Pool>, id: u64) -> io::Result<Instance> {
        let shutting_down = || io::Error::other("the service is shutting down");
        let group_id = pool.platform.group_id().ok_or_else(shutting_down)?;
        let api = RuntimeApi::listen().await?;
        let executable = &pool.executable;
        let function = &executable.function;
        let folder = executable.path.parent().unwrap_or(Path::new("/"));
        let log_group = format!("/aws/lambda/{}", function.name);
        // Before it can make a call.
        let entry = executable.processes.enter(&function.name, id);
        let own_id = id.to_string();
        let environment = executable.environment.iter();
        let environment = environment.map(|(name, value)| (name, value.replace(INSTANCE, &own_id)));
        let mut child = Command::new(&executable.path)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("LANG", "en_US.UTF-8")
            .env("TZ", ":UTC")
            .env("AWS_REGION", REGION)
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .envs(environment)
            .env("AWS_LAMBDA_RUNTIME_API", api.address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", &function.name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env(
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
                function.memory_mb.to_string(),
            )
            .env("AWS_LAMBDA_LOG_GROUP_NAME", log_group)
            .env("AWS_LAMBDA_LOG_STREAM_NAME", format!("instance-{id}"))
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
            .env("LAMBDA_TASK_ROOT", folder)
            .env("LAMBDA_RUNTIME_DIR", "/var/runtime")
            .env("_HANDLER", "bootstrap")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(group_id)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw);
        let logs = Logs::follow(&mut child, &function.name, &pool.platform.metrics)?;
        Ok(Instance {
            pool: Arc::clone(pool),
            id,
            child,
            pid,
            entry,
            api,
            logs,
            report: Report::new(pid, function.memory_mb),
        })
    }

    /// Waits for the first call of `next`. The error says how to end the process, and why.
    async fn wait_until_ready(&mut self, start: Start) -> Result<Parked, (End, Unready)> {
        let memory_mb = self.pool.executable.function.memory_mb;
        let deadline = time::sleep(self.pool.time_max(start));
        let exceeded = memory::exceeded(self.pid, memory_mb);
        tokio::pin!(deadline, exceeded);
        loop {
            tokio::select! {
                biased;
                Some(call) = self.api.calls.recv() => match call {
                    Call::Next(parked) => return Ok(parked),
                    Call::InitError(body) => {
                        let said = body.get(..INIT_ERROR_BYTES_MAX).unwrap_or(&body);
                        let said = String::from_utf8_lossy(said).into_owned();
                        return Err((End::Stop, Unready::Because(said)));
                    }
                    Call::Finished { .. } => {}
                },
                exit = self.child.wait() => return Err((End::Exited(exit), Unready::Exit)),
                () = self.entry.condemned() => return Err((End::Kill, Unready::Exit)),
                () = &mut deadline => return Err((End::Kill, Unready::TooSlow)),
                used_mb = &mut exceeded => {
                    let reason = format!("out of memory: it used {used_mb} MB of its {memory_mb} MB");
                    return Err((End::Kill, Unready::Because(reason)));
                }
                () = self.pool.platform.closing() => {
                    let reason = "the service is shutting down".to_owned();
                    return Err((End::Stop, Unready::Because(reason)));
                }
            }
        }
    }

    /// Takes jobs until the process ends or is no longer needed.
    async fn live(mut self, mut parked: Parked, mut next: NextJob) {
        let pool = Arc::clone(&self.pool);
        let end = loop {
            let job = match self.wait_for_job(&mut parked, &mut next).await {
                Ok(job) => job,
                Err(end) => break end,
            };
            match self.work(job, parked).await {
                Ok((again, soon_free)) => {
                    parked = again;
                    next = pool.release(self.id);
                    drop(soon_free);
                }
                Err(ended) => {
                    // No job is on its way: this instance was not idle.
                    let (_, nothing) = oneshot::channel();
                    return self.finish(ended, nothing).await;
                }
            }
        };
        self.finish((end, None), next).await;
    }

    async fn finish(self, (end, mut job): (End, Option<Job>), next: NextJob) {
        let (pool, id) = (Arc::clone(&self.pool), self.id);
        if let Some(job) = &mut job {
            self.send_tail(job).await;
        }
        let (exit, log) = self.end(end).await;
        if let Some(job) = job {
            let error = InvokeError::Crashed {
                function: pool.executable.function.name.clone(),
                request_id: job.request_id.clone(),
                how: how(&exit),
                log,
            };
            answer(job, Err(error));
        }
        pool.ended(id, next);
    }

    /// Freezes the process and thaws it when there is a job.
    async fn wait_for_job(&mut self, parked: &mut Parked, next: &mut NextJob) -> Result<Job, End> {
        if let Ok(job) = next.try_recv() {
            return Ok(job);
        }
        self.signal(Signal::STOP);
        let idle = time::sleep(IDLE_TIME_MAX);
        tokio::pin!(idle);
        loop {
            tokio::select! {
                job = &mut *next => {
                    self.signal(Signal::CONT);
                    // The pool drops its end of an instance that it has retired.
                    return job.map_err(|_gone| End::Stop);
                }
                Some(call) = self.api.calls.recv() => {
                    if let Call::Next(again) = call {
                        *parked = again;
                    }
                }
                exit = self.child.wait() => return Err(End::Exited(exit)),
                () = self.entry.condemned() => return Err(End::Kill),
                () = &mut idle => {
                    if self.pool.withdraw(self.id) == Withdrawn::Yes {
                        return Err(End::Stop);
                    }
                }
                () = self.pool.platform.closing() => return Err(End::Stop),
            }
        }
    }

    /// Gives the job to the process and answers it. Returns when the process asks for the next,
    /// or how it is to end, with the job if only its exit can answer that.
    async fn work(
        &mut self,
        job: Job,
        parked: Parked,
    ) -> Result<(Parked, Option<SoonFree>), (End, Option<Job>)> {
        self.report.begin(&job.request_id);
        if job.tail.is_some() {
            self.logs.begin_tail();
        }
        let result = self.work_until_next(job, parked).await;
        self.report.trace(&self.pool.executable.function.name);
        self.report.init_time = None;
        result
    }

    async fn work_until_next(
        &mut self,
        job: Job,
        parked: Parked,
    ) -> Result<(Parked, Option<SoonFree>), (End, Option<Job>)> {
        let deadline = Instant::now() + self.pool.executable.function.timeout;
        let exceeded = memory::exceeded(self.pid, self.pool.executable.function.memory_mb);
        tokio::pin!(exceeded);
        let mut undelivered = parked.send(self.work_of(&job)).err();
        let mut open = Some(job);
        let (mut soon_free, mut linger_until) = (None, deadline);
        loop {
            tokio::select! {
                biased;
                Some(call) = self.api.calls.recv() => match call {
                    Call::Next(parked) => match (undelivered.take(), &open) {
                        (Some(work), _) => undelivered = parked.send(work).err(),
                        (None, None) => return Ok((parked, soon_free)),
                        // It must answer first: dropping the call refuses it.
                        (None, Some(_)) => {}
                    },
                    Call::Finished { request_id, outcome, accepted } => {
                        let answered = open.take_if(|job| job.request_id == request_id);
                        if let Some(job) = answered {
                            soon_free = Some(self.pool.soon_free());
                            linger_until = Instant::now() + LINGER_TIME_MAX;
                            self.answer(job, outcome).await;
                            if accepted.send(()).is_err() {
                                tracing::debug!("a process left before its receipt");
                            }
                        }
                    }
                    Call::InitError(_) => {}
                },
                exit = self.child.wait() => return Err((End::Exited(exit), open)),
                // Its exit answers the job, as when somebody else had killed it.
                () = self.entry.condemned() => return Err((End::Kill, open)),
                () = time::sleep_until(deadline) => {
                    if let Some(job) = open {
                        self.time_out(job).await;
                    }
                    return Err((End::Kill, None));
                }
                used_mb = &mut exceeded => {
                    if let Some(job) = open {
                        self.out_of_memory(job, used_mb).await;
                    }
                    return Err((End::Kill, None));
                }
                () = time::sleep_until(linger_until), if soon_free.is_some() => soon_free = None,
                () = self.pool.platform.closing() => {
                    if let Some(job) = open {
                        answer(job, Err(InvokeError::ShuttingDown));
                    }
                    return Err((End::Stop, None));
                }
            }
        }
    }

    async fn answer(&self, mut job: Job, outcome: Outcome) {
        let function = self.pool.executable.function.name.clone();
        let result = match outcome {
            Outcome::Response(response) => Ok(response),
            Outcome::Error(payload) => Err(InvokeError::Failed { function, payload }),
            Outcome::TooLarge => Err(InvokeError::ResponseTooLarge { function }),
        };
        self.send_tail(&mut job).await;
        answer(job, result);
    }

    async fn time_out(&self, mut job: Job) {
        let function = &self.pool.executable.function;
        let error = InvokeError::TimedOut {
            function: function.name.clone(),
            request_id: job.request_id.clone(),
            timeout: function.timeout,
        };
        tracing::warn!(%error, "a function is killed");
        self.send_tail(&mut job).await;
        answer(job, Err(error));
    }

    async fn out_of_memory(&self, mut job: Job, used_mb: u64) {
        let function = &self.pool.executable.function;
        let error = InvokeError::OutOfMemory {
            function: function.name.clone(),
            request_id: job.request_id.clone(),
            memory_mb: function.memory_mb,
            used_mb,
        };
        tracing::warn!(%error, "a function is killed");
        self.send_tail(&mut job).await;
        answer(job, Err(error));
    }

    /// Sends the end of the invocation's log ahead of its reply to whoever asked for it.
    async fn send_tail(&self, job: &mut Job) {
        let Some(wanted) = job.tail.take() else {
            return;
        };
        let mut tail = Vec::new();
        keep_end(&mut tail, self.report.start_line().as_bytes());
        keep_end(&mut tail, &self.logs.end_tail().await);
        keep_end(&mut tail, self.report.end_lines().as_bytes());
        if wanted.send(tail).is_err() {
            tracing::debug!("nobody waits for this log any more");
        }
    }

    fn work_of(&self, job: &Job) -> Work {
        let function = &self.pool.executable.function;
        Work {
            request_id: job.request_id.clone(),
            deadline_unix_ms: unix_time_ms().saturating_add(function.timeout.as_millis()),
            function_arn: function_arn(&function.name),
            trace_header: job.trace_header.clone(),
            event: job.event.clone(),
        }
    }

    /// Ends the process if it has not ended, waits for it and returns its last lines.
    async fn end(mut self, end: End) -> (io::Result<ExitStatus>, String) {
        let exit = match end {
            End::Exited(exit) => exit,
            End::Kill => self.kill().await,
            End::Stop => {
                self.signal(Signal::TERM);
                self.signal(Signal::CONT);
                match time::timeout(STOP_TIME_MAX, self.child.wait()).await {
                    Ok(exit) => exit,
                    Err(_) => self.kill().await,
                }
            }
        };
        (exit, self.logs.finish().await)
    }

    async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.start_kill()?;
        self.child.wait().await
    }

    /// Signals the process, which has not been waited for, so that its id is still its own.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::debug!(%error, ?signal, "a function's process cannot be signalled");
        }
    }
}
