//! Where every call of every function goes: through the plan of faults into an engine or a socket.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::Value;
use sparkle_aws::exchange::Exchange;
use sparkle_local::template::Template;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    clock::Clock,
    engines::{Call, Engines, Service},
    fault::{Fault, Plan, Struck},
    guard::Guard,
    mutation::{Mutated, Mutation},
    process::{Process, Role},
    trace::Trace,
};

/// Counts leases that were not to be had: their workers wait for others, or came for nothing.
pub(crate) const REFUSED_LEASES: &str = "leases refused";

/// Everything that the processes of a run share.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) engines: Engines,
    pub(crate) plan: Mutex<Plan>,
    pub(crate) trace: Trace,
    pub(crate) guard: Mutex<Guard>,
    /// User and request of every stream that there may be.
    pub(crate) streams: Mutex<BTreeMap<u32, (String, String)>>,
    mutation: Option<Mutation>,
    effects: AtomicU64,
    sockets: Mutex<BTreeMap<String, Socket>>,
    /// Calls that left their process: they arrive whatever becomes of it.
    flights: Mutex<JoinSet<()>>,
}

struct Socket {
    frames: mpsc::UnboundedSender<String>,
    /// When the gateway will have noticed that it is closed; until then posts go nowhere.
    gone_at: Option<Instant>,
}

