//! Every table that holds something of a learner.

use serde_json::{Value, json};
use sparkle_aws::{
    boot::Aws,
    config::ConfigError,
    table::{
        TableError, accounts::Accounts, answers::Answers, belongings::Belongings,
        connections::Connections, conversations::Conversations, intents::Intents, leases::Leases,
        ledger::Ledger, policies::Policies, profiles::Profiles, rates::Arrivals,
        summaries::Summaries, turns::Turns,
    },
};
use sparkle_core::{id::UserId, unit::Timestamp};

#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) accounts: Accounts,
    pub(crate) answers: Answers,
    pub(crate) policies: Policies,
    pub(crate) intents: Intents,
    pub(crate) ledger: Ledger,
    pub(crate) profiles: Profiles,
    pub(crate) rates: Arrivals,
    connections: Connections,
    conversations: Conversations,
    leases: Leases,
    summaries: Summaries,
    turns: Turns,
}

impl Tables {
    pub(crate) fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            accounts: Accounts::open(aws)?,
            answers: Answers::open(aws)?,
            policies: Policies::open(aws)?,
            intents: Intents::open(aws)?,
            ledger: Ledger::open(aws)?,
            profiles: Profiles::open(aws)?,
            connections: Connections::open(aws)?,
            conversations: Conversations::open(aws)?,
            leases: Leases::open(aws)?,
            rates: Arrivals::open(aws)?,
            summaries: Summaries::open(aws)?,
            turns: Turns::open(aws)?,
        })
    }

    /// All of a learner but money, by what it is: the one list that `export` and `erase` go by. Leases and
    /// summaries come first: a worker that has lost its own writes nothing any more.
    pub(crate) async fn belongings(
        &self,
        user: &UserId,
    ) -> Result<Vec<(&'static str, Belongings)>, TableError> {
        let leases = self.leases.belongings(user).await?;
        let [frames, turns] = self.turns.belongings(user).await?;
        let [messages, sessions] = self.conversations.belongings(user).await?;
        Ok(vec![
            ("leases", leases),
            ("summaries", self.summaries.belongings(user).await?),
            ("answers", self.answers.belongings(user).await?),
            ("frames", frames),
            ("turns", turns),
            ("messages", messages),
            ("conversations", sessions),
            ("connections", self.connections.belongings(user).await?),
            ("profiles", self.profiles.belongings(user).await?),
            // After the profile: its stamp goes, and with it what instances keep of the learner.
            ("rates", self.rates.belongings(user).await?),
        ])
    }

    /// All of a learner, as JSON.
    pub(crate) async fn export(&self, user: &UserId, now: Timestamp) -> Result<Value, TableError> {
        let [ledger, usage] = self.ledger.shown(user).await?;
        let mut all = json!({
            "user_id": user.as_str(),
            "exported_at": now.unix_ms(),
            "account": self.accounts.shown(user).await?,
            "intents": self.intents.shown(user).await?,
            "ledger": ledger,
            "usage": usage,
        });
        if let Some(members) = all.as_object_mut() {
            for (name, kept) in self.belongings(user).await? {
                members.insert(name.to_owned(), kept.shown().into());
            }
        }
        Ok(all)
    }
}
