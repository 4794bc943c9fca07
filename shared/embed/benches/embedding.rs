//! What the bundled model costs: to load, to read a question, to judge a pair, to find the nearest (M4).
//!
//!     cargo bench -p sparkle-embed
//!
//! Times are of the thread on a CPU, so that what else runs on the machine counts little. Loading is measured in a
//! process of its own. Nothing here fails on a time.

#![expect(clippy::float_arithmetic, reason = "figures for people to read")]

use std::error::Error;
use std::hint::black_box;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use serde::Deserialize;
use sparkle_embed::{Bundled, Reading, Shelf, Vector, Verifier};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Has this program load everything, say what that took, and end.
const CHILD: &str = "--load";
const CHILDREN: usize = 5;
const RUNS: usize = 40;
/// How near a row must be to be judged, as `sparkle-cache` has it.
const NEAR_MIN: f64 = 0.5;
/// How near the rows of a shelf are to some question.
const ALIKE_MAX: f32 = 0.45;
/// M4: so many entries in so much CPU, without the embedding.
const TARGET_ROWS: usize = 10_000;
const TARGET: Duration = Duration::from_micros(75);

#[derive(Deserialize)]
struct TestVectors {
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    a: String,
    b: String,
}

fn main() -> Outcome {
    if env::args().any(|argument| argument == CHILD) {
        return child();
    }
    describe_machine()?;
    load()?;
    let pairs: TestVectors =
        serde_json::from_slice(&fs::read(weights().join("test_vectors.json"))?)?;
    let (model, verifier) = (Bundled::open(&weights())?, Verifier::open(&weights())?);
    say("\nmilliseconds of CPU                          n      p50      p99")?;
    let is_zh = |text: &str| {
        text.chars()
            .any(|character| ('\u{4e00}'..='\u{9fff}').contains(&character))
    };
    for (title, zh) in [
        ("to read a question, zh", true),
        ("to read a question, en", false),
    ] {
        let texts: Vec<&str> = pairs
            .pairs
            .iter()
            .flat_map(|pair| [&*pair.a, &*pair.b])
            .filter(|text| is_zh(text) == zh)
            .collect();
        report(title, &measure(&texts, |text| model.read(text).map(drop)))?;
    }
    for words in [59, 250, 507] {
        let text = "word ".repeat(words);
        report(
            &format!("to read {} tokens", words + 5),
            &measure(&[&*text], |text| model.read(text).map(drop)),
        )?;
    }
    let read: Vec<(Reading, Reading)> = pairs
        .pairs
        .iter()
        .map(|pair| Ok::<_, Box<dyn Error>>((model.read(&pair.a)?, model.read(&pair.b)?)))
        .collect::<Result<_, _>>()?;
    let both: Vec<&(Reading, Reading)> = read.iter().collect();
    report(
        "to judge a pair",
        &measure(&both, |(one, other)| {
            verifier.logit(one.states(), other.states()).map(drop)
        }),
    )?;
    scan(&read)
}

/// The thread's CPU time of each call, of all inputs over and over.
fn measure<T: Copy, E>(inputs: &[T], call: impl Fn(T) -> Result<(), E>) -> Vec<Duration> {
    let warm = inputs.iter().take(3);
    let mut failed = warm.filter(|input| call(**input).is_err()).count();
    let mut took = Vec::new();
    for input in inputs.iter().cycle().take(RUNS.max(inputs.len())) {
        let begun = cpu();
        failed += usize::from(black_box(call(black_box(*input))).is_err());
        took.push(cpu().saturating_sub(begun));
    }
    if failed > 0 { Vec::new() } else { took }
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Prints what it takes to find the nearest of many vectors.
fn scan(read: &[(Reading, Reading)]) -> Outcome {
    say("\nmicroseconds of CPU to find the 24 nearest    n      p50      p99")?;
    for rows in [1_000, TARGET_ROWS, 100_000] {
        let shelf = shelf(read, rows)?;
        let questions: Vec<&Vector> = read.iter().map(|(one, _)| one.vector()).collect();
        let took = measure(&questions, |question| {
            shelf.nearest(question, 24, NEAR_MIN).map(drop)
        });
        let (p50, p99) = (percentile(&took, 50), percentile(&took, 99));
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        say(&format!(
            "  {:<40}{:>5}{:>9.1}{:>9.1}",
            format!("of {rows}"),
            took.len(),
            us(p50),
            us(p99)
        ))?;
        if rows == TARGET_ROWS {
            let verdict = if p50 <= TARGET { "met" } else { "MISSED" };
            say(&format!(
                "  {verdict:<8}M4: {} us for {rows}",
                TARGET.as_micros()
            ))?;
        }
    }
    Ok(())
}

/// Rows that are all different and lie as questions do: each is as near to some question as questions of one school
/// are to each other, up to [`ALIKE_MAX`], and otherwise nowhere: another question's vector, turned by some places.
fn shelf(read: &[(Reading, Reading)], rows: usize) -> Outcome<Shelf> {
    let (first, _) = read.first().ok_or("no pairs")?;
    let mut shelf = Shelf::new(first.vector().version());
    let dimension = shelf.version().dimension();
    let numbers = |vector: &Vector| -> Vec<f32> {
        let bytes = vector.bytes();
        bytes
            .iter()
            .map(|byte| f32::from(byte.cast_signed()))
            .collect()
    };
    let some = read
        .iter()
        .cycle()
        .zip(read.iter().cycle().skip(read.len() / 2));
    for (row, ((question, _), (_, other))) in (0..rows).zip(some) {
        let mut turned = numbers(other.vector());
        turned.rotate_left(1 + row % (dimension - 1));
        let alike = ALIKE_MAX * f32::from(u8::try_from(row * 7 % 100)?) / 100.0;
        let rest = (1.0 - alike * alike).sqrt();
        let toward = numbers(question.vector());
        let mixed = toward.iter().zip(turned).map(|(a, b)| alike * a + rest * b);
        let bytes: Vec<u8> = mixed.map(to_byte).collect();
        shelf.push(&Vector::from_bytes(shelf.version(), &bytes)?)?;
    }
    Ok(shelf)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    reason = "it is kept in range"
)]
fn to_byte(number: f32) -> u8 {
    (number.round().clamp(-127.0, 127.0) as i8).cast_unsigned()
}