impl World {
    pub(crate) fn new(
        template: &Template,
        plan: Plan,
        trace: Trace,
        clock: Clock,
        mutation: Option<Mutation>,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock,
            engines: Engines::open(template, clock, mutation == Some(Mutation::StaleReads)),
            plan: Mutex::new(plan),
            trace,
            guard: Mutex::default(),
            streams: Mutex::default(),
            mutation,
            effects: AtomicU64::new(0),
            sockets: Mutex::default(),
            flights: Mutex::default(),
        })
    }

    /// The network of a process.
    pub(crate) fn exchange(self: &Arc<Self>, process: &Arc<Process>) -> Exchange {
        let (world, process) = (Arc::clone(self), Arc::clone(process));
        Exchange::new(move |request| {
            let (world, process) = (Arc::clone(&world), Arc::clone(&process));
            Box::pin(async move { world.carry(&process, request).await })
        })
    }

    /// Carries a call there and its answer back.
    pub(crate) async fn carry(
        self: Arc<Self>,
        process: &Arc<Process>,
        request: Request<Bytes>,
    ) -> Option<Response<Bytes>> {
        process.running().await;
        let call = Call::read(request);
        let struck = self.plan.lock().unwrap().choose(&call, process);
        let fault = struck.map(|struck| struck.fault);
        if let Some(fault) = fault {
            self.trace.count(fault.as_str(), 1);
        }
        let said = fault.map_or("", Fault::as_str);
        self.trace.note(format_args!(
            "{} {} {} {said}",
            process.name, call.operation, call.about
        ));
        match fault {
            Some(Fault::KillBefore) => {
                process.kill();
                pending::<()>().await;
            }
            Some(Fault::HangBefore) => {
                process.hang(self.span(struck));
                process.running().await;
            }
            Some(Fault::Refused) => {
                let (status, kind) = self.plan.lock().unwrap().refusal(call.service);
                self.pass().await;
                process.running().await;
                return Some(refuse(status, kind));
            }
            Some(Fault::CutBefore) => {
                self.pass().await;
                process.running().await;
                return None;
            }
            _ => {}
        }
        let answer = self.send(call, struck, process);
        let response = answer.await.ok()?;
        if fault == Some(Fault::LateAnswer) {
            sleep(self.span(struck)).await;
        }
        self.pass().await;
        match fault {
            Some(Fault::KillAfter) => {
                process.kill();
                pending::<()>().await;
            }
            Some(Fault::HangAfter) => process.hang(self.span(struck)),
            _ => {}
        }
        process.running().await;
        (fault != Some(Fault::CutAfter)).then_some(response)
    }

    fn span(&self, struck: Option<Struck>) -> Duration {
        let mut plan = self.plan.lock().unwrap();
        struck.map_or(Duration::ZERO, |struck| plan.span(struck))
    }

    /// Lets a call leave: from here on it will be done.
    fn send(
        self: &Arc<Self>,
        call: Call,
        struck: Option<Struck>,
        process: &Arc<Process>,
    ) -> oneshot::Receiver<Response<Bytes>> {
        let (answered, answer) = oneshot::channel();
        let (world, process) = (Arc::clone(self), Arc::clone(process));
        let fault = struck.map(|struck| struck.fault);
        let mut flights = self.flights.lock().unwrap();
        while flights.try_join_next().is_some() {}
        flights.spawn(async move {
            world.pass().await;
            if fault == Some(Fault::LateRequest) {
                sleep(world.span(struck)).await;
            }
            let mut call = call;
            let response = world.effect(&mut call, &process).await;
            // Nobody waits for it any more if the caller gave up.
            drop(answered.send(response));
            if fault == Some(Fault::Duplicated) {
                sleep(world.span(struck)).await;
                world.effect(&mut call, &process).await;
            }
        });
        answer
    }

    /// What a call does where it arrives.
    async fn effect(&self, call: &mut Call, process: &Process) -> Response<Bytes> {
        if call.service == Service::Sockets {
            let broken = self.posted(call);
            if let Some(broken) = broken {
                self.trace.violation(format!("{}: {broken}", process.name));
            }
            let status = self.post(call);
            self.trace.note(format_args!(
                "{} = {} {} {status}",
                process.name, call.operation, call.about
            ));
            if status == StatusCode::GONE {
                return refuse(410, "GoneException");
            }
            let response = Response::builder().status(status);
            return response.body(Bytes::new()).unwrap();
        }
        let mutated = self.mutate(call, process);
        if mutated == Mutated::Pretended {
            let response = Response::builder().header("content-type", "application/x-amz-json-1.0");
            let done = self.engines.pretend(call);
            return response.body(Bytes::from(done)).unwrap();
        }
        let response = match mutated {
            Mutated::Stale => self.engines.answer_stale(call).await,
            _ => self.engines.answer(call).await,
        };
        self.trace.note(format_args!(
            "{} = {} {} {}",
            process.name,
            call.operation,
            call.about,
            response.status().as_u16()
        ));
        let is_acquire = call.body["ExpressionAttributeValues"]
            .get(":owner")
            .is_some();
        if is_acquire && response.status() == StatusCode::BAD_REQUEST {
            self.trace.count(REFUSED_LEASES, 1);
        }
        let now_ms = u64::try_from(self.clock.unix_ms()).unwrap();
        let mut guard = self.guard.lock().unwrap();
        let broken = guard.after(call, process, response.status(), now_ms, &self.engines);
        drop(guard);
        for broken in broken {
            self.trace.violation(broken);
        }
        response
    }

    /// Lets the mutation of this run have its way with a call.
    fn mutate(&self, call: &mut Call, process: &Process) -> Mutated {
        let Some(mutation) = self.mutation.filter(|_| process.role != Role::Examiner) else {
            return Mutated::Untouched;
        };
        let number = self.effects.fetch_add(1, Ordering::Relaxed);
        let mutated = mutation.apply(call, number);
        if mutated != Mutated::Untouched {
            self.trace.count("mutated calls", 1);
        }
        mutated
    }

    /// Looks at a frame before it is posted.
    fn posted(&self, call: &Call) -> Option<String> {
        let frame: Value = serde_json::from_slice(call.request.body()).ok()?;
        let stream = u32::try_from(frame["stream"].as_u64()?).ok()?;
        let streams = self.streams.lock().unwrap();
        let (user, turn) = streams.get(&stream)?;
        let guard = self.guard.lock().unwrap();
        guard.posted(turn, user, &frame, &self.engines)
    }

    /// One way through the network.
    async fn pass(&self) {
        let latency = self.plan.lock().unwrap().latency();
        sleep(latency).await;
    }

    /// Opens a socket.
    pub(crate) fn connect(&self, connection: &str) -> mpsc::UnboundedReceiver<String> {
        let (frames, arriving) = mpsc::unbounded_channel();
        let socket = Socket {
            frames,
            gone_at: None,
        };
        self.sockets
            .lock()
            .unwrap()
            .insert(connection.to_owned(), socket);
        arriving
    }

    /// Cuts a socket; the gateway notices after so long.
    pub(crate) fn cut(&self, connection: &str, noticed_after: Duration) {
        if let Some(socket) = self.sockets.lock().unwrap().get_mut(connection) {
            socket.gone_at = Some(Instant::now() + noticed_after);
        }
    }

    fn post(&self, call: &Call) -> StatusCode {
        let mut sockets = self.sockets.lock().unwrap();
        let Some(socket) = sockets.get(&call.about) else {
            return StatusCode::GONE;
        };
        match socket.gone_at {
            Some(gone_at) if gone_at <= Instant::now() => {
                sockets.remove(&call.about);
                return StatusCode::GONE;
            }
            Some(_) => return StatusCode::OK,
            None => {}
        }
        if call.operation == "DELETE" {
            sockets.remove(&call.about);
            return StatusCode::NO_CONTENT;
        }
        let text = String::from_utf8_lossy(call.request.body()).into_owned();
        if text.len() > 32 * 1024 {
            self.trace
                .violation(format!("a frame of {} bytes was posted", text.len()));
        }
        match socket.frames.send(text) {
            Ok(()) => StatusCode::OK,
            Err(_) => StatusCode::GONE,
        }
    }

    /// Waits until every call that is under way has arrived.
    pub(crate) async fn land(&self) {
        let mut flights = std::mem::take(&mut *self.flights.lock().unwrap());
        while flights.join_next().await.is_some() {}
    }
}

fn refuse(status: u16, kind: &str) -> Response<Bytes> {
    let body = format!("{{\"__type\":\"com.amazonaws#{kind}\",\"message\":\"as planned\"}}");
    let response = Response::builder()
        .status(status)
        .header("x-amzn-errortype", kind)
        .header("content-type", "application/x-amz-json-1.0");
    response.body(Bytes::from(body)).unwrap()
}
