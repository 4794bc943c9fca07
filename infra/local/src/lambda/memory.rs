//! Hides how much memory a function's process uses, and when that is more than it may.
//!
//! Looks at the peak that Linux keeps of each process; elsewhere nothing is known, and no limit
//! is enforced. Processes that a function starts itself are not counted.

use std::{fs, time::Duration};

use rustix::process::Pid;
use tokio::time;

/// How often a busy process is looked at. In between it may overshoot.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const KB_PER_MB: u64 = 1024;

/// The most that the process has had in memory at once, in MB, rounded up; its own code counts.
pub(super) fn peak_mb(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    peak_kb(&status).map(|kb| kb.div_ceil(KB_PER_MB))
}

/// Returns when the process has used more than its function may, and how many MB.
pub(super) async fn exceeded(pid: Option<Pid>, memory_mb: u32) -> u64 {
    loop {
        time::sleep(LOOK_EVERY).await;
        if let Some(used_mb) = pid.and_then(peak_mb)
            && used_mb > u64::from(memory_mb)
        {
            return used_mb;
        }
    }
}

fn peak_kb(status: &str) -> Option<u64> {
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_as_linux_writes_it() {
        let status =
            "Name:\tturn-worker\nVmPeak:\t  999999 kB\nVmHWM:\t   10240 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(peak_kb(status), Some(10_240));
        // A process that has ended and not been waited for.
        assert_eq!(peak_kb("Name:\tx\nState:\tZ (zombie)\n"), None);
    }
}
