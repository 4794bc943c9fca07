//! `ConnectionsTable`: the sockets that are open, and who is at the other end.
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `connection_id` | S, key | API Gateway's id |
//! | `user_id` | S | the learner |
//! | `tier` | S | `free` or `pro` |
//! | `token_expires_at` | N | Unix ms; moved on by `auth` |
//! | `codec` | S | `json` or `protobuf`: what the client last spoke; absent until it spoke |
//! | `encoding` | S | `deflate` if the client takes deflated payloads; absent if not |
//! | `expires_at` | N, TTL | Unix s: longer than any socket lives |

use std::time::Duration;

use aws_sdk_dynamodb::{Client, operation::update_item::UpdateItemError, types::AttributeValue};
use sparkle_core::{
    frame::{Codec, Encoding, Format},
    id::{ConnectionId, UserId},
    policy::Tier,
    unit::Timestamp,
};
use sparkle_wire::job;

use super::{
    Item, TableError, belongings::Belongings, client, is_expired, number, number_of, text, text_of,
};
use crate::{
    boot::Aws,
    config::{self, ConfigError},
    token::Identity,
};

/// Longer than the 2 h that API Gateway keeps a socket (its WebSocket quotas, read 2026-11).
const LIFE: Duration = Duration::from_mins(130);

/// The sockets that are open.
#[derive(Debug, Clone)]
pub struct Connections {
    dynamo: Client,
    table: String,
}

/// One open socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Who is at the other end.
    pub identity: Identity,
    /// What the client last spoke; none until it spoke.
    pub codec: Option<Codec>,
    /// Whether it takes deflated payloads.
    pub encoding: Encoding,
}

impl Connections {
    /// Opens the table that `SPARKLE_TABLE_CONNECTIONS` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            dynamo: client(aws),
            table: config::required("SPARKLE_TABLE_CONNECTIONS")?,
        })
    }

    /// The open sockets of a learner. Cost: a scan of the sockets that are open.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn belongings(&self, user: &UserId) -> Result<Belongings, TableError> {
        let is_owned =
            |item: &Item| text_of(item, "user_id").is_ok_and(|owner| owner == user.as_str());
        Belongings::of(&self.dynamo, &self.table, &["connection_id"])
            .among_all(is_owned)
            .await
    }

    /// Remembers a new socket. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn remember(
        &self,
        connection: &ConnectionId,
        identity: &Identity,
        encoding: Encoding,
        now: Timestamp,
    ) -> Result<(), TableError> {
        let mut put = self
            .dynamo
            .put_item()
            .table_name(&self.table)
            .item("connection_id", text(connection))
            .item("user_id", text(&identity.user_id))
            .item("tier", text(identity.tier.as_str()))
            .item("token_expires_at", number(identity.expires_at.unix_ms()))
            .item("expires_at", number(now.after(LIFE).unix_seconds()));
        if encoding != Encoding::Plain {
            put = put.item("encoding", text(encoding.as_str()));
        }
        put.send().await?;
        Ok(())
    }

    /// Forgets a socket, known or not. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn forget(&self, connection: &ConnectionId) -> Result<(), TableError> {
        self.dynamo
            .delete_item()
            .table_name(&self.table)
            .key("connection_id", text(connection))
            .send()
            .await?;
        Ok(())
    }

    /// Finds a socket. Cost: one strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn find(
        &self,
        connection: &ConnectionId,
        now: Timestamp,
    ) -> Result<Option<Connection>, TableError> {
        let answer = self
            .dynamo
            .get_item()
            .table_name(&self.table)
            .key("connection_id", text(connection))
            .consistent_read(true)
            .send()
            .await?;
        let Some(item) = answer
            .item
            .filter(|item| !is_expired(item, now.unix_seconds()))
        else {
            return Ok(None);
        };
        let user_id = UserId::parse(text_of(&item, "user_id")?)
            .map_err(|_invalid| TableError::Corrupt("user_id"))?;
        let identity = Identity {
            user_id,
            tier: Tier::of_word(text_of(&item, "tier")?),
            expires_at: Timestamp::from_unix_ms(number_of(&item, "token_expires_at")?),
        };
        let codec = text_of(&item, "codec").ok().and_then(job::codec_of_word);
        let encoding = text_of(&item, "encoding").map_or(Encoding::Plain, Encoding::of_word);
        Ok(Some(Connection {
            identity,
            codec,
            encoding,
        }))
    }

    /// Notes what the client speaks now. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn note_format(
        &self,
        connection: &ConnectionId,
        format: Format,
    ) -> Result<(), TableError> {
        let codec = (":codec", text(job::codec_word(format.codec)));
        match format.encoding {
            // Who takes deflated payloads takes them for good: nothing a frame of the same moment may undo.
            Encoding::Plain => self.set(connection, "SET codec = :codec", [codec]).await,
            Encoding::Deflate => {
                let encoding = (":encoding", text(format.encoding.as_str()));
                let both = "SET codec = :codec, encoding = :encoding";
                self.set(connection, both, [codec, encoding]).await
            }
        }
    }

    /// Notes a fresh token of the same learner. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn renew(
        &self,
        connection: &ConnectionId,
        identity: &Identity,
    ) -> Result<(), TableError> {
        let values = [
            (":tier", text(identity.tier.as_str())),
            (":expires", number(identity.expires_at.unix_ms())),
        ];
        self.set(
            connection,
            "SET tier = :tier, token_expires_at = :expires",
            values,
        )
        .await
    }

    /// Changes a socket that is still known; one that closed meanwhile is not brought back.
    async fn set<const N: usize>(
        &self,
        connection: &ConnectionId,
        expression: &str,
        values: [(&str, AttributeValue); N],
    ) -> Result<(), TableError> {
        let mut update = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .key("connection_id", text(connection))
            .condition_expression("attribute_exists(connection_id)")
            .update_expression(expression);
        for (name, value) in values {
            update = update.expression_attribute_values(name, value);
        }
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(error.into()),
            },
        }
    }
}
