//! Model learners: what a client does so that nothing is lost, and what it got to see.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, time::Duration};

use fastrand::Rng;
use serde_json::{Value, json};
use sparkle_core::id::{RequestId, StreamId, UserId};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    fault::exponential,
    platform::Platform,
    process::Role,
    scene::{Asks, Scene},
    script::Script,
    view::{Seen, View},
};

mod acting;

pub(crate) use acting::Act;

/// How long a client waits for what is missing before it asks (again).
const GAP_PATIENCE: Duration = Duration::from_secs(3);

/// Counts how long a learner waited who stopped an answer.
pub(crate) const CANCELLED_AFTER_MS: &str = "cancelled after ms";

/// A message that a learner is to send, and what became of it.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) request: String,
    pub(crate) session: String,
    pub(crate) stream: u32,
    pub(crate) trace_id: String,
    pub(crate) script: Script,
    /// Its place among the acknowledged turns of the run.
    pub(crate) acked: Cell<Option<u64>>,
    pub(crate) cancelled: Cell<bool>,
    /// With its conversation.
    pub(crate) deleted: Cell<bool>,
}

/// One person with several devices.
pub(crate) struct Learner {
    pub(crate) user: String,
    pub(crate) turns: Vec<Turn>,
    patience: Patience,
    /// When it stops the answer, after the `ack`.
    cancels_after: Option<Duration>,
    acks: Cell<u64>,
    told: Notify,
}

/// How long a learner waits before it asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Short,
    Long,
}

impl Learner {
    /// A learner with so many messages to send in so many sessions.
    pub(crate) fn new(user: String, sessions: u32, messages: u32, rng: &mut Rng) -> Rc<Self> {
        let id = UserId::parse(&*user).unwrap();
        let turns = (0..messages).map(|number| {
            let request = format!("{user}-r{number}");
            let stream = StreamId::of(&id, &RequestId::parse(&*request).unwrap());
            Turn {
                session: format!("s{}", rng.u32(0..sessions)),
                stream: stream.get(),
                trace_id: format!("{:032x}", rng.u128(1..)),
                script: Script::random(rng),
                acked: Cell::new(None),
                cancelled: Cell::new(false),
                deleted: Cell::new(false),
                request,
            }
        });
        Rc::new(Self {
            turns: turns.collect(),
            user,
            patience: Patience::Short,
            cancels_after: None,
            acks: Cell::new(0),
            told: Notify::new(),
        })
    }

    /// A learner with one message, who may stop its answer.
    pub(crate) fn of_one_turn(cancels_after: Option<Duration>) -> Rc<Self> {
        let mut rng = Rng::with_seed(1);
        let learner = Self::new("ann".to_owned(), 1, 1, &mut rng);
        let mut learner = Rc::into_inner(learner).unwrap();
        learner.turns[0].script = Script::plain();
        learner.patience = Patience::Long;
        learner.cancels_after = cancels_after;
        Rc::new(learner)
    }

    /// A learner who does what a scene says.
    pub(crate) fn of_scene(scene: &Scene) -> Rc<Self> {
        let mut rng = Rng::with_seed(1);
        let learner = Self::new("ann".to_owned(), 1, scene.turns, &mut rng);
        let mut learner = Rc::into_inner(learner).unwrap();
        for (number, turn) in learner.turns.iter_mut().enumerate() {
            turn.script = match scene.asks {
                Asks::Scripts => Script::drifting(),
                Asks::OneQuestion => Script::Asked,
            };
            if scene.asks == Asks::OneQuestion {
                turn.session = format!("s{number}");
            }
        }
        learner.patience = scene.patience;
        Rc::new(learner)
    }

    fn turn_of_stream(&self, stream: u32) -> Option<&Turn> {
        self.turns.iter().find(|turn| turn.stream == stream)
    }
}

/// What a device heard.
enum Heard {
    /// A frame of a stream, or its `ack` for a `resume`.
    Progress,
    /// The message of this request was accepted.
    Ack(String),
    /// This request was refused.
    Refusal { request: String, code: String },
    /// The socket is cut.
    Cut,
    /// Nothing, until it stopped listening.
    Silence,
}

/// One device: at most one socket, and what it has seen of each stream.
pub(crate) struct Device {
    platform: Rc<Platform>,
    learner: Rc<Learner>,
    name: String,
    rng: Rng,
    socket: Option<(String, mpsc::UnboundedReceiver<String>)>,
    sockets: u32,
    asked: u32,
    asked_at: Instant,
    knows_resume: bool,
    cut_at: Option<Instant>,
    pub(crate) views: BTreeMap<u32, View>,
}

