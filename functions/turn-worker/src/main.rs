//! Triggered by the queue of turns, one message at a time. Writes the stream's frames, then in one
//! transaction the turn's end and the conversation's new messages. Idempotency key: user and `request_id`.

use std::time::Duration;

use sparkle_aws::{
    boot, config,
    push::Push,
    queue::TurnQueue,
    table::{connections::Connections, conversations::Conversations, turns::Turns},
};
use sparkle_core::price::Catalogue;
use sparkle_llm::{ApiKey, Llm, Scripting, Settings, Timeouts};
use turn_worker::App;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), boot::BootError> {
    boot::logs();
    let aws = boot::aws()?;
    let key = aws.secret("SPARKLE_LLM_API_KEY", "SPARKLE_LLM_API_KEY_SECRET_NAME");
    let base_url = config::optional("SPARKLE_LLM_BASE_URL");
    let settings = Settings {
        api_key: if base_url.is_some() {
            key.await?.as_deref().and_then(ApiKey::new)
        } else {
            None
        },
        base_url,
        timeouts: timeouts()?,
        scripting: match config::optional("SPARKLE_LLM_SCRIPTED").as_deref() {
            Some("1") => Scripting::Obeyed,
            _ => Scripting::Ignored,
        },
    };
    let app = App {
        connections: Connections::open(&aws)?,
        turns: Turns::open(&aws)?,
        conversations: Conversations::open(&aws)?,
        queue: TurnQueue::open(&aws)?,
        push: Push::open(&aws)?,
        llm: Llm::from_settings(&settings)?,
        catalogue: Catalogue::offering(&config::optional("SPARKLE_LLM_MODEL").unwrap_or_default())?,
    };
    boot::serve(async |event, now| turn_worker::handle(&app, event, now).await).await
}

fn timeouts() -> Result<Timeouts, config::ConfigError> {
    let default = Timeouts::default();
    Ok(
        match config::positive_or_unset("SPARKLE_LLM_TIMEOUT_SECONDS")? {
            Some(seconds) => {
                let silence = Duration::from_secs(seconds.into());
                Timeouts {
                    first_byte: silence,
                    idle: silence,
                    ..default
                }
            }
            None => default,
        },
    )
}
