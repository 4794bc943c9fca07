//! The life of a function's process: it runs, hangs for a while, or is dead.

use std::{
    future::{Future, pending},
    pin::pin,
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Which function a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Message,
    Worker,
    Billing,
    Summary,
    Sweeper,
    /// The examiner that looks at the end: never disturbed.
    Examiner,
}

impl Role {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Message => "ws-message",
            Self::Worker => "turn-worker",
            Self::Billing => "billing-worker",
            Self::Summary => "summary-worker",
            Self::Sweeper => "sweeper",
            Self::Examiner => "examiner",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    Hanging { until: Instant },
    Dead,
}

/// A process, as those see it who may stop it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) role: Role,
    pub(crate) name: String,
    life: watch::Sender<Life>,
}

impl Process {
    pub(crate) fn new(role: Role, number: u32) -> Self {
        Self {
            role,
            name: format!("{}-{number}", role.as_str()),
            life: watch::Sender::new(Life::Running),
        }
    }

    /// Ends it at once: what it was doing is never continued.
    pub(crate) fn kill(&self) {
        self.life.send_replace(Life::Dead);
    }

    /// Stops it for so long, as `SIGSTOP` does.
    pub(crate) fn hang(&self, span: Duration) {
        let until = Instant::now() + span;
        self.life.send_if_modified(|life| {
            let is_alive = *life != Life::Dead;
            if is_alive {
                *life = Life::Hanging { until };
            }
            is_alive
        });
    }

    fn go_on(&self) {
        self.life.send_if_modified(|life| {
            let was_hanging = matches!(life, Life::Hanging { until } if *until <= Instant::now());
            if was_hanging {
                *life = Life::Running;
            }
            was_hanging
        });
    }

    /// Waits until it runs: for ever if it is dead.
    pub(crate) async fn running(&self) {
        let mut life = self.life.subscribe();
        loop {
            let now = *life.borrow_and_update();
            match now {
                Life::Running => return,
                Life::Dead => pending::<()>().await,
                Life::Hanging { until } => tokio::select! {
                    biased;
                    _ = life.changed() => {}
                    () = sleep_until(until) => self.go_on(),
                },
            }
        }
    }

    /// Does its work while it runs; nothing if it dies before the end.
    pub(crate) async fn live<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut life = self.life.subscribe();
        loop {
            let now = *life.borrow_and_update();
            match now {
                Life::Dead => return None,
                Life::Hanging { until } => tokio::select! {
                    biased;
                    _ = life.changed() => {}
                    () = sleep_until(until) => self.go_on(),
                },
                Life::Running => tokio::select! {
                    biased;
                    _ = life.changed() => {}
                    done = &mut work => return Some(done),
                },
            }
        }
    }
}
