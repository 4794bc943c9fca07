//! How long a newcomer waits.
//!
//!     cargo bench -p sparkle-tests --bench first_answer                    from a built stack on
//!     cargo bench -p sparkle-tests --bench first_answer -- --release       the same, of release binaries
//!     cargo bench -p sparkle-tests --bench first_answer -- --clean-clone   from a clean clone on
//!
//! Measures the program that `cargo run` starts, as processes, over the real WebSocket, with everything
//! that this release has switched on. The model's own time is next to nothing: scripts tell it to answer
//! at once. A clean clone answers as a newcomer sees it, with the pace of the offline model. What a turn of
//! a warm stack takes is measured by the bench `overhead`.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use sparkle_tests::{
    Client, Folder,
    bench::{Process, Profile, Stack, Store, describe_machine, head, report, say, untouched},
    root,
};

const STARTS: usize = 5;
/// The first build of everything on a slow machine, with room to spare.
const CLONE_PATIENCE: Duration = Duration::from_hours(1);

#[tokio::main]
async fn main() -> Result<()> {
    let (mut is_clean_clone, mut profile) = (false, Profile::Debug);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--clean-clone" => is_clean_clone = true,
            "--release" => profile = Profile::Release,
            other => bail!("{other} is not [--clean-clone] [--release]"),
        }
    }
    describe_machine(profile)?;
    if is_clean_clone {
        return clean_clone(profile).await;
    }
    built_stack(profile).await
}

async fn built_stack(profile: Profile) -> Result<()> {
    let programs = profile.build()?;
    say(
        "client       this program, built for release, on the same machine\n\
         stack        authorizer, rate limit, durable turns, stored frames, logs and metrics on\n\
         store        dynoxide: in memory, or in a file of a fresh folder\n\
         model        offline, without pauses\n",
    )?;
    head()?;
    for store in [Store::Memory, Store::File] {
        starts(&programs, store).await?;
    }
    say(
        "\nready: with the look of cargo whether a function is to be built anew. The bench `overhead` has\n\
         what a turn of a warm stack takes.",
    )
}

async fn starts(programs: &Path, store: Store) -> Result<()> {
    let (mut starts, mut deltas) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let stack = Stack::start(programs, store, None).await?;
        starts.push(stack.process.ready_after);
        let mut client = stack.connect("newcomer").await?;
        deltas.push(first_delta(&mut client).await?);
        stack.stop().await?;
    }
    say(&format!("fresh stack, store in {}", store.name()))?;
    report("built stack to ready", &starts, "")?;
    report("its first frame to first delta", &deltas, "")
}

/// How long the first delta of an answer takes; the answer is read to its end.
async fn first_delta(client: &mut Client) -> Result<Duration> {
    let message = format!("#script {}", json!({ "pieces": ["a", " and more"] }));
    let payload = json!({ "session_id": "first", "message": message });
    let begun = Instant::now();
    client.request("chat", payload).await?;
    let mut first_delta = None;
    loop {
        let frame = client.frame().await?;
        match frame["type"].as_str() {
            Some("delta") => first_delta = first_delta.or_else(|| Some(begun.elapsed())),
            Some("done") => return first_delta.context("an answer without text"),
            Some("error") => bail!("a turn failed: {frame}"),
            _ => {}
        }
    }
}

/// From `git clone` to the end of the first answer, as a newcomer sees it.
async fn clean_clone(profile: Profile) -> Result<()> {
    let stack_arguments = ["--", "--port", "0", "--json", "--ephemeral"];
    let arguments = [&["run"], profile.flags(), &stack_arguments].concat();
    let folder = Folder::new()?;
    let clone = folder.path().join("sparkle");
    let begun = Instant::now();
    git(Path::new("."), &["clone", "--quiet"], &[&root(), &clone]).await?;
    let cloned = begun.elapsed();
    let commit = git(&clone, &["rev-parse", "--short", "HEAD"], &[]).await?;
    say(&format!(
        "commit       {} (what is not committed is not in it)\n\
         command      cargo {}; the first build takes minutes",
        commit.trim(),
        arguments.join(" "),
    ))?;
    let log = folder.path().join("log");
    let mut cargo = untouched("cargo");
    cargo
        .args(arguments)
        .current_dir(&clone)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET_DIR");
    let stack = Process::start(&mut cargo, &log, CLONE_PATIENCE).await?;
    let ready = begun.elapsed();
    let mut client = stack.connect(&stack.token).await?;
    let payload = json!({ "session_id": "s1", "message": "什么是导数？" });
    client.request("chat", payload).await?;
    let mut first_delta = None;
    let done = loop {
        let frame = client.frame().await?;
        match frame["type"].as_str() {
            Some("delta") => first_delta = first_delta.or_else(|| Some(begun.elapsed())),
            Some("done") => break begun.elapsed(),
            Some("error") => bail!("the first answer failed: {frame}"),
            _ => {}
        }
    };
    stack.stop().await?;
    let first_delta = first_delta.context("an answer without text")?;
    let (compiled, fetched) = build_log(&log)?;
    for (title, wait) in [
        ("clean clone to a clone on disk", cloned),
        ("clean clone to ready", ready),
        ("clean clone to first answer's first delta", first_delta),
        ("clean clone to first answer's end", done),
    ] {
        say(&format!("{title:<44}{:>8.1} s", wait.as_secs_f64()))?;
    }
    say(&format!(
        "n 1, store in memory; cloned from this disk; {compiled} compilations; {fetched}.\n\
         The end includes the offline model's own pace. targets.md names no target."
    ))
}

/// How much cargo compiled, and where the crates came from.
fn build_log(log: &Path) -> Result<(usize, String)> {
    let log = fs::read_to_string(log)?;
    let lines = || log.lines().map(str::trim);
    let compiled = lines().filter(|line| line.starts_with("Compiling "));
    let fetched = lines().find(|line| line.starts_with("Downloaded ") && line.contains(" crate"));
    let fetched = match fetched {
        None => {
            "every crate came from cargo's local registry cache, none was downloaded".to_owned()
        }
        Some(summary) => format!("{summary}, the others came from cargo's local registry cache"),
    };
    Ok((compiled.count(), fetched))
}

async fn git(folder: &Path, arguments: &[&str], paths: &[&Path]) -> Result<String> {
    let output = untouched("git")
        .args(arguments)
        .args(paths)
        .current_dir(folder)
        .output()
        .await?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git failed: {told}");
    Ok(String::from_utf8(output.stdout)?)
}
