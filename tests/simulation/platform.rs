//! Lambda, its queue source and the gateway's front door: who runs a function, when, and with what.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use sparkle_aws::{
    boot::Invocation,
    door::Door,
    exchange,
    learners::Learners,
    meter::Meter,
    push::Push,
    queue::{SummaryQueue, TurnQueue},
    table::{
        accounts::Accounts, answers::Answers, connections::Connections,
        conversations::Conversations, leases::Leases, ledger::Ledger, policies::Policies,
        profiles::Profiles, rates::Arrivals, summaries::Summaries, turns::Turns,
    },
    token::Tokens,
};
use sparkle_llm::{Llm, Scripting, Settings};
use sparkle_local::{
    sqs::{QueueSpec, ReceivedMessage},
    template::Template,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    engines::text,
    fault::exponential,
    process::{Process, Role},
    world::World,
};

/// `Timeout` of the functions in template.yaml.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(29);
const WORKER_TIMEOUT: Duration = Duration::from_secs(900);
/// How long one look at the queue waits, and how many look at once.
const POLL: Duration = Duration::from_secs(20);
const POLLERS: u32 = 4;
/// How many orders for summaries are worked on at once.
const SUMMARISERS: u32 = 2;

/// A process with its function in it.
pub(crate) struct Instance<App> {
    pub(crate) app: App,
    pub(crate) process: Arc<Process>,
}

/// Names of the queues in template.yaml.
pub(crate) struct Queues {
    pub(crate) turns: String,
    pub(crate) bills: String,
    pub(crate) summaries: String,
}

impl Queues {
    pub(crate) fn of(template: &Template) -> Self {
        let name = |word: &str| {
            let mut queues = template.queues.iter();
            let has_redrive = |queue: &&QueueSpec| queue.dead_letter.is_some();
            let meant = queues.find(|queue| has_redrive(queue) && queue.name.starts_with(word));
            meant.unwrap().name.clone()
        };
        Self {
            turns: name("Turn"),
            bills: name("Billing"),
            summaries: name("Summary"),
        }
    }
}

/// Runs the functions of one run.
pub(crate) struct Platform {
    pub(crate) world: Arc<World>,
    pub(crate) queues: Queues,
    /// Names the run's processes, so that no two runs share what the SDK keeps for a region.
    run: String,
    idle_messages: RefCell<Vec<Instance<ws_message::App>>>,
    idle_examiners: RefCell<Vec<Instance<ws_message::App>>>,
    idle_workers: RefCell<Vec<Instance<turn_worker::App>>>,
    pub(crate) idle_summarisers: RefCell<Vec<Instance<summary_worker::App>>>,
    busy: RefCell<Vec<Arc<Process>>>,
    started: Cell<u32>,
    invoked: Cell<u32>,
    tasks: RefCell<JoinSet<()>>,
}

