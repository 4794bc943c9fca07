//! Hides how no process outlives the stack, not even when the stack is killed with SIGKILL.
//!
//! Every function runs in one process group, led by a shell that does nothing but read from a
//! pipe whose other end only this program holds. However this program ends, the kernel closes
//! the pipe, the shell's `read` returns, and it kills the whole group.
//! (`PR_SET_PDEATHSIG` needs unsafe code, is Linux's alone, and fires when a thread ends.)

use std::{io, process::Stdio};

use tokio::process::{Child, Command};

/// The process group of all functions. Dropping it kills every process in it.
#[derive(Debug)]
pub(super) struct Group {
    leader: Child,
    id: i32,
}

impl Group {
    pub(super) fn start() -> io::Result<Group> {
        let leader = Command::new("/bin/sh")
            .args(["-c", "read _; kill -KILL 0"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let id = leader.id().and_then(|id| i32::try_from(id).ok());
        let id = id.ok_or_else(|| io::Error::other("the group's leader ended at once"))?;
        Ok(Group { leader, id })
    }

    /// What [`Command::process_group`] takes.
    pub(super) fn id(&self) -> i32 {
        self.id
    }

    /// Kills whatever is still in the group and waits until its leader has ended.
    pub(super) async fn kill(mut self) {
        drop(self.leader.stdin.take());
        if let Err(error) = self.leader.wait().await {
            tracing::warn!(%error, "could not wait for the process group's leader");
        }
    }
}
