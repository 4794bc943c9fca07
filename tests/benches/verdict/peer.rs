//! GPTCache, asked the same.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use sparkle_tests::{bench::say, root};

use crate::curve::Scored;

/// What GPTCache serves of a set, with its defaults; or why that is not known.
pub(crate) fn print(scored: &[Scored]) -> Result<()> {
    let python = std::env::var_os("SPARKLE_PYTHON").unwrap_or_else(|| "python3".into());
    let mut asked = Command::new(python)
        .arg(root().join("tests/benches/verdict/ask_gptcache.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("no python3")?;
    let lines: String = scored
        .iter()
        .map(|scored| format!("{} {}\n", u8::from(scored.is_same), scored.plain))
        .collect();
    let mut stdin = asked.stdin.take().context("no stdin")?;
    // Without GPTCache it is gone by now.
    drop(stdin.write_all(lines.as_bytes()));
    drop(stdin);
    let answer = asked.wait_with_output()?;
    if answer.status.success() {
        let said = String::from_utf8_lossy(&answer.stdout);
        say(&format!("  GPTCache {}", said.trim()))
    } else {
        say("  GPTCache: not asked (pip install gptcache; SPARKLE_PYTHON names another python)")
    }
}
