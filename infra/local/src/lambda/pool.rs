//! Hides which instance of a function runs an invocation, and when another one starts.
//!
//! Invocations wait in one line. An instance that becomes free takes the first one; if none
//! waits, it goes on a stack, so that the most recently used runs next and the others can grow
//! old and be reaped. A new instance starts whenever more invocations wait than instances will
//! soon be free, and the limit allows it.

use std::{
    collections::VecDeque,
    num::NonZero,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};

use super::{Executable, InvokeError, Platform, WhenBusy, instance};

/// Instances of a function, for each core and in all: a laptop, not a region. More of them would starve
/// what serves their tables and queues; what exceeds it waits, as on AWS at the account's limit.
const INSTANCES_PER_CORE: usize = 10;
const INSTANCES_MAX: usize = 50;
/// Invocations that may wait for one function.
const WAITING_MAX: usize = 1_000;
/// What their events may weigh together: one may have 6 MB.
const WAITING_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long a function that does not start is left alone: doubled from the first to the second.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// All instances of one function.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) executable: Executable,
    pub(super) platform: Arc<Platform>,
    instances_max: usize,
    /// Instances that start at once. To start is work, unlike most of what functions do: more than
    /// the machine has cores for would only hold each other up, and those that run.
    starting_max: usize,
    state: Mutex<State>,
}

/// One invocation on its way to an instance.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request_id: String,
    pub(super) event: Bytes,
    pub(super) trace_header: String,
    pub(super) reply: oneshot::Sender<Result<Bytes, InvokeError>>,
    /// Where the end of its log goes before the reply, if somebody wants it.
    pub(super) tail: Option<oneshot::Sender<Vec<u8>>>,
}

/// Where an instance gets its next job from.
pub(super) type NextJob = oneshot::Receiver<Job>;

#[derive(Debug, Default)]
struct State {
    closed: bool,
    waiting: VecDeque<Job>,
    /// The most recently used last.
    idle: Vec<Idle>,
    /// Instances that will take a job in a moment: those that start, and those that have
    /// answered but not asked for the next job yet.
    soon_free: usize,
    /// Of these, the ones that start.
    starting: usize,
    /// All instances: starting, busy and idle.
    instances: usize,
    last_instance_id: u64,
    /// Instances up to this one take no more jobs.
    retired: u64,
    failures_in_a_row: u32,
    no_start_before: Option<Instant>,
    /// The last start ran out of time.
    starts_slowly: bool,
}

/// Whether an instance's start is the first attempt or follows one that took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    First,
    Repeated,
}

#[derive(Debug)]
struct Idle {
    instance_id: u64,
    job: oneshot::Sender<Job>,
}

impl Pool {
    pub(super) fn new(executable: Executable, platform: Arc<Platform>) -> Pool {
        let reserved = executable.function.concurrency_max;
        let reserved = reserved.and_then(|reserved| usize::try_from(reserved).ok());
        let cores = thread::available_parallelism().map_or(2, NonZero::get);
        let possible = cores.saturating_mul(INSTANCES_PER_CORE).min(INSTANCES_MAX);
        let instances_max = reserved.unwrap_or(possible).min(possible);
        Pool {
            executable,
            platform,
            instances_max,
            starting_max: cores,
            state: Mutex::default(),
        }
    }

    /// Most invocations that run at once.
    pub(super) fn instances_max(&self) -> usize {
        self.instances_max
    }

    /// Starts an instance that nobody asked for yet. The future waits until it is ready or has
    /// failed.
    pub(super) fn prestart(self: &Arc<Self>) -> impl Future<Output = ()> + use<> {
        let (settled, wait) = oneshot::channel();
        if self.instances_max > 0 {
            self.start(&mut self.state(), Some(settled));
        }
        async move {
            // The instance drops its end either way: there is no message to be had.
            drop(wait.await);
        }
    }

    /// Puts a job before the next free instance, or before a new one.
    pub(super) fn submit(
        self: &Arc<Self>,
        mut job: Job,
        when_busy: WhenBusy,
    ) -> Result<(), InvokeError> {
        let mut state = self.state();
        if state.closed {
            return Err(InvokeError::ShuttingDown);
        }
        while let Some(idle) = state.idle.pop() {
            match idle.job.send(job) {
                Ok(()) => return Ok(()),
                Err(unsent) => job = unsent,
            }
        }
        if state.waiting.len() >= state.soon_free {
            // Those whose callers went away leave the line before anybody is refused.
            state.waiting.retain(|job| !job.reply.is_closed());
        }
        let full = state.instances >= self.instances_max && state.waiting.len() >= state.soon_free;
        let refuse = full && when_busy == WhenBusy::Refuse;
        let waiting = state.waiting.iter().chain([&job]);
        let bytes: usize = waiting.map(|job| job.event.len()).sum();
        let too_much = state.waiting.len() >= WAITING_MAX || bytes > WAITING_BYTES_MAX;
        if refuse || self.instances_max == 0 || too_much {
            return Err(InvokeError::Throttled {
                function: self.executable.function.name.clone(),
            });
        }
        state.waiting.push_back(job);
        self.start_what_is_needed(&mut state);
        Ok(())
    }

    /// When the next instance may start, if not at once.
    pub(super) fn no_start_before(&self) -> Option<Instant> {
        self.state().no_start_before
    }

    /// Which start the next one is. Lambda repeats a start that took too long within the first
    /// invocation (Lambda developer guide, "Failures during the init phase").
    pub(super) fn next_start(&self) -> Start {
        if self.state().starts_slowly {
            Start::Repeated
        } else {
            Start::First
        }
    }

    /// How long a start may take: a repeated one as long as an invocation.
    pub(super) fn time_max(&self, start: Start) -> Duration {
        let first = self.platform.pace.init_time_max;
        match start {
            Start::First => first,
            Start::Repeated => first.max(self.executable.function.timeout),
        }
    }

