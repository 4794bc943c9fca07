//! What the functions say while they run: calls of the model by turn, and warnings.
//!
//! Each call of the model opens a span inside the span of its turn, which names its trace.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer, filter::FilterFn, layer::Context, layer::SubscriberExt, registry::LookupSpan,
    util::SubscriberInitExt,
};

static HEARD: Mutex<Option<Heard>> = Mutex::new(None);
static RUNS: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct Heard {
    calls: BTreeMap<String, u32>,
    usages: BTreeMap<String, Vec<(u64, u64)>>,
    warnings: BTreeMap<String, u64>,
}

/// Begins to listen, once for the process.
pub(crate) fn listen() {
    let ours = FilterFn::new(|metadata| {
        let target = metadata.target();
        *metadata.level() <= Level::INFO
            && [
                "sparkle_llm",
                "sparkle_aws",
                "turn_worker",
                "summary_worker",
                "ws_message",
            ]
            .iter()
            .any(|crate_name| target.starts_with(crate_name))
    });
    tracing_subscriber::registry()
        .with(Listener.with_filter(ours))
        .init();
}

/// Forgets what was heard of the run before.
pub(crate) fn begin() {
    RUNS.fetch_add(1, Ordering::Relaxed);
    *HEARD.lock().unwrap() = Some(Heard::default());
}

/// Which run of this process this is.
pub(crate) fn run_number() -> u64 {
    RUNS.load(Ordering::Relaxed)
}

/// How often the model was asked for a turn.
pub(crate) fn calls(trace_id: &str) -> u32 {
    let heard = HEARD.lock().unwrap();
    let calls = heard.as_ref().and_then(|heard| heard.calls.get(trace_id));
    calls.copied().unwrap_or_default()
}

/// How often the model was asked for a summary that a turn ordered.
pub(crate) fn calls_for_summaries(trace_id: &str) -> u32 {
    calls(&of_summary(trace_id))
}

fn of_summary(trace_id: &str) -> String {
    format!("{trace_id}/summary")
}

/// What the model counted for the calls of a turn whose end it could tell: prompt and answer.
pub(crate) fn usages(trace_id: &str) -> Vec<(u64, u64)> {
    let heard = HEARD.lock().unwrap();
    let usages = heard.as_ref().and_then(|heard| heard.usages.get(trace_id));
    usages.cloned().unwrap_or_default()
}

/// What was heard in all.
pub(crate) fn counts() -> Vec<(String, u64)> {
    let heard = HEARD.lock().unwrap();
    let Some(heard) = heard.as_ref() else {
        return Vec::new();
    };
    let calls = heard.calls.values().map(|&calls| u64::from(calls)).sum();
    let mut counts = vec![("model calls".to_owned(), calls)];
    let warnings = heard.warnings.iter();
    counts.extend(warnings.map(|(text, &count)| (format!("log: {text}"), count)));
    counts
}

struct Listener;

#[derive(Clone)]
struct TraceOf(String);

/// What a call of the model says that it consumed.
#[derive(Clone, Copy, Default)]
struct Counted {
    prompt: Option<u64>,
    completion: Option<u64>,
    is_told: bool,
}

impl Visit for Counted {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "gen_ai.usage.input_tokens" => self.prompt = Some(value),
            "gen_ai.usage.output_tokens" => self.completion = Some(value),
            _ => {}
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn std::fmt::Debug) {}
}

#[derive(Default)]
struct Fields {
    trace_id: Option<String>,
    message: Option<String>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "trace_id" {
            self.trace_id = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = Some(format!("{value:?}"));
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Listener {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(trace_id) = fields.trace_id {
            let is_summary = span.name() == "summary";
            let trace_id = if is_summary {
                of_summary(&trace_id)
            } else {
                trace_id
            };
            span.extensions_mut().insert(TraceOf(trace_id));
        }
        if span.metadata().target().starts_with("sparkle_llm") && span.name() == "chat" {
            let trace_id = span
                .scope()
                .find_map(|span| span.extensions().get::<TraceOf>().cloned());
            let trace_id = trace_id.map_or_else(String::new, |trace_id| trace_id.0);
            if let Some(heard) = HEARD.lock().unwrap().as_mut() {
                *heard.calls.entry(trace_id).or_default() += 1;
            }
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut counted = span.extensions_mut().remove().unwrap_or_default();
        values.record(&mut counted);
        let complete = match counted {
            Counted {
                prompt: Some(prompt),
                completion: Some(completion),
                is_told: false,
            } => Some((prompt, completion)),
            _ => None,
        };
        counted.is_told |= complete.is_some();
        span.extensions_mut().insert(counted);
        let Some(complete) = complete else { return };
        let mut scope = span.scope();
        let trace_id = scope.find_map(|span| span.extensions().get::<TraceOf>().cloned());
        if let (Some(TraceOf(trace_id)), Some(heard)) = (trace_id, HEARD.lock().unwrap().as_mut()) {
            heard.usages.entry(trace_id).or_default().push(complete);
        }
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if *event.metadata().level() > Level::WARN {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(heard) = HEARD.lock().unwrap().as_mut() {
            let text = fields.message.unwrap_or_default();
            *heard.warnings.entry(text).or_default() += 1;
        }
    }
}
