//! Hides how everything that is counted and timed becomes one Prometheus page.
//!
//! Functions print metrics as EMF documents (embedded metric format) and the platform
//! records its own. EMF units choose the type: `Count` and bytes are counters, times are
//! histograms in seconds, all others gauges. Names become `snake_case` with the suffixes that
//! Prometheus asks for. Of several dimension sets the largest is taken: sums over the others are
//! the reader's to make. Memory is bounded; what does not fit is dropped and counted.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Deserialize;
use serde_json::Value;

/// Label sets of one metric, and metrics.
const SERIES_MAX: usize = 1_000;
const METRICS_MAX: usize = 1_000;
/// Longer label values are cut.
const LABEL_CHARS_MAX: usize = 200;
/// Upper bounds of the histograms' buckets in seconds: from a store call to a worker's timeout.
const BUCKETS_S: [f64; 18] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
    120.0, 300.0, 900.0,
];

/// Where every number of the local cloud ends. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    state: Arc<Mutex<State>>,
}

/// Whether a line was a metrics document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was, and has been taken.
    Yes,
    /// It is an ordinary log line.
    No,
}

#[derive(Debug, Default)]
struct State {
    families: BTreeMap<String, Family>,
    dropped: u64,
}

#[derive(Debug)]
struct Family {
    kind: Kind,
    help: String,
    series: BTreeMap<Labels, Series>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// In the order of their names.
type Labels = BTreeMap<String, String>;

#[derive(Debug)]
enum Series {
    /// A counter's or a gauge's.
    Value(f64),
    Histogram {
        /// One more than there are bounds: the last one has none.
        buckets: [u64; BUCKETS_S.len() + 1],
        sum_s: f64,
    },
}

impl Metrics {
    /// Takes a log line if it is an EMF document; otherwise the line is the caller's to print.
    pub fn record_line(&self, line: &str) -> Recorded {
        if !line.contains("\"CloudWatchMetrics\"") {
            return Recorded::No;
        }
        let Ok(document) = serde_json::from_str::<Document>(line) else {
            return Recorded::No;
        };
        let mut state = self.state();
        for directive in &document.aws.directives {
            let labels = document.labels(directive);
            for metric in &directive.metrics {
                let sample = Sample::new(metric, &directive.namespace);
                for value in document.values(&metric.name) {
                    state.record(&sample, labels.clone(), value);
                }
            }
        }
        Recorded::Yes
    }

    /// Sets a gauge of the platform itself, such as `active_sessions`.
    pub fn gauge(&self, name: &str, help: &str, value: f64) {
        self.platform(Kind::Gauge, name, help, value);
    }

    /// Adds to a counter of the platform itself. `_total` is appended where it is missing.
    pub fn counter(&self, name: &str, help: &str, increment: u32) {
        self.platform(Kind::Counter, name, help, increment.into());
    }

    /// Adds to the series of a counter that has these labels; their values are of a closed set.
    pub fn labelled_counter(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        increment: u32,
    ) {
        let sample = Sample {
            name: family_name(Kind::Counter, name),
            help: help.to_owned(),
            kind: Kind::Counter,
            unit: 1.0,
        };
        let labels = labels
            .iter()
            .map(|(name, value)| (label_name(name), (*value).to_owned()));
        self.state()
            .record(&sample, labels.collect(), increment.into());
    }

    fn platform(&self, kind: Kind, name: &str, help: &str, value: f64) {
        let sample = Sample {
            name: family_name(kind, name),
            help: help.to_owned(),
            kind,
            unit: 1.0,
        };
        self.state().record(&sample, Labels::new(), value);
    }