    /// A new instance was not ready in time. Whoever waits for it waits for a repetition.
    pub(super) fn too_slow(self: &Arc<Self>, start: Start, error: InvokeError) {
        if start == Start::Repeated {
            return self.failed(error);
        }
        let mut state = self.state();
        state.starts_slowly = true;
        started(&mut state);
        state.instances = state.instances.saturating_sub(1);
        self.start_what_is_needed(&mut state);
    }

    /// A new instance is ready.
    pub(super) fn ready(self: &Arc<Self>, instance_id: u64) -> NextJob {
        let mut state = self.state();
        started(&mut state);
        state.failures_in_a_row = 0;
        state.no_start_before = None;
        state.starts_slowly = false;
        let next = next_job(&mut state, instance_id);
        self.start_what_is_needed(&mut state);
        next
    }

    /// An instance has answered its job, and the next one need not start another instance.
    pub(super) fn soon_free(self: &Arc<Self>) -> SoonFree {
        let mut state = self.state();
        state.soon_free = state.soon_free.saturating_add(1);
        SoonFree {
            pool: Arc::clone(self),
        }
    }

    /// An instance has dealt with its job and is ready for another.
    pub(super) fn release(&self, instance_id: u64) -> NextJob {
        next_job(&mut self.state(), instance_id)
    }

    /// Takes an idle instance out, unless a job is on its way to it.
    pub(super) fn withdraw(&self, instance_id: u64) -> Withdrawn {
        let mut state = self.state();
        let place = state
            .idle
            .iter()
            .position(|idle| idle.instance_id == instance_id);
        match place {
            Some(place) => {
                state.idle.remove(place);
                Withdrawn::Yes
            }
            None => Withdrawn::No,
        }
    }

    /// An instance that had been ready has ended. A job that it was given but never took goes
    /// back to the head of the line.
    pub(super) fn ended(self: &Arc<Self>, instance_id: u64, mut job: NextJob) {
        let mut state = self.state();
        state.idle.retain(|idle| idle.instance_id != instance_id);
        state.instances = state.instances.saturating_sub(1);
        if let Ok(job) = job.try_recv() {
            if state.closed {
                answer(job, Err(InvokeError::ShuttingDown));
            } else {
                state.waiting.push_front(job);
            }
        }
        self.start_what_is_needed(&mut state);
    }

    /// A new instance has failed. The first job in the line gets to know why.
    pub(super) fn failed(self: &Arc<Self>, error: InvokeError) {
        let mut state = self.state();
        started(&mut state);
        state.instances = state.instances.saturating_sub(1);
        let back_off = BACK_OFF_MIN.saturating_mul(1_u32 << state.failures_in_a_row.min(10));
        state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
        state.no_start_before = Some(Instant::now() + back_off.min(BACK_OFF_MAX));
        if let Some(job) = first_waiting(&mut state) {
            answer(job, Err(error));
        }
        self.start_what_is_needed(&mut state);
    }

    /// Lets every instance there is finish what it does, and no more: jobs from now on run from the
    /// binary as it is now.
    pub(super) fn retire(&self) {
        let mut state = self.state();
        state.retired = state.last_instance_id;
        // Whose job can never come stops.
        state.idle.clear();
        state.failures_in_a_row = 0;
        state.no_start_before = None;
    }

    /// Refuses every job from now on, also those that wait.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        for job in state.waiting.drain(..) {
            answer(job, Err(InvokeError::ShuttingDown));
        }
    }

    fn start_what_is_needed(self: &Arc<Self>, state: &mut State) {
        while !state.closed
            && state.waiting.len() > state.soon_free
            && state.instances < self.instances_max
            && state.starting < self.starting_max
        {
            self.start(state, None);
        }
    }

    fn start(self: &Arc<Self>, state: &mut State, settled: Option<oneshot::Sender<()>>) {
        state.soon_free = state.soon_free.saturating_add(1);
        state.starting = state.starting.saturating_add(1);
        state.instances = state.instances.saturating_add(1);
        state.last_instance_id = state.last_instance_id.wrapping_add(1);
        let task = instance::run(Arc::clone(self), state.last_instance_id, settled);
        self.platform.spawn(task);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As long as this lives, its instance counts as one that will soon be free.
pub(super) struct SoonFree {
    pool: Arc<Pool>,
}

impl Drop for SoonFree {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.soon_free = state.soon_free.saturating_sub(1);
        self.pool.start_what_is_needed(&mut state);
    }
}

/// Whether an instance was idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withdrawn {
    Yes,
    No,
}

/// A start is over, well or not.
fn started(state: &mut State) {
    state.soon_free = state.soon_free.saturating_sub(1);
    state.starting = state.starting.saturating_sub(1);
}

fn next_job(state: &mut State, instance_id: u64) -> NextJob {
    let (sender, next) = oneshot::channel();
    if instance_id <= state.retired {
        return next;
    }
    match first_waiting(state) {
        // Its receiver is at hand, so that it cannot fail.
        Some(job) => drop(sender.send(job)),
        None => state.idle.push(Idle {
            instance_id,
            job: sender,
        }),
    }
    next
}

/// The first job whose caller still waits.
fn first_waiting(state: &mut State) -> Option<Job> {
    std::iter::from_fn(|| state.waiting.pop_front()).find(|job| !job.reply.is_closed())
}

/// Answers a job. A caller that went away is no error.
pub(super) fn answer(job: Job, result: Result<Bytes, InvokeError>) {
    if job.reply.send(result).is_err() {
        tracing::debug!(
            request_id = job.request_id,
            "nobody waits for this answer any more"
        );
    }
}
