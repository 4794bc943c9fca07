//! `SessionsTable` and `MessagesTable`: what was said, by conversation.
//!
//! `SessionsTable`, one item a conversation, listed by the local index `by_updated_at`:
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `user_id` | S, hash key | the learner |
//! | `session_id` | S, range key | the conversation |
//! | `title` | S | given, or the beginning of the first message |
//! | `updated_at` | N | Unix ms of the last turn |
//! | `messages` | N | how many messages it holds: the position of the newest |
//!
//! `MessagesTable`, one item a message:
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `conversation` | S, hash key | `user_id/session_id`; a session id holds no slash |
//! | `position` | N, range key | 1, 2, 3 …; a gap only where a deletion was cut short |
//! | `speaker` | S | `user` or `assistant` |
//! | `text` | S | what was said |
//! | `at` | N | Unix ms |
//! | `request_id` | S | the turn that wrote it |
//! | `tokens` | N | how many its text has, if that was known when it was said |
//!
//! Messages are only ever appended, two at a time, in the transaction that finishes their turn
//! ([`super::turns`]): `messages` must still be what the turn had read.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    operation::{delete_item::DeleteItemError, update_item::UpdateItemError},
    types::{
        AttributeValue, DeleteRequest, Put, ReturnValue, TransactWriteItem, Update, WriteRequest,
    },
};
use sparkle_core::{
    chat,
    frame::{HistoryEntry, SessionEntry, Speaker},
    id::{RequestId, SessionId, UserId},
    unit::Timestamp,
};

use super::{Item, TableError, belongings::Belongings, client, number, number_of, text, text_of};
use crate::{
    boot::Aws,
    config::{self, ConfigError},
};

/// Most items of one `BatchWriteItem` (its API reference, read 2026-11).
const BATCH_ITEMS_MAX: i32 = 25;
/// Batches that one call to [`Conversations::delete`] deletes: 5,000 messages, well within 29 s.
const DELETE_BATCHES_MAX: usize = 200;

/// What was said, by conversation.
#[derive(Debug, Clone)]
pub struct Conversations {
    dynamo: Client,
    sessions: String,
    messages: String,
}

/// The newest part of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recent {
    /// How many messages the conversation holds in all.
    pub length: u64,
    /// The newest of them, oldest first.
    pub entries: Vec<HistoryEntry>,
}

/// A message and its place in the conversation. The next page ends before the first one's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// From 1; not always one more than that of the message before.
    pub position: u64,
    /// What was said.
    pub entry: HistoryEntry,
}

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// Nothing is left of it.
    Whole,
    /// It was too long for one call, or grew meanwhile; the same call goes on where this one ended.
    Part,
}