    /// Everything recorded so far, in Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        self.state().to_string()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An EMF document, as `CloudWatch`'s specification of 2019 has it.
#[derive(Debug, Deserialize)]
struct Document {
    #[serde(rename = "_aws")]
    aws: Aws,
    #[serde(flatten)]
    members: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Aws {
    #[serde(rename = "CloudWatchMetrics")]
    directives: Vec<Directive>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: String,
    #[serde(default)]
    dimensions: Vec<Vec<String>>,
    metrics: Vec<Metric>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    name: String,
    unit: Option<String>,
}

impl Document {
    fn labels(&self, directive: &Directive) -> Labels {
        let largest = directive.dimensions.iter().max_by_key(|names| names.len());
        let names = largest.into_iter().flatten();
        names
            .filter_map(|name| {
                let value = match self.members.get(name)? {
                    Value::String(text) => text.chars().take(LABEL_CHARS_MAX).collect(),
                    other => other.to_string().chars().take(LABEL_CHARS_MAX).collect(),
                };
                Some((label_name(name), value))
            })
            .collect()
    }

    /// A metric's value, or its values.
    fn values(&self, name: &str) -> impl Iterator<Item = f64> {
        let member = self.members.get(name);
        let many = member
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        member.into_iter().chain(many).filter_map(Value::as_f64)
    }
}

/// What one recorded value belongs to.
struct Sample {
    name: String,
    help: String,
    kind: Kind,
    /// What a value is multiplied by to be in seconds or bytes.
    unit: f64,
}

impl Sample {
    fn new(metric: &Metric, namespace: &str) -> Sample {
        let (kind, unit, suffix) = match metric.unit.as_deref().unwrap_or("None") {
            "Count" => (Kind::Counter, 1.0, ""),
            "Seconds" => (Kind::Histogram, 1.0, "_seconds"),
            "Milliseconds" => (Kind::Histogram, 1e-3, "_seconds"),
            "Microseconds" => (Kind::Histogram, 1e-6, "_seconds"),
            "Bytes" => (Kind::Counter, 1.0, "_bytes"),
            "Kilobytes" => (Kind::Counter, 1e3, "_bytes"),
            "Megabytes" => (Kind::Counter, 1e6, "_bytes"),
            _ => (Kind::Gauge, 1.0, ""),
        };
        let mut name = snake_case(&metric.name);
        if !suffix.is_empty() {
            for unit in [
                "_ms",
                "_us",
                "_s",
                "_milliseconds",
                "_microseconds",
                "_seconds",
                "_bytes",
            ] {
                name.truncate(name.strip_suffix(unit).unwrap_or(&name).len());
            }
            name.push_str(suffix);
        }
        let help = format!("EMF metric {} of {namespace}.", metric.name);
        Sample {
            name: family_name(kind, &name),
            help,
            kind,
            unit,
        }
    }
}

impl State {
    #[expect(clippy::float_arithmetic, reason = "Prometheus's numbers are floats")]
    fn record(&mut self, sample: &Sample, labels: Labels, value: f64) {
        let value = value * sample.unit;
        // A counter that goes down reads as a restart.
        if !value.is_finite() || (sample.kind == Kind::Counter && value < 0.0) {
            return self.drop_one();
        }
        let Some(series) = self.series(sample, labels) else {
            return self.drop_one();
        };
        match series {
            Series::Value(total) if sample.kind == Kind::Counter => *total += value,
            Series::Value(last) => *last = value,
            Series::Histogram { buckets, sum_s } => {
                let bucket = BUCKETS_S.partition_point(|bound_s| *bound_s < value);
                if let Some(count) = buckets.get_mut(bucket) {
                    *count = count.saturating_add(1);
                }
                *sum_s += value;
            }
        }
    }

    /// The series to record in; none if there is no room, or its name is of another kind.
    fn series(&mut self, sample: &Sample, labels: Labels) -> Option<&mut Series> {
        let full = self.families.len() >= METRICS_MAX;
        let family = match self.families.entry(sample.name.clone()) {
            Entry::Vacant(_) if full => return None,
            Entry::Vacant(vacant) => vacant.insert(Family {
                kind: sample.kind,
                help: sample.help.clone(),
                series: BTreeMap::new(),
            }),
            Entry::Occupied(family) => family.into_mut(),
        };
        let full = family.series.len() >= SERIES_MAX;
        if family.kind != sample.kind {
            return None;
        }
        match family.series.entry(labels) {
            Entry::Vacant(_) if full => None,
            Entry::Vacant(vacant) => Some(vacant.insert(match sample.kind {
                Kind::Counter | Kind::Gauge => Series::Value(0.0),
                Kind::Histogram => Series::Histogram {
                    buckets: Default::default(),
                    sum_s: 0.0,
                },
            })),
            Entry::Occupied(series) => Some(series.into_mut()),
        }
    }

