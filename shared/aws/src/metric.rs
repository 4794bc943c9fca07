//! Metrics in `CloudWatch`'s embedded metric format: one line of JSON on stdout, no call, nothing to flush.
//!
//! Names are Prometheus's (R-OBS-2); the local cloud serves the same lines at `/metrics`. Labels are
//! words of closed sets, never ids of users or requests (invariant A9).

use std::io::Write;

use serde_json::{Map, Value, json};
use sparkle_core::unit::Timestamp;

/// Counts `by` more of something.
pub fn count(name: &str, by: u64, labels: &[(&str, &str)], now: Timestamp) {
    write(&document(name, "Count", json!(by), labels, now));
}

/// Records how long something took, in seconds.
pub fn seconds(name: &str, seconds: f64, labels: &[(&str, &str)], now: Timestamp) {
    write(&document(name, "Seconds", json!(seconds), labels, now));
}

fn document(
    name: &str,
    unit: &str,
    value: Value,
    labels: &[(&str, &str)],
    now: Timestamp,
) -> Map<String, Value> {
    let dimensions: Vec<&str> = labels.iter().map(|(label, _)| *label).collect();
    let mut document = Map::new();
    document.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": now.unix_ms(),
            "CloudWatchMetrics": [{
                "Namespace": "Sparkle",
                "Dimensions": [dimensions],
                "Metrics": [{ "Name": name, "Unit": unit }],
            }],
        }),
    );
    document.extend(
        labels
            .iter()
            .map(|&(label, word)| (label.to_owned(), json!(word))),
    );
    document.insert(name.to_owned(), value);
    document
}

fn write(document: &Map<String, Value>) {
    if let Ok(mut line) = serde_json::to_vec(document) {
        line.push(b'\n');
        // A closed stdout loses the metric and nothing else.
        drop(std::io::stdout().lock().write_all(&line));
    }
}
