//! What writes summaries, and what must hold of them when all is quiet.

use std::{rc::Rc, sync::Mutex, time::Duration};

use serde_json::Value;
use sparkle_aws::{
    boot::Invocation,
    exchange,
    meter::Meter,
    queue::{DeadLetters, SummaryQueue},
    table::{conversations::Conversations, summaries::Summaries},
};
use sparkle_core::summary::Breaker;
use sparkle_llm::{Llm, Settings};

use crate::{
    engines::text,
    platform::{Instance, Platform},
    process::Role,
    source::Source,
};

/// As in template.yaml.
const TIMEOUT: Duration = Duration::from_secs(60);
/// So that conversations of a few turns are long ones.
pub(crate) const SETTINGS: [(&str, &str); 3] = [
    ("SPARKLE_CONTEXT_WHOLE", "2"),
    ("SPARKLE_CONTEXT_SUMMARY_OVER", "2"),
    ("SPARKLE_CONTEXT_LEAST", "1"),
];
const TOKENS_MAX: u32 = 64;

impl Platform {
    /// Delivers orders for summaries.
    pub(crate) async fn summarise(self: Rc<Self>) {
        let source = Source {
            queue: &self.queues.summaries,
            batch: 1,
            timeout: TIMEOUT,
        };
        let handle = async |app: &summary_worker::App, event| {
            let now = self.world.clock.now();
            let at = Invocation {
                now,
                deadline: now.after(TIMEOUT),
                id: self.next_invocation(),
            };
            summary_worker::handle(app, event, at).await
        };
        let idle = &self.idle_summarisers;
        self.feed(source, idle, || self.new_summariser(), handle)
            .await;
    }

    fn new_summariser(&self) -> Instance<summary_worker::App> {
        let (process, exchange, region) = self.process(Role::Summary);
        let clock = self.world.clock;
        let aws = exchange::aws(exchange, &region, move || clock.now());
        let app = summary_worker::App {
            summaries: Summaries::open(&aws).unwrap(),
            conversations: Conversations::open(&aws).unwrap(),
            queue: SummaryQueue::open(&aws).unwrap(),
            dead_letters: DeadLetters::open(&aws).unwrap(),
            meter: Meter::open(&aws).unwrap(),
            llm: Llm::from_settings(&Settings::default()).unwrap(),
            model: None,
            tokens_max: TOKENS_MAX,
            breaker: Mutex::new(Breaker::default()),
        };
        Instance { app, process }
    }
}

/// A summary covers no more than was said. (A late copy of a claim may name a runner until its time is over.)
pub(crate) fn all(platform: &Platform) -> Vec<String> {
    let engines = &platform.world.engines;
    let sessions = engines.items("SessionsTable");
    let length = |conversation: &str| {
        let of = |session: &&Value| {
            let part = |name: &str| text(&session[name]).unwrap_or_default();
            format!("{}/{}", part("user_id"), part("session_id")) == conversation
        };
        let session = sessions.iter().find(of);
        session.map_or(0, |session| number(session, "messages"))
    };
    let summaries = engines.items("SummariesTable");
    platform
        .world
        .trace
        .count("summaries", summaries.len().try_into().unwrap());
    let broken = summaries.iter().filter(|summary| {
        let conversation = text(&summary["conversation"]).unwrap_or_default();
        number(summary, "covers") > length(conversation)
    });
    broken
        .map(|summary| format!("not a summary: {summary}"))
        .collect()
}

fn number(item: &Value, name: &str) -> u64 {
    let digits = item.get(name).and_then(text);
    digits.map_or(0, |digits| digits.parse().unwrap())
}