    fn drop_one(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }
}

/// The page.
impl fmt::Display for State {
    fn fmt(&self, page: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dropped = "metrics_dropped_samples_total";
        header(
            page,
            dropped,
            "Samples that had no room or no valid value.",
            Kind::Counter,
        )?;
        writeln!(page, "{dropped} {}", self.dropped)?;
        for (name, family) in &self.families {
            header(page, name, &family.help, family.kind)?;
            for (labels, series) in &family.series {
                match series {
                    Series::Value(value) => {
                        writeln!(page, "{name}{} {value}", LabelSet(labels, None))?;
                    }
                    Series::Histogram { buckets, sum_s } => {
                        histogram(page, name, labels, buckets, *sum_s)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A bucket's line counts everything up to its bound.
fn histogram(
    page: &mut fmt::Formatter<'_>,
    name: &str,
    labels: &Labels,
    buckets: &[u64],
    sum_s: f64,
) -> fmt::Result {
    let mut count = 0_u64;
    let bounds_s = BUCKETS_S.iter().map(f64::to_string);
    for (bound_s, bucket) in bounds_s.chain(["+Inf".to_owned()]).zip(buckets) {
        count = count.saturating_add(*bucket);
        writeln!(
            page,
            "{name}_bucket{} {count}",
            LabelSet(labels, Some(&bound_s))
        )?;
    }
    let labels = LabelSet(labels, None);
    writeln!(
        page,
        "{name}_sum{labels} {sum_s}\n{name}_count{labels} {count}"
    )
}

fn header(page: &mut fmt::Formatter<'_>, name: &str, help: &str, kind: Kind) -> fmt::Result {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// Labels in braces, with a bucket's bound if there is one.
struct LabelSet<'a>(&'a Labels, Option<&'a str>);

impl fmt::Display for LabelSet<'_> {
    fn fmt(&self, page: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self
            .0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        for (place, (name, value)) in labels.chain(self.1.map(|bound| ("le", bound))).enumerate() {
            page.write_char(if place == 0 { '{' } else { ',' })?;
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            write!(page, "{name}=\"{value}\"")?;
        }
        if !self.0.is_empty() || self.1.is_some() {
            page.write_char('}')?;
        }
        Ok(())
    }
}

/// The name with the suffix that its kind has: `_total` is a counter's, and only a counter's.
fn family_name(kind: Kind, name: &str) -> String {
    let name = snake_case(name);
    let bare = name.strip_suffix("_total").unwrap_or(&name);
    match kind {
        Kind::Counter => format!("{bare}_total"),
        Kind::Gauge | Kind::Histogram => bare.to_owned(),
    }
}

/// A label's name; two of them are Prometheus's own.
fn label_name(name: &str) -> String {
    let name = snake_case(name);
    match name.as_str() {
        "le" | "quantile" => format!("{name}_"),
        _ => name,
    }
}

/// `TurnsStarted` and `turns.started` become `turns_started`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len());
    let mut after_lower = false;
    for character in name.chars() {
        let next = if character.is_ascii_alphanumeric() {
            character
        } else {
            '_'
        };
        let starts_word = next.is_ascii_uppercase() && after_lower;
        if starts_word || (snake.is_empty() && next.is_ascii_digit()) {
            snake.push('_');
        }
        // Leading and doubled underscores mean something to Prometheus.
        if next != '_' || !(snake.is_empty() || snake.ends_with('_')) {
            snake.push(next.to_ascii_lowercase());
        }
        after_lower = next.is_ascii_lowercase() || next.is_ascii_digit();
    }
    if snake.is_empty() {
        "unnamed".to_owned()
    } else {
        snake
    }
}

#[cfg(test)]
mod tests;