impl Conversations {
    /// Opens the tables that `SPARKLE_TABLE_SESSIONS` and `SPARKLE_TABLE_MESSAGES` name; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            dynamo: client(aws),
            sessions: config::required("SPARKLE_TABLE_SESSIONS")?,
            messages: config::required("SPARKLE_TABLE_MESSAGES")?,
        })
    }

    /// The conversations of a learner, message by message and then their heads. Cost: one query, and one
    /// for each conversation.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn belongings(&self, user: &UserId) -> Result<[Belongings; 2], TableError> {
        let heads = Belongings::of(&self.dynamo, &self.sessions, &["user_id", "session_id"]);
        let heads = heads.under(user.as_str()).await?;
        let mut messages =
            Belongings::of(&self.dynamo, &self.messages, &["conversation", "position"]);
        for head in heads.items() {
            let session = text_of(head, "session_id")?;
            messages = messages.under(&format!("{user}/{session}")).await?;
        }
        Ok([messages, heads])
    }

    /// The newest `limit` messages, and how many the conversation is said to hold: the number that an
    /// append must find unchanged. Cost: at once one strongly consistent read and one such query.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn recent(
        &self,
        user: &UserId,
        session: &SessionId,
        limit: usize,
    ) -> Result<Recent, TableError> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let (row, items) = tokio::join!(
            self.session(user, session),
            self.newest(user, session, None, limit)
        );
        // Not from the newest message: a deletion that was cut short leaves a row and fewer messages.
        let length = row?.map_or(Ok(0), |row| number_of(&row, "messages"))?;
        let entries = items?
            .iter()
            .rev()
            .map(history_entry)
            .collect::<Result<_, _>>()?;
        Ok(Recent { length, entries })
    }

    /// At most `limit` messages before a position, or the newest, oldest first. Cost: one query.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn page(
        &self,
        user: &UserId,
        session: &SessionId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Placed>, TableError> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let items = self.newest(user, session, before, limit).await?;
        items.iter().rev().map(placed).collect()
    }

    /// How many messages a conversation is said to hold; none if there is no such conversation. Cost: one
    /// strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn length(&self, user: &UserId, session: &SessionId) -> Result<u64, TableError> {
        let row = self.session(user, session).await?;
        row.map_or(Ok(0), |row| number_of(&row, "messages"))
    }

    /// The messages from the one after `after` to the one at `upto`, oldest first: at most `limit` of them,
    /// and 1 MB. Cost: one strongly consistent query.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn between(
        &self,
        user: &UserId,
        session: &SessionId,
        (after, upto): (u64, u64),
        limit: u32,
    ) -> Result<Vec<Placed>, TableError> {
        if after >= upto {
            return Ok(Vec::new());
        }
        let answer = self
            .dynamo
            .query()
            .table_name(&self.messages)
            .key_condition_expression(
                "conversation = :conversation AND #position BETWEEN :first AND :last",
            )
            .expression_attribute_names("#position", "position")
            .expression_attribute_values(":conversation", text(&conversation(user, session)))
            .expression_attribute_values(":first", number(after.saturating_add(1)))
            .expression_attribute_values(":last", number(upto))
            .consistent_read(true)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await?;
        answer
            .items
            .unwrap_or_default()
            .iter()
            .map(placed)
            .collect()
    }

    async fn session(
        &self,
        user: &UserId,
        session: &SessionId,
    ) -> Result<Option<Item>, TableError> {
        let get = self
            .dynamo
            .get_item()
            .table_name(&self.sessions)
            .set_key(Some(session_key(user, session)))
            .consistent_read(true);
        Ok(get.send().await?.item)
    }

    async fn newest(
        &self,
        user: &UserId,
        session: &SessionId,
        before: Option<u64>,
        limit: i32,
    ) -> Result<Vec<Item>, TableError> {
        let answer = self
            .dynamo
            .query()
            .table_name(&self.messages)
            .key_condition_expression("conversation = :conversation AND #position < :before")
            .expression_attribute_names("#position", "position")
            .expression_attribute_values(":conversation", text(&conversation(user, session)))
            .expression_attribute_values(":before", number(before.unwrap_or(u64::MAX)))
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(limit)
            .send()
            .await?;
        Ok(answer.items.unwrap_or_default())
    }

    /// At most `limit` conversations last used before a moment, newest first. Cost: one query.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn list(
        &self,
        user: &UserId,
        before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Vec<SessionEntry>, TableError> {
        let before_ms = before.map_or(i64::MAX, Timestamp::unix_ms);
        let answer = self
            .dynamo
            .query()
            .table_name(&self.sessions)
            .index_name("by_updated_at")
            .key_condition_expression("user_id = :user AND updated_at < :before")
            .expression_attribute_values(":user", text(user))
            .expression_attribute_values(":before", number(before_ms))
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await?;
        answer
            .items
            .unwrap_or_default()
            .iter()
            .map(session_entry)
            .collect()
    }

    /// Gives a conversation a title; none if there is no such conversation. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn rename(
        &self,
        user: &UserId,
        session: &SessionId,
        title: &str,
    ) -> Result<Option<SessionEntry>, TableError> {
        let update = self
            .dynamo
            .update_item()
            .table_name(&self.sessions)
            .set_key(Some(session_key(user, session)))
            .update_expression("SET title = :title")
            .condition_expression("attribute_exists(session_id)")
            .expression_attribute_values(":title", text(title))
            .return_values(ReturnValue::AllNew);
        match update.send().await {
            Ok(answer) => answer.attributes.as_ref().map(session_entry).transpose(),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(None),
                _ => Err(error.into()),
            },
        }
    }

    /// Deletes a conversation with all its messages; none if there is no such conversation.
    ///
    /// The messages go first, so that a conversation of which something is left is still listed.
    /// Cost: one read, then two calls for each 25 messages and one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn delete(
        &self,
        user: &UserId,
        session: &SessionId,
    ) -> Result<Option<Deleted>, TableError> {
        let Some(row) = self.session(user, session).await? else {
            return Ok(None);
        };
        for _ in 0..DELETE_BATCHES_MAX {
            let items = self.newest(user, session, None, BATCH_ITEMS_MAX).await?;
            if items.is_empty() {
                return self.delete_session(user, session, &row).await.map(Some);
            }
            self.delete_messages(user, session, &items).await?;
        }
        Ok(Some(Deleted::Part))
    }

    async fn delete_messages(
        &self,
        user: &UserId,
        session: &SessionId,
        items: &[Item],
    ) -> Result<(), TableError> {
        let deletion = |item: &Item| {
            let position: u64 = number_of(item, "position")?;
            let delete = DeleteRequest::builder()
                .key("conversation", text(&conversation(user, session)))
                .key("position", number(position))
                .build()
                .map_err(|_incomplete| TableError::Corrupt("position"))?;
            Ok(WriteRequest::builder().delete_request(delete).build())
        };
        let deletions = items
            .iter()
            .map(deletion)
            .collect::<Result<Vec<_>, TableError>>()?;
        // What the table did not get to is met again by the next query.
        self.dynamo
            .batch_write_item()
            .request_items(&self.messages, deletions)
            .send()
            .await?;
        Ok(())
    }

    async fn delete_session(
        &self,
        user: &UserId,
        session: &SessionId,
        row: &Item,
    ) -> Result<Deleted, TableError> {
        let messages: u64 = number_of(row, "messages")?;
        let updated_at: i64 = number_of(row, "updated_at")?;
        // Also the time: a conversation begun anew meanwhile may have grown to the same length.
        let unchanged = "messages = :messages AND updated_at = :updated_at";
        let delete = self
            .dynamo
            .delete_item()
            .table_name(&self.sessions)
            .set_key(Some(session_key(user, session)))
            .condition_expression(format!("attribute_not_exists(session_id) OR ({unchanged})"))
            .expression_attribute_values(":messages", number(messages))
            .expression_attribute_values(":updated_at", number(updated_at));
        match delete.send().await {
            Ok(_) => Ok(Deleted::Whole),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(Deleted::Part),
                _ => Err(error.into()),
            },
        }
    }

    /// The writes that append a question and its answer to a conversation of `length` messages.
    pub(super) fn append(
        &self,
        user: &UserId,
        session: &SessionId,
        length: u64,
        question: &HistoryEntry,
        answer: &HistoryEntry,
    ) -> Result<Vec<TransactWriteItem>, BuildError> {
        let message = |entry: &HistoryEntry, position: u64| -> Result<_, BuildError> {
            let tokens = entry
                .tokens
                .map(|tokens| ("tokens".to_owned(), number(tokens)));
            let put = Put::builder()
                .table_name(&self.messages)
                .set_item(tokens.map(|tokens| HashMap::from([tokens])))
                .item("conversation", text(&conversation(user, session)))
                .item("position", number(position))
                .item("speaker", text(entry.speaker.as_str()))
                .item("text", text(&entry.text))
                .item("at", number(entry.at.unix_ms()))
                .item("request_id", text(&entry.request_id))
                .build()?;
            Ok(TransactWriteItem::builder().put(put).build())
        };
        let unchanged = if length == 0 {
            "attribute_not_exists(session_id)"
        } else {
            "messages = :length"
        };
        let session = Update::builder()
            .table_name(&self.sessions)
            .set_key(Some(session_key(user, session)))
            .update_expression(
                "SET title = if_not_exists(title, :title), updated_at = :at, messages = :next",
            )
            .condition_expression(unchanged)
            .expression_attribute_values(":title", text(&chat::title_of(&question.text)))
            .expression_attribute_values(":at", number(answer.at.unix_ms()))
            .expression_attribute_values(":next", number(length + 2));
        let session = if length == 0 {
            session
        } else {
            session.expression_attribute_values(":length", number(length))
        };
        Ok(vec![
            TransactWriteItem::builder()
                .update(session.build()?)
                .build(),
            message(question, length + 1)?,
            message(answer, length + 2)?,
        ])
    }
}