impl Platform {
    /// Starts to look at the queue. To be called inside a `LocalSet`.
    pub(crate) fn start(world: Arc<World>, run: String, queues: Queues) -> Rc<Self> {
        let platform = Rc::new(Self {
            world,
            queues,
            run,
            idle_messages: RefCell::default(),
            idle_examiners: RefCell::default(),
            idle_workers: RefCell::default(),
            idle_summarisers: RefCell::default(),
            busy: RefCell::default(),
            started: Cell::new(0),
            invoked: Cell::new(0),
            tasks: RefCell::default(),
        });
        for _ in 0..POLLERS {
            platform.spawn(Rc::clone(&platform).poll());
        }
        platform.spawn(Rc::clone(&platform).write_ledger());
        for _ in 0..SUMMARISERS {
            platform.spawn(Rc::clone(&platform).summarise());
        }
        platform.spawn(Rc::clone(&platform).sweep());
        platform.spawn(Rc::clone(&platform).disturb());
        platform
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        tasks.spawn_local(task);
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                self.world.trace.violation("a function panicked".to_owned());
            }
        }
    }

    /// Ends everything.
    pub(crate) async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        tasks.shutdown().await;
    }

    /// Whether no process is at work.
    pub(crate) fn is_idle(&self) -> bool {
        self.busy.borrow().is_empty()
    }

    pub(crate) async fn queues_are_empty(&self) -> bool {
        let Queues {
            turns,
            bills,
            summaries,
        } = &self.queues;
        for queue in [turns, bills, summaries] {
            let depth = self.world.engines.sqs.depth(queue).await.unwrap();
            if depth.visible + depth.in_flight + depth.delayed > 0 {
                return false;
            }
        }
        true
    }

    /// What is still under way although all is over.
    pub(crate) fn left_over(&self) -> Vec<String> {
        let now_ms = self.world.clock.unix_ms();
        let leases = self.world.engines.items("LeasesTable").into_iter();
        let left = leases.filter(|lease| {
            let is_nobodys = |name: &str| {
                let held = lease.get(name).and_then(text);
                held.and_then(|digits| digits.parse().ok()).unwrap_or(0) <= now_ms
            };
            let is_none = |name: &str| {
                lease
                    .get(name)
                    .is_none_or(|value| *value == json!({ "L": [] }))
            };
            let names = ["waiting", "tail", "cancelled", "asked"];
            !is_nobodys("leased_until") || !names.into_iter().all(is_none)
        });
        left.map(|lease| format!("a lease is left over: {lease}"))
            .collect()
    }

    // ---- the front door ------------------------------------------------------------------

    /// A frame of a client arrives at the gateway.
    pub(crate) fn frame(self: &Rc<Self>, role: Role, connection: &str, user: &str, text: String) {
        let event = json!({
            "requestContext": {
                "routeKey": "$default",
                "eventType": "MESSAGE",
                "connectionId": connection,
                "authorizer": {
                    "principalId": user,
                    "user_id": user,
                    "tier": "free",
                    "token_expires_at": "4102444800000",
                },
            },
            "body": text,
            "isBase64Encoded": false,
        });
        let platform = Rc::clone(self);
        self.spawn(async move { platform.answer(role, event).await });
    }

    async fn answer(&self, role: Role, event: Value) {
        let idle = self.idle(role).borrow_mut().pop();
        let instance = match idle {
            Some(instance) => instance,
            None => self.new_message_instance(role).await,
        };
        let event = serde_json::from_value(event).unwrap();
        let now = self.world.clock.now();
        let process = Arc::clone(&instance.process);
        let handling = ws_message::handle(&instance.app, event, now);
        let done = self.run(&process, MESSAGE_TIMEOUT, handling).await;
        if let Some(Err(failure)) = &done {
            let process = &process.name;
            self.world
                .trace
                .note(format_args!("{process} failed: {failure}"));
        }
        if done.is_some() {
            self.idle(role).borrow_mut().push(instance);
        }
    }

    fn idle(&self, role: Role) -> &RefCell<Vec<Instance<ws_message::App>>> {
        match role {
            Role::Examiner => &self.idle_examiners,
            _ => &self.idle_messages,
        }
    }

    /// Runs a handler in its process; nothing if the process died or had to be ended.
    pub(crate) async fn run<T>(
        &self,
        process: &Arc<Process>,
        most: Duration,
        handling: impl Future<Output = T>,
    ) -> Option<T> {
        self.busy.borrow_mut().push(Arc::clone(process));
        let done = timeout(most, process.live(Box::pin(handling))).await;
        self.busy
            .borrow_mut()
            .retain(|busy| !Arc::ptr_eq(busy, process));
        let trace = &self.world.trace;
        match done {
            Ok(Some(done)) => Some(done),
            Ok(None) => {
                trace.note(format_args!("{} died", process.name));
                trace.count(&format!("{} processes died", process.role.as_str()), 1);
                None
            }
            Err(_) => {
                process.kill();
                trace.note(format_args!("{} timed out", process.name));
                trace.count(&format!("{} timed out", process.role.as_str()), 1);
                None
            }
        }
    }

    // ---- the queue source ----------------------------------------------------------------

    async fn poll(self: Rc<Self>) {
        let sqs = &self.world.engines.sqs;
        loop {
            let received = sqs
                .receive(&self.queues.turns, 1, POLL, None)
                .await
                .unwrap();
            for message in received {
                let count = &message.attributes["ApproximateReceiveCount"];
                let trace = &self.world.trace;
                trace.note(format_args!(
                    "queue -> {} x{count}",
                    &message.message_id[..8]
                ));
                trace.count("deliveries", 1);
                self.disturb_delivery(&message).await;
                if !self.deliver(&message).await {
                    continue;
                }
                let is_lost = {
                    let mut plan = self.world.plan.lock().unwrap();
                    let share = plan.undeleted;
                    !plan.is_calm() && plan.happens(share)
                };
                if is_lost {
                    trace.count("deletions lost", 1);
                    continue;
                }
                // Its time may be over: then it comes again.
                let deleted = sqs
                    .delete(&self.queues.turns, &message.receipt_handle)
                    .await;
                let outcome = if deleted.is_ok() { "deleted" } else { "late" };
                trace.note(format_args!(
                    "queue x {} {outcome}",
                    &message.message_id[..8]
                ));
            }
        }
    }

    /// Delivers a message late, or twice.
    async fn disturb_delivery(self: &Rc<Self>, message: &ReceivedMessage) {
        let (late, again) = {
            let mut plan = self.world.plan.lock().unwrap();
            let (share_late, share_doubled) = (plan.late, plan.doubled);
            let is_calm = plan.is_calm();
            let late = !is_calm && plan.happens(share_late);
            let again = !is_calm && plan.happens(share_doubled);
            (
                late.then(|| plan.within(Duration::from_secs(5))),
                again.then(|| plan.within(Duration::from_secs(20))),
            )
        };
        if let Some(again) = again {
            self.world.trace.count("deliveries doubled", 1);
            let (platform, message) = (Rc::clone(self), message.clone());
            self.spawn(async move {
                sleep(again).await;
                platform.deliver(&message).await;
            });
        }
        if let Some(late) = late {
            self.world.trace.count("deliveries late", 1);
            sleep(late).await;
        }
    }

    /// Invokes the worker; whether it succeeded.
    async fn deliver(&self, message: &ReceivedMessage) -> bool {
        let idle = self.idle_workers.borrow_mut().pop();
        let instance = match idle {
            Some(instance) => instance,
            None => self.new_worker().await,
        };
        let event = json!({ "Records": [{
            "messageId": message.message_id,
            "receiptHandle": message.receipt_handle,
            "body": message.body,
            "attributes": message.attributes,
            "messageAttributes": {},
            "md5OfBody": message.md5_of_body,
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:TurnQueue.fifo",
            "awsRegion": "us-east-1",
        }] });
        let event = serde_json::from_value(event).unwrap();
        let now = self.world.clock.now();
        let at = Invocation {
            now,
            deadline: now.after(WORKER_TIMEOUT),
            id: self.next_invocation(),
        };
        let process = Arc::clone(&instance.process);
        let trace = &self.world.trace;
        trace.note(format_args!(
            "{} takes {}",
            process.name,
            &message.message_id[..8]
        ));
        let handling = turn_worker::handle(&instance.app, event, at);
        let Some(done) = self.run(&process, WORKER_TIMEOUT, handling).await else {
            return false;
        };
        self.idle_workers.borrow_mut().push(instance);
        let answer = done.map(|answer| serde_json::to_value(answer).unwrap());
        let is_done = answer.is_ok_and(|answer| answer["batchItemFailures"] == json!([]));
        let outcome = if is_done {
            "done"
        } else {
            trace.count("turn-worker failed", 1);
            "failed"
        };
        trace.note(format_args!("{} {outcome}", process.name));
        is_done
    }

    pub(crate) fn next_invocation(&self) -> String {
        self.invoked.set(self.invoked.get() + 1);
        format!("invocation-{}", self.invoked.get())
    }

    // ---- processes -----------------------------------------------------------------------

    pub(crate) fn process(&self, role: Role) -> (Arc<Process>, exchange::Exchange, String) {
        let number = self.started.get() + 1;
        self.started.set(number);
        let process = Arc::new(Process::new(role, number));
        let exchange = self.world.exchange(&process);
        (process, exchange, format!("{}-{number}", self.run))
    }

    async fn new_message_instance(&self, role: Role) -> Instance<ws_message::App> {
        let (process, exchange, region) = self.process(role);
        let clock = self.world.clock;
        let aws = exchange::aws(exchange, &region, move || clock.now());
        let app = ws_message::App {
            accounts: Accounts::open(&aws).unwrap(),
            policies: Policies::open(&aws).unwrap(),
            ledger: Ledger::open(&aws).unwrap(),
            door: Door::open(&aws).unwrap(),
            turns: Turns::open(&aws).unwrap(),
            leases: Leases::open(&aws).unwrap(),
            conversations: Conversations::open(&aws).unwrap(),
            summaries: Summaries::open(&aws).unwrap(),
            queue: TurnQueue::open(&aws).unwrap(),
            tokens: Tokens::open(&aws).await.unwrap(),
            meter: Meter::open(&aws).unwrap(),
            answers: Answers::open(&aws).unwrap(),
            settings: sparkle_aws::config::cache().unwrap(),
            profiles: Profiles::open(&aws).unwrap(),
            learners: Learners::open(&aws).unwrap(),
            arrivals: Arrivals::open(&aws).unwrap(),
            lookups: sparkle_aws::lookup::Lookups::open(&aws).unwrap(),
        };
        Instance { app, process }
    }

    async fn new_worker(&self) -> Instance<turn_worker::App> {
        let (process, exchange, region) = self.process(Role::Worker);
        let clock = self.world.clock;
        let aws = exchange::aws(exchange, &region, move || clock.now());
        let scripted = Settings {
            scripting: Scripting::Obeyed,
            ..Settings::default()
        };
        let app = turn_worker::App {
            meter: Meter::open(&aws).unwrap(),
            cache: turn_worker::Cache::open(&aws).await.unwrap(),
            connections: Connections::open(&aws).unwrap(),
            turns: Turns::open(&aws).unwrap(),
            leases: Leases::open(&aws).unwrap(),
            conversations: Conversations::open(&aws).unwrap(),
            summaries: Summaries::open(&aws).unwrap(),
            queue: TurnQueue::open(&aws).unwrap(),
            summary_queue: SummaryQueue::open(&aws).unwrap(),
            push: Push::open(&aws).unwrap(),
            learners: Learners::open(&aws).unwrap(),
            llm: Llm::from_settings(&scripted).unwrap(),
            prompts: turn_worker::Prompts::from_environment().unwrap(),
        };
        Instance { app, process }
    }

    /// Kills processes, or lets them hang, at moments of no call.
    async fn disturb(self: Rc<Self>) {
        let (every, mut rng, calm_at) = {
            let mut plan = self.world.plan.lock().unwrap();
            (plan.stop_every, plan.fork(), plan.calm_at)
        };
        let Some(every) = every else { return };
        loop {
            sleep(exponential(&mut rng, every)).await;
            if Instant::now() >= calm_at {
                return;
            }
            let busy = self.busy.borrow();
            let Some(process) = rng.choice(busy.iter()) else {
                continue;
            };
            if process.role == Role::Examiner {
                continue;
            }
            let trace = &self.world.trace;
            if rng.bool() {
                trace.note(format_args!("{} is killed", process.name));
                trace.count("kill at any moment", 1);
                process.kill();
            } else {
                trace.note(format_args!("{} hangs", process.name));
                trace.count("hang at any moment", 1);
                process.hang(Duration::from_millis(rng.u64(500..45_000)));
            }
        }
    }
}