impl Device {
    pub(crate) fn new(platform: &Rc<Platform>, learner: &Rc<Learner>, name: &str) -> Self {
        let rng = platform.world.plan.lock().unwrap().fork();
        Self {
            platform: Rc::clone(platform),
            learner: Rc::clone(learner),
            name: format!("{}-{name}", learner.user),
            rng,
            socket: None,
            sockets: 0,
            asked: 0,
            asked_at: Instant::now(),
            knows_resume: true,
            cut_at: None,
            views: BTreeMap::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_of(&self, learner: &Learner) -> bool {
        self.learner.user == learner.user
    }

    // ---- the author ----------------------------------------------------------------------

    /// Sends every message of the learner, each after the `ack` of the one before, and stays until all
    /// are answered.
    pub(crate) async fn write(mut self) -> Self {
        let learner = Rc::clone(&self.learner);
        for turn in &learner.turns {
            self.say(turn).await;
            if let Some(pause) = learner.cancels_after {
                self.cancel_after(pause, turn).await;
                let began = Instant::now();
                self.stay(|device| device.is_over(turn)).await;
                let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap();
                self.platform.world.trace.count(CANCELLED_AFTER_MS, took_ms);
            } else if self.rng.u32(0..100) < 15 {
                let pause = Duration::from_millis(self.rng.u64(0..5_000));
                self.cancel_after(pause, turn).await;
            }
            match self.rng.u32(0..3) {
                0 => self.stay(|device| device.is_over(turn)).await,
                1 => {
                    let pause = Duration::from_millis(self.rng.u64(0..8_000));
                    self.listen(Instant::now() + pause).await;
                }
                _ => {}
            }
        }
        self.stay(|device| device.learner.turns.iter().all(|turn| device.is_over(turn)))
            .await;
        self
    }

    /// Sends a message until it is acknowledged.
    async fn say(&mut self, turn: &Turn) {
        let trace = &Rc::clone(&self.platform).world.trace;
        let mut tries = 0;
        loop {
            self.connect().await;
            tries += 1;
            let copies = if self.rng.u32(0..100) < 10 { 2 } else { 1 };
            for _ in 0..copies {
                self.send(&turn.request, "chat", &chat(turn), Some(&turn.trace_id));
            }
            let deadline = Instant::now() + Duration::from_millis(self.rng.u64(1_500..9_000));
            loop {
                match self.hear(deadline).await {
                    Heard::Ack(request) if request == turn.request => {
                        let place = self.learner.acks.get();
                        self.learner.acks.set(place + 1);
                        turn.acked.set(Some(place));
                        self.learner.told.notify_waiters();
                        trace.count("turns", 1);
                        return;
                    }
                    Heard::Refusal { request, code }
                        if request == turn.request && !is_passing(&code) =>
                    {
                        trace.violation(format!("{request} is refused with {code}"));
                        return;
                    }
                    Heard::Refusal { request, .. } if request == turn.request => {
                        sleep(Duration::from_millis(self.rng.u64(100..2_000))).await;
                        break;
                    }
                    Heard::Cut | Heard::Silence => break,
                    _ => {}
                }
            }
            trace.count("chats repeated", 1);
            if tries > 200 {
                trace.violation(format!("{} is never acknowledged", turn.request));
                return;
            }
        }
    }

    /// Asks a running turn to stop after a moment.
    async fn cancel_after(&mut self, pause: Duration, turn: &Turn) {
        self.listen(Instant::now() + pause).await;
        if self.is_over(turn) {
            return;
        }
        self.connect().await;
        let request = self.question();
        let payload = json!({ "request_id": turn.request });
        self.send(&request, "cancel", &payload, None);
        turn.cancelled.set(true);
        self.platform.world.trace.count("cancels", 1);
    }

    // ---- the watcher ---------------------------------------------------------------------

    /// Follows every message of the learner from another device, from when it is acknowledged.
    pub(crate) async fn watch(mut self) -> Self {
        let learner = Rc::clone(&self.learner);
        for turn in &learner.turns {
            while turn.acked.get().is_none() {
                learner.told.notified().await;
            }
            let pause = Duration::from_millis(self.rng.u64(0..6_000));
            self.listen(Instant::now() + pause).await;
            self.connect().await;
            self.resume(turn);
            if self.rng.bool() {
                self.stay(|device| device.is_over(turn)).await;
            }
        }
        self.stay(|device| device.learner.turns.iter().all(|turn| device.is_over(turn)))
            .await;
        self
    }

    /// Reads everything once, undisturbed: what a new device of the learner gets to see.
    pub(crate) async fn examine(mut self) -> Self {
        let learner = Rc::clone(&self.learner);
        self.connect().await;
        for turn in learner
            .turns
            .iter()
            .filter(|turn| turn.acked.get().is_some())
        {
            self.resume(turn);
            self.stay(|device| device.is_over(turn)).await;
        }
        self
    }

    // ---- both ----------------------------------------------------------------------------

    fn is_over(&self, turn: &Turn) -> bool {
        let view = self.views.get(&turn.stream);
        view.is_some_and(View::is_complete)
    }

    /// Listens until something is so: asks again where a stream stands still, and connects again where
    /// a socket was cut.
    async fn stay(&mut self, is_enough: impl Fn(&Self) -> bool) {
        let trace = &Rc::clone(&self.platform).world.trace;
        let mut rounds = 0;
        while !is_enough(self) {
            // Alone in its run, a turn must come to its end without being asked after.
            let patience = match self.learner.patience {
                Patience::Short => Duration::from_millis(self.rng.u64(5_000..12_000)),
                Patience::Long => Duration::from_mins(10),
            };
            match self.hear(Instant::now() + patience).await {
                Heard::Silence | Heard::Cut => {
                    rounds += 1;
                    if rounds > 400 || trace.is_violated() {
                        trace.violation(format!("{} waits in vain", self.name));
                        return;
                    }
                    self.connect().await;
                    self.ask_again();
                }
                Heard::Refusal { code, .. } if code == "NOT_FOUND" => {}
                _ if self.views.values().any(View::has_gap) => {
                    // What is missing may be on its way already.
                    if self.asked_at.elapsed() < GAP_PATIENCE {
                        continue;
                    }
                    trace.count("gaps asked for", 1);
                    self.connect().await;
                    self.ask_again();
                }
                _ => {}
            }
        }
    }

    fn ask_again(&mut self) {
        self.asked_at = Instant::now();
        let learner = Rc::clone(&self.learner);
        for turn in &learner.turns {
            if turn.acked.get().is_none() || self.is_over(turn) {
                continue;
            }
            // A client may as well repeat its message: that subscribes it too.
            if self.rng.u32(0..100) < 20 {
                self.send(&turn.request, "chat", &chat(turn), Some(&turn.trace_id));
            } else {
                self.resume(turn);
            }
        }
    }

    fn resume(&mut self, turn: &Turn) {
        if !self.knows_resume {
            self.send(&turn.request, "chat", &chat(turn), Some(&turn.trace_id));
            return;
        }
        let after = self.views.get(&turn.stream).map_or(0, View::contiguous);
        let request = self.question();
        let payload = json!({ "request_id": turn.request, "after_seq": after });
        self.send(&request, "resume", &payload, None);
        self.platform.world.trace.count("resumes", 1);
    }

    fn question(&mut self) -> String {
        self.asked += 1;
        format!("{}-q{}", self.name, self.asked)
    }

    fn role(&self) -> Role {
        if self.name.ends_with("examiner") {
            Role::Examiner
        } else {
            Role::Message
        }
    }

    fn send(&mut self, request: &str, kind: &str, payload: &Value, trace_id: Option<&str>) {
        let Some((connection, _)) = &self.socket else {
            return;
        };
        let world = &self.platform.world;
        let is_lost = self.cut_at.is_some() && self.rng.u32(0..100) < 2;
        let said = if is_lost { "lost" } else { "" };
        world
            .trace
            .note(format_args!("{connection} > {kind} {request} {said}"));
        if is_lost {
            return;
        }
        let mut frame = json!({
            "version": "2.0",
            "type": kind,
            "request_id": request,
            "payload": payload,
        });
        if let Some(trace_id) = trace_id {
            frame["trace_id"] = json!(trace_id);
        }
        self.platform.frame(
            self.role(),
            connection,
            &self.learner.user,
            frame.to_string(),
        );
    }

    /// Opens a socket if there is none, after a while.
    async fn connect(&mut self) {
        if self.socket.is_some() {
            return;
        }
        let away = match self.rng.u32(0..100) {
            0..70 => self.rng.u64(10..2_000),
            70..97 => self.rng.u64(2_000..30_000),
            _ => self.rng.u64(30_000..400_000),
        };
        let (is_calm, cut_every) = {
            let plan = self.platform.world.plan.lock().unwrap();
            (plan.is_calm(), plan.cut_every)
        };
        if self.sockets > 0 {
            sleep(Duration::from_millis(if is_calm { 500 } else { away })).await;
        }
        self.sockets += 1;
        let connection = format!("{}-c{}", self.name, self.sockets);
        let world = &self.platform.world;
        world.trace.note(format_args!("{connection} opens"));
        self.socket = Some((connection.clone(), world.connect(&connection)));
        let lives = cut_every.map(|every| exponential(&mut self.rng, every));
        self.cut_at = lives
            .filter(|_| !is_calm && self.role() != Role::Examiner)
            .map(|lives| Instant::now() + lives);
    }

    async fn listen(&mut self, until: Instant) {
        while !matches!(self.hear(until).await, Heard::Silence) {
            if self.socket.is_none() {
                sleep_until(until).await;
                return;
            }
        }
    }

    /// The next thing that happens on the socket, until then at most.
    async fn hear(&mut self, until: Instant) -> Heard {
        let Some((connection, frames)) = &mut self.socket else {
            return Heard::Cut;
        };
        let cut_at = self.cut_at.unwrap_or(until + Duration::from_secs(1));
        let frame = tokio::select! {
            biased;
            () = sleep_until(cut_at) => None,
            frame = frames.recv() => frame,
            () = sleep_until(until) => return Heard::Silence,
        };
        let Some(frame) = frame else {
            // The gateway may not have noticed yet, and takes posts to nobody.
            let noticed = match self.rng.u32(0..3) {
                0 => Duration::from_millis(self.rng.u64(0..20_000)),
                _ => Duration::ZERO,
            };
            let world = &self.platform.world;
            world.trace.note(format_args!("{connection} is cut"));
            world.trace.count("cuts", 1);
            world.cut(connection, noticed);
            self.socket = None;
            return Heard::Cut;
        };
        let connection = connection.clone();
        self.take(&connection, &frame)
    }

    fn take(&mut self, connection: &str, text: &str) -> Heard {
        let world = &self.platform.world;
        let frame: Value = serde_json::from_str(text).unwrap();
        let kind = frame["type"].as_str().unwrap_or_default();
        let request = frame["request_id"].as_str().unwrap_or_default().to_owned();
        let payload = &frame["payload"];
        let stream = frame["stream"].as_u64().unwrap_or_default();
        let stream = u32::try_from(stream).unwrap();
        let Some(seq) = frame["seq"].as_u64() else {
            world
                .trace
                .note(format_args!("{connection} < {kind} {request} {payload}"));
            if payload["code"] == "UNKNOWN_TYPE" {
                self.knows_resume = false;
            }
            return match kind {
                "ack"
                    if self
                        .learner
                        .turns
                        .iter()
                        .any(|turn| turn.request == request) =>
                {
                    Heard::Ack(request)
                }
                "error" => Heard::Refusal {
                    request,
                    code: payload["code"].as_str().unwrap_or_default().to_owned(),
                },
                _ => Heard::Progress,
            };
        };
        let seq = u32::try_from(seq).unwrap();
        world
            .trace
            .note(format_args!("{connection} < {kind} {stream} #{seq}"));
        if self.learner.turn_of_stream(stream).is_none() {
            world.trace.violation(format!(
                "{connection} got a frame of no turn of its learner"
            ));
            return Heard::Progress;
        }
        let view = self.views.entry(stream).or_default();
        match view.take(connection, seq, &frame) {
            Seen::New => world.trace.count("chunks", u64::from(kind == "delta")),
            Seen::Double => world.trace.count("raw doubles", 1),
            Seen::Early => world.trace.count("raw early frames", 1),
            Seen::Changed => {
                let what = format!("{connection}: frame {seq} of {stream} is another than before");
                world.trace.violation(what);
            }
            Seen::AfterEnd => {
                let what = format!("{connection}: frame {seq} of {stream} after its end");
                world.trace.violation(what);
            }
        }
        Heard::Progress
    }
}

fn chat(turn: &Turn) -> Value {
    json!({
        "session_id": turn.session,
        "message": turn.script.message(),
        "language": "en",
    })
}

/// Whether a client may try again.
fn is_passing(code: &str) -> bool {
    matches!(
        code,
        "RATE_LIMITED" | "UNAVAILABLE" | "INTERNAL" | "TIMEOUT"
    )
}

/// All learners of a run.
pub(crate) type Learners = Vec<Rc<Learner>>;