pub(super) fn conversation(user: &UserId, session: &SessionId) -> String {
    format!("{user}/{session}")
}

fn session_key(user: &UserId, session: &SessionId) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("user_id".to_owned(), text(user)),
        ("session_id".to_owned(), text(session)),
    ])
}

fn session_entry(item: &Item) -> Result<SessionEntry, TableError> {
    Ok(SessionEntry {
        session_id: SessionId::parse(text_of(item, "session_id")?)
            .map_err(|_invalid| TableError::Corrupt("session_id"))?,
        title: text_of(item, "title")?.to_owned(),
        updated_at: Timestamp::from_unix_ms(number_of(item, "updated_at")?),
        messages: number_of(item, "messages")?,
    })
}

fn placed(item: &Item) -> Result<Placed, TableError> {
    Ok(Placed {
        position: number_of(item, "position")?,
        entry: history_entry(item)?,
    })
}

fn history_entry(item: &Item) -> Result<HistoryEntry, TableError> {
    let speaker = match text_of(item, "speaker")? {
        "user" => Speaker::User,
        "assistant" => Speaker::Assistant,
        _ => return Err(TableError::Corrupt("speaker")),
    };
    Ok(HistoryEntry {
        speaker,
        text: text_of(item, "text")?.to_owned(),
        at: Timestamp::from_unix_ms(number_of(item, "at")?),
        request_id: RequestId::parse(text_of(item, "request_id")?)
            .map_err(|_invalid| TableError::Corrupt("request_id"))?,
        // Older messages have none.
        tokens: number_of(item, "tokens").ok(),
    })
}
