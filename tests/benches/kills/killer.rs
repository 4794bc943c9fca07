//! Who kills: processes of `turn-worker` and `ws-message`, at moments that a seed chooses.

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::Result;
use sparkle_tests::processes::{self, Activity};
use tokio::time::{Instant, sleep};

use crate::{Plan, Setting};

/// How often it looks for a process that is at work, and for how long before it takes any.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const LOOK_FOR: Duration = Duration::from_millis(400);
/// How long it waits for turns before it looks again whether the next kill is due.
const PAUSE: Duration = Duration::from_millis(5);

/// A function whose processes are killed, and how far into its work at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Victim {
    pub(crate) function: &'static str,
    within: Duration,
}

/// The function that takes frames, and the one that writes answers.
pub(crate) const VICTIMS: [Victim; 2] = [
    Victim {
        function: "ws-message",
        within: Duration::from_millis(12),
    },
    Victim {
        function: "turn-worker",
        within: Duration::from_millis(1_500),
    },
];

/// One kill.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kill {
    pub(crate) function: &'static str,
    /// What the process was at.
    pub(crate) activity: Activity,
}

/// Kills as many processes as are planned, evenly over the turns, and says which. Returns early when all
/// turns are answered.
pub(crate) async fn run(
    setting: &Setting,
    plan: &Plan,
    mut chance: fastrand::Rng,
) -> Result<Vec<Kill>> {
    let root = setting.stack.process.pid()?;
    let mut done = Vec::new();
    while done.len() < plan.kills {
        let over = setting.answered.load(Ordering::Relaxed);
        if over >= plan.turns {
            break;
        }
        // The last one falls due while the last turns of the conversations are under way.
        if done.len() >= plan.kills * (over + plan.sessions) / plan.turns {
            sleep(PAUSE).await;
            continue;
        }
        let spares_workers = setting.fragile.load(Ordering::Relaxed) > 0;
        let victims = VICTIMS.len() - usize::from(spares_workers);
        let victim = VICTIMS[chance.usize(..victims)];
        let Some(pid) = at_work(root, victim.function, &mut chance).await else {
            continue;
        };
        let within_us = u64::try_from(victim.within.as_micros())?;
        sleep(Duration::from_micros(chance.u64(..within_us))).await;
        // It may have ended by itself: no stranger shall die for it.
        let processes = processes::of_function(root, victim.function);
        if let Some(process) = processes.into_iter().find(|process| process.pid == pid)
            && processes::kill(pid).is_ok()
        {
            done.push(Kill {
                function: victim.function,
                activity: process.activity,
            });
        }
    }
    Ok(done)
}

/// A process that is at work; any, if none is for a while.
async fn at_work(root: u32, function: &str, chance: &mut fastrand::Rng) -> Option<u32> {
    let give_up_at = Instant::now() + LOOK_FOR;
    loop {
        let all = processes::of_function(root, function);
        let awake = all.iter().filter(|one| one.activity == Activity::Awake);
        let awake: Vec<u32> = awake.map(|one| one.pid).collect();
        if let Some(pid) = chance.choice(&awake) {
            return Some(*pid);
        }
        if Instant::now() >= give_up_at {
            return chance.choice(&all).map(|one| one.pid);
        }
        sleep(LOOK_EVERY).await;
    }
}
