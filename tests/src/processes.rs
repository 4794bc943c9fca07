//! The processes of a stack's functions, found by name, so that a test can stop or kill one from outside
//! as a machine would. Linux only.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// A process of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// What it is at.
    pub activity: Activity,
}

/// What a process is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It runs, or waits for something.
    Awake,
    /// It is stopped, as the platform leaves a function between invocations.
    Frozen,
}

/// The processes of a function below the process `root`.
pub fn of_function(root: u32, function: &str) -> Vec<Process> {
    let mut found = Vec::new();
    // A child may be found twice, below two threads.
    let mut seen = BTreeSet::new();
    let mut family = vec![root];
    while let Some(pid) = family.pop() {
        let folder = Path::new("/proc").join(pid.to_string());
        for task in fs::read_dir(folder.join("task")).into_iter().flatten() {
            let children = task.map(|task| fs::read_to_string(task.path().join("children")));
            let children = children.and_then(|text| text).unwrap_or_default();
            family.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        let name = fs::read_link(folder.join("exe")).unwrap_or_default();
        if name.file_name().is_some_and(|name| name == function)
            && seen.insert(pid)
            && let Some(activity) = activity(pid)
        {
            found.push(Process { pid, activity });
        }
    }
    found
}

/// What a process is at; none if it is gone, or only waits to be buried.
pub fn activity(pid: u32) -> Option<Activity> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    match rest.trim_start().chars().next()? {
        'Z' | 'X' => None,
        'T' => Some(Activity::Frozen),
        _ => Some(Activity::Awake),
    }
}

/// The most memory that a process has had resident.
///
/// # Errors
/// There is none, or this is not Linux.
pub fn memory_peak_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.trim().strip_suffix(" kB"));
    Ok(kib.context("no VmHWM")?.trim().parse::<u64>()? * 1_024)
}

/// Kills a process with SIGKILL.
///
/// # Errors
/// There is none.
pub fn kill(pid: u32) -> Result<()> {
    signal(pid, Signal::KILL)
}

/// Stops a process where it is.
///
/// # Errors
/// There is none.
pub fn stop(pid: u32) -> Result<()> {
    signal(pid, Signal::STOP)
}

/// Lets a stopped process go on.
///
/// # Errors
/// There is none.
pub fn resume(pid: u32) -> Result<()> {
    signal(pid, Signal::CONT)
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(pid.try_into()?).context("no process has this id")?;
    Ok(kill_process(pid, signal)?)
}