fn child() -> Outcome {
    let before = resident_kb()?;
    let begun = cpu();
    let model = Bundled::open(&weights())?;
    let (opened, with_model) = (cpu(), resident_kb()?);
    let verifier = Verifier::open(&weights())?;
    let (loaded, with_both) = (cpu(), resident_kb()?);
    let reading = model.read("什么是光合作用？")?;
    verifier.logit(reading.states(), reading.states())?;
    let first = cpu();
    let steps = [(begun, opened), (opened, loaded), (loaded, first)];
    let times = steps.map(|(from, to)| to.saturating_sub(from).as_micros());
    say(&format!(
        "{} {} {} {before} {with_model} {with_both}",
        times[0], times[1], times[2]
    ))
}

/// Prints what loading takes: the median of some processes.
fn load() -> Outcome {
    let mut all: Vec<Vec<u64>> = Vec::new();
    for _ in 0..CHILDREN {
        let output = Command::new(env::current_exe()?).arg(CHILD).output()?;
        let said = String::from_utf8(output.stdout)?;
        all.push(
            said.split_whitespace()
                .map(str::parse)
                .collect::<Result<_, _>>()?,
        );
    }
    let median = |at: usize| {
        let mut figures: Vec<u64> = all.iter().filter_map(|row| row.get(at).copied()).collect();
        figures.sort_unstable();
        Duration::from_micros(figures.get(CHILDREN / 2).copied().unwrap_or_default()).as_secs_f64()
    };
    // Kilobytes are microseconds here, and megabytes seconds over 1.024.
    let mb = |at: usize| median(at) * 1e6 / 1_024.0;
    let ms = |at: usize| median(at) * 1e3;
    say(&format!(
        "\nload, median of {CHILDREN} processes, files in the page cache\n  \
         model    {:>7.1} ms of CPU {:>7.1} MB resident\n  \
         verifier {:>7.1} ms of CPU {:>7.1} MB resident more\n  \
         first question and verdict {:.1} ms; {:.1} MB before all",
        ms(0),
        mb(4) - mb(3),
        ms(1),
        mb(5) - mb(4),
        ms(2),
        mb(3)
    ))
}

fn resident_kb() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no VmRSS")?.parse()?)
}

fn report(title: &str, took: &[Duration]) -> Outcome {
    let at = |percent| percentile(took, percent).as_secs_f64() * 1e3;
    say(&format!(
        "  {title:<40}{:>5}{:>9.2}{:>9.2}",
        took.len(),
        at(50),
        at(99)
    ))
}

fn percentile(took: &[Duration], percent: usize) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or_default()
}

fn describe_machine() -> Outcome {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|_| "unknown".to_owned());
    let info = read("/proc/cpuinfo");
    let name = info
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(": "));
    say(&format!(
        "machine      {} cores of {}\nload before  {}\nprofile      {}; one thread, vectors of {} floats",
        std::thread::available_parallelism().map_or(0, usize::from),
        name.map_or("unknown", |(_, name)| name),
        read("/proc/loadavg").trim(),
        if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
        lanes()
    ))
}

/// How many floats the processor's vectors take.
fn lanes() -> usize {
    struct Lanes;
    impl pulp::WithSimd for Lanes {
        type Output = usize;
        fn with_simd<S: pulp::Simd>(self, _simd: S) -> usize {
            S::F32_LANES
        }
    }
    pulp::Arch::new().dispatch(Lanes)
}

fn weights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("weights")
}

fn say(line: &str) -> Outcome {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
