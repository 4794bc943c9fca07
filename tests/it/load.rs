//! Many learners at once.

use std::sync::{Arc, atomic::AtomicUsize};

use anyhow::Result;
use sparkle_tests::{PATIENCE, Stack, load::Conversation};
use tokio::task::JoinSet;

const CONVERSATIONS: usize = 20;
const TURNS: usize = 5;

/// The same with ten times as many, measured: `cargo bench -p sparkle-tests --bench load`.
#[tokio::test]
async fn twenty_learners_who_do_not_wait_lose_nothing_and_keep_their_order() -> Result<()> {
    let stack = Arc::new(Stack::start().await?);
    let answered = Arc::new(AtomicUsize::new(0));
    let mut conversations = JoinSet::new();
    for number in 0..CONVERSATIONS {
        let (stack, answered) = (Arc::clone(&stack), Arc::clone(&answered));
        conversations.spawn(async move {
            let name = format!("learner-{number}");
            let client = stack.connect(&name).await?;
            let mut conversation = Conversation::new(client, &name, answered, PATIENCE);
            conversation.say(TURNS).await?;
            conversation.check_history().await
        });
    }
    while let Some(conversation) = conversations.join_next().await {
        conversation??;
    }
    assert_eq!(
        Arc::into_inner(answered).map(AtomicUsize::into_inner),
        Some(CONVERSATIONS * TURNS)
    );
    Ok(())
}
