//! What of an answer a learner reads in the terminal.

use std::io::Write;

use serde_json::Value;

/// Shows one frame of a stream, or the refusal in its place.
///
/// # Errors
/// Nobody reads it.
pub(super) fn show(frame: &Value) -> anyhow::Result<()> {
    let payload = frame.get("payload").unwrap_or(&Value::Null);
    let word = |name: &str| {
        payload
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let number = |name: &str| {
        payload
            .get(name)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    let flag = |name: &str| {
        payload
            .get(name)
            .and_then(Value::as_bool)
            .unwrap_or_default()
    };
    match frame.get("type").and_then(Value::as_str) {
        Some("delta") if flag("restart") => write(&format!(
            "\n[starting over: what is above no longer counts]\n{}",
            word("text")
        )),
        Some("delta") => write(word("text")),
        Some("usage") => write(&format!(
            "\n[{} + {} tokens, {} millionths of a dollar{}]",
            number("prompt_tokens"),
            number("completion_tokens"),
            number("cost_microusd"),
            if flag("estimated") { ", estimated" } else { "" },
        )),
        Some("done") => match word("finish_reason") {
            "" | "stop" => write("\n"),
            reason => write(&format!("\n[{reason}]\n")),
        },
        Some("error") => write(&format!("\n{} ({})\n", word("message"), word("code"))),
        _ => Ok(()),
    }
}

/// Writes a part of the answer.
///
/// # Errors
/// Nobody reads it.
pub(super) fn write(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Says what happens to the connection; it is no part of the answer.
///
/// # Errors
/// Nobody reads it.
pub(super) fn note(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stderr().lock(), "\n[{text}]")?)
}
