//! `AccountsTable`: what each learner has spent, holds and may spend; each decision is one conditional write.
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `user_id` | S, key | the learner |
//! | `zone` | S | IANA name of the time zone of the next day: the profile's |
//! | `day_zone` | S | the same of the day that runs |
//! | `day` | S | name of the day that runs, such as `2026-11-24` |
//! | `month` | S | name of the month that runs, such as `2026-11` |
//! | `windows` | M | by name: those that run, and older ones in which something is held |
//! | `holds` | M | by call: `tokens`, `money`, `day`, `month` |
//! | `allowance` | S | JSON of `sparkle_core::policy::Allowance`, absent where the tier's limits apply |
//! | `suspended` | BOOL | true, or absent |
//! | `closings` | N | how often a hold was settled or given back |
//!
//! A window is a map: `ends_at` (Unix ms); `tokens_limit`, `tokens_used`, `tokens_held` and `tokens_left`;
//! and of micro-dollars `money_limit`, `money_used`, `money_held` and `money_left`. What is left is stored since
//! conditions cannot subtract; it is below 0 where a limit was lowered, or a call cost more than it was granted.
//!
//! A hold is written once, under its call's id, and settled once, in the windows that it was made in: both
//! writes rest on the hold being there, or not. A hold also rests on `closings` being as it was read, so that
//! a late copy of it does not hold again what has been settled meanwhile; other holds do not get in its way.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure, Update},
};
use sparkle_core::{
    id::{CallId, UserId},
    policy::{Policy, Tier},
    quota::{Account, Amount, Denied, Grant, HOLDS_MAX, Hold, Limits, Window, Wish, window},
    unit::Timestamp,
};

use tokio::join;

use super::{TableError, client, number, policies::Policies, text};
use crate::{
    boot::Aws,
    config::{self, ConfigError},
};

mod item;
mod operator;
mod zone;

use item::{of_hold, of_window, stored};

/// How often a hold is tried while others change the account: each failure is another's success.
const TRIES_MAX: u32 = 200;

/// What each learner has spent, holds and may spend.
#[derive(Debug, Clone)]
pub struct Accounts {
    dynamo: Client,
    table: String,
}

/// A learner, and the rules that apply.
#[derive(Debug, Clone, Copy)]
pub struct Payer<'a> {
    /// Who.
    pub user_id: &'a UserId,
    /// What their token says.
    pub tier: Tier,
    /// What operators say.
    pub policy: &'a Policy,
}

/// What the table has of a learner.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// With the windows in which the learner last spent something; none before that.
    account: Option<Account>,
    /// Names of all windows that are kept.
    windows: Vec<String>,
    closings: u64,
}

/// Whether something is held for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// It is.
    Held(Grant, Hold),
    /// It is not; so things stand.
    Denied(Denied, Box<Account>),
    /// It is not: another has seen to it that the call is not made.
    CalledOff,
}

impl Accounts {
    /// Opens the table that `SPARKLE_TABLE_ACCOUNTS` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            dynamo: client(aws),
            table: config::required("SPARKLE_TABLE_ACCOUNTS")?,
        })
    }

    /// What is stored of a learner. Cost: one strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn find(&self, user: &UserId) -> Result<Stored, TableError> {
        let get = self
            .dynamo
            .get_item()
            .table_name(&self.table)
            .key("user_id", text(user))
            .consistent_read(true);
        stored(get.send().await?.item.as_ref())
    }

    /// How a learner stands at this moment. Cost: one strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn standing(
        &self,
        policies: &Policies,
        user_id: &UserId,
        tier: Tier,
        now: Timestamp,
    ) -> Result<Account, TableError> {
        let (policy, stored) = join!(policies.current(now), self.find(user_id));
        let policy = policy?;
        let payer = Payer {
            user_id,
            tier,
            policy: &policy,
        };
        Ok(stored?.at(payer, now))
    }

    /// Holds what a call can cost at most, if that is left in every window. `known` has just been read.
    /// `may_go_on` says whether the call's intent is open still: while this takes long, another may have seen to
    /// it that the call is not made any more. Since that counts as a closing, nothing is held without an intent,
    /// provided that `known` was read before the intent was written. Cost:
    /// one write; one more on a learner's first call of a day, and one or two for each time that another
    /// call of the learner came first.
    ///
    /// # Errors
    /// [`TableError`]; then it is not known whether something is held.
    pub async fn reserve(
        &self,
        payer: Payer<'_>,
        (call, wish): (&CallId, &Wish<'_>),
        mut known: Stored,
        now: Timestamp,
        may_go_on: impl AsyncFn() -> Result<bool, TableError>,
    ) -> Result<Reserved, TableError> {
        let mut tries = 0;
        loop {
            tries += 1;
            if let Some(held) = known.hold(call)
                && held.amount != Amount::default()
            {
                // By an earlier try, whose answer was lost.
                return Ok(Reserved::Held(granted(held, wish), held.clone()));
            }
            let account = known.at(payer, now);
            let grant = match account.grant(wish) {
                Ok(grant) => grant,
                Err(denied) => return Ok(Reserved::Denied(denied, Box::new(account))),
            };
            if self.renew(payer.user_id, &known, &account).await? == Renewed::Overtaken {
                known = self.find(payer.user_id).await?;
                if !may_go_on().await? {
                    return Ok(Reserved::CalledOff);
                }
                continue;
            }
            let hold = Hold {
                amount: grant.amount,
                day: account.day.name.clone(),
                month: account.month.name.clone(),
            };
            match self
                .hold(payer.user_id, call, &hold, known.closings)
                .await?
            {
                None => return Ok(Reserved::Held(grant, hold)),
                Some(_) if tries >= TRIES_MAX => {
                    return Ok(Reserved::Denied(Denied::Busy, Box::new(account)));
                }
                Some(found) => {
                    if found.closings != known.closings && !may_go_on().await? {
                        return Ok(Reserved::CalledOff);
                    }
                    known = found;
                }
            }
        }
    }

    /// Writes the hold; none if it was written, else what was in the way.
    async fn hold(
        &self,
        user: &UserId,
        call: &CallId,
        hold: &Hold,
        closings: u64,
    ) -> Result<Option<Stored>, TableError> {
        let amount = hold.amount;
        let update = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .key("user_id", text(user))
            .update_expression(
                "SET windows.#day.tokens_left = windows.#day.tokens_left - :tokens, \
                 windows.#day.tokens_held = windows.#day.tokens_held + :tokens, \
                 windows.#day.money_left = windows.#day.money_left - :money, \
                 windows.#day.money_held = windows.#day.money_held + :money, \
                 windows.#month.tokens_left = windows.#month.tokens_left - :tokens, \
                 windows.#month.tokens_held = windows.#month.tokens_held + :tokens, \
                 windows.#month.money_left = windows.#month.money_left - :money, \
                 windows.#month.money_held = windows.#month.money_held + :money, \
                 holds.#call = :hold",
            )
            .condition_expression(
                "#current_day = :day AND #current_month = :month \
                 AND attribute_not_exists(suspended) AND attribute_not_exists(holds.#call) \
                 AND size(holds) < :most AND closings = :closings \
                 AND windows.#day.tokens_left >= :tokens AND windows.#month.tokens_left >= :tokens \
                 AND windows.#day.money_left >= :money AND windows.#month.money_left >= :money",
            )
            .expression_attribute_names("#current_day", "day")
            .expression_attribute_names("#current_month", "month")
            .expression_attribute_names("#day", &hold.day)
            .expression_attribute_names("#month", &hold.month)
            .expression_attribute_names("#call", call.as_str())
            .expression_attribute_values(":day", text(&hold.day))
            .expression_attribute_values(":month", text(&hold.month))
            .expression_attribute_values(":tokens", number(amount.tokens))
            .expression_attribute_values(":money", number(amount.money.get()))
            .expression_attribute_values(":most", number(i128::try_from(HOLDS_MAX).unwrap_or(0)))
            .expression_attribute_values(":hold", of_hold(hold))
            .expression_attribute_values(":closings", number(closings))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match update.send().await {
            Ok(_) => Ok(None),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    stored(failed.item()).map(Some)
                }
                _ => Err(error.into()),
            },
        }
    }

    /// The write that puts a call's bill in the place of what is held for it, in the windows that it is held
    /// in. It fails unless exactly this is held: nothing, if the hold was given back meanwhile.
    pub(super) fn settling(
        &self,
        user: &UserId,
        call: &CallId,
        held: &Hold,
        bill: Amount,
    ) -> Result<Update, BuildError> {
        self.closing(user, call, held, bill, "REMOVE holds.#call")
    }

    /// The write that gives back what is held for a call whose bill is not known yet.
    pub(super) fn releasing(
        &self,
        user: &UserId,
        call: &CallId,
        held: &Hold,
    ) -> Result<Update, BuildError> {
        let rest = ", holds.#call.tokens = :zero, holds.#call.money = :zero";
        self.closing(user, call, held, Amount::default(), rest)
    }

    /// The write that keeps a late hold for a call from taking effect, for which nothing is held.
    pub(super) fn barring(&self, user: &UserId, call: &CallId) -> Result<Update, BuildError> {
        Update::builder()
            .table_name(&self.table)
            .key("user_id", text(user))
            .update_expression("SET closings = closings + :one")
            .condition_expression("attribute_exists(user_id) AND attribute_not_exists(holds.#call)")
            .expression_attribute_names("#call", call.as_str())
            .expression_attribute_values(":one", number(1))
            .build()
    }

    fn closing(
        &self,
        user: &UserId,
        call: &CallId,
        held: &Hold,
        bill: Amount,
        rest: &str,
    ) -> Result<Update, BuildError> {
        let mut sets = vec!["closings = closings + :one".to_owned()];
        for name in ["#day", "#month"] {
            for fund in ["tokens", "money"] {
                let path = format!("windows.{name}.{fund}");
                sets.push(format!("{path}_left = {path}_left + :{fund}_back"));
                sets.push(format!("{path}_held = {path}_held - :{fund}_held"));
                sets.push(format!("{path}_used = {path}_used + :{fund}_bill"));
            }
        }
        let amount = held.amount;
        let mut update = Update::builder()
            .table_name(&self.table)
            .key("user_id", text(user))
            .update_expression(format!("SET {} {rest}", sets.join(", ")))
            .condition_expression(
                "holds.#call.tokens = :tokens_held AND holds.#call.money = :money_held",
            )
            .expression_attribute_names("#day", &held.day)
            .expression_attribute_names("#month", &held.month)
            .expression_attribute_names("#call", call.as_str())
            .expression_attribute_values(":one", number(1));
        if rest.contains(":zero") {
            update = update.expression_attribute_values(":zero", number(0));
        }
        for (fund, held, bill) in [
            ("tokens", amount.tokens, bill.tokens),
            ("money", amount.money.get(), bill.money.get()),
        ] {
            let back = i128::from(held) - i128::from(bill);
            update = update
                .expression_attribute_values(format!(":{fund}_back"), number(back))
                .expression_attribute_values(format!(":{fund}_held"), number(held))
                .expression_attribute_values(format!(":{fund}_bill"), number(bill));
        }
        update.build()
    }

    /// Opens the windows of this moment and sets its limits, where they are not those of the item.
    async fn renew(
        &self,
        user: &UserId,
        known: &Stored,
        account: &Account,
    ) -> Result<Renewed, TableError> {
        let Some(stored) = &known.account else {
            return self.create(user, account).await;
        };
        let mut changes = Changes::default();
        changes.window("day", &stored.day, &account.day);
        changes.window("month", &stored.month, &account.month);
        if stored.day_zone != account.day_zone {
            changes.set("day_zone = :day_zone");
            changes.value(":day_zone", text(&account.day_zone));
        }
        if changes.sets.is_empty() {
            return Ok(Renewed::Done);
        }
        changes.drop_old(&known.windows, stored, account);
        let update = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .key("user_id", text(user))
            .update_expression(changes.expression())
            // The limits as well: what is left is moved by their difference.
            .condition_expression(
                "#current_day = :old_day AND #current_month = :old_month \
                 AND windows.#old_day.tokens_limit = :a AND windows.#old_day.money_limit = :b \
                 AND windows.#old_month.tokens_limit = :c AND windows.#old_month.money_limit = :d",
            )
            .set_expression_attribute_names(Some(changes.names))
            .set_expression_attribute_values(Some(changes.values))
            .expression_attribute_names("#current_day", "day")
            .expression_attribute_names("#current_month", "month")
            .expression_attribute_names("#old_day", &stored.day.name)
            .expression_attribute_names("#old_month", &stored.month.name)
            .expression_attribute_values(":old_day", text(&stored.day.name))
            .expression_attribute_values(":old_month", text(&stored.month.name))
            .expression_attribute_values(":a", number(stored.day.tokens.limit))
            .expression_attribute_values(":b", number(stored.day.money.limit))
            .expression_attribute_values(":c", number(stored.month.tokens.limit))
            .expression_attribute_values(":d", number(stored.month.money.limit));
        match update.send().await {
            Ok(_) => Ok(Renewed::Done),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(Renewed::Overtaken),
                _ => Err(error.into()),
            },
        }
    }

    /// Sees to it that a learner has an account. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn open_for(&self, payer: Payer<'_>, now: Timestamp) -> Result<(), TableError> {
        let account = Stored::default().at(payer, now);
        self.create(payer.user_id, &account).await?;
        Ok(())
    }

    async fn create(&self, user: &UserId, account: &Account) -> Result<Renewed, TableError> {
        let windows =
            [&account.day, &account.month].map(|window| (window.name.clone(), of_window(window)));
        let put = self
            .dynamo
            .put_item()
            .table_name(&self.table)
            .item("user_id", text(user))
            .item("zone", text(&account.zone))
            .item("day_zone", text(&account.day_zone))
            .item("day", text(&account.day.name))
            .item("month", text(&account.month.name))
            .item("windows", AttributeValue::M(HashMap::from(windows)))
            .item("holds", AttributeValue::M(HashMap::new()))
            .item("closings", number(0))
            .condition_expression("attribute_not_exists(user_id)");
        match put.send().await {
            Ok(_) => Ok(Renewed::Done),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(Renewed::Overtaken),
                _ => Err(error.into()),
            },
        }
    }
}

/// Whether the windows of an item are those of the moment.
#[derive(PartialEq, Eq)]
enum Renewed {
    Done,
    /// Another changed the item first.
    Overtaken,
}

/// Parts of an update.
#[derive(Default)]
struct Changes {
    sets: Vec<String>,
    removes: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Changes {
    fn set(&mut self, part: impl Into<String>) {
        self.sets.push(part.into());
    }

    fn value(&mut self, name: impl Into<String>, value: AttributeValue) {
        self.values.insert(name.into(), value);
    }

    /// Opens the next window of a kind, or sets what is new in the one that runs.
    fn window(&mut self, kind: &str, old: &Window, new: &Window) {
        let path = format!("windows.#new_{kind}");
        let before = self.sets.len();
        if old.name == new.name {
            if old.ends_at != new.ends_at {
                self.set(format!("{path}.ends_at = :{kind}_ends_at"));
                self.value(format!(":{kind}_ends_at"), number(new.ends_at.unix_ms()));
            }
            for (fund, old, new) in [
                ("tokens", old.tokens.limit, new.tokens.limit),
                ("money", old.money.limit, new.money.limit),
            ] {
                if old == new {
                    continue;
                }
                let more = i128::from(new) - i128::from(old);
                self.set(format!("{path}.{fund}_limit = :{kind}_{fund}_limit"));
                self.set(format!(
                    "{path}.{fund}_left = {path}.{fund}_left + :{kind}_{fund}_more"
                ));
                self.value(format!(":{kind}_{fund}_limit"), number(new));
                self.value(format!(":{kind}_{fund}_more"), number(more));
            }
        } else {
            self.set(format!("#current_{kind} = :new_{kind}"));
            self.set(format!("{path} = :{kind}_window"));
            self.value(format!(":new_{kind}"), text(&new.name));
            self.value(format!(":{kind}_window"), of_window(new));
        }
        if self.sets.len() > before {
            self.names.insert(format!("#new_{kind}"), new.name.clone());
        }
    }

    /// Forgets windows that are over and in which nothing is held, but the last ones.
    fn drop_old(&mut self, windows: &[String], stored: &Account, account: &Account) {
        let mut kept: Vec<&String> = vec![&stored.day.name, &stored.month.name];
        kept.extend([&account.day.name, &account.month.name]);
        for hold in stored.holds.values() {
            kept.extend([&hold.day, &hold.month]);
        }
        let old = windows.iter().filter(|name| !kept.contains(name));
        for (number, name) in old.enumerate() {
            self.removes.push(format!("windows.#old{number}"));
            self.names.insert(format!("#old{number}"), name.clone());
        }
    }

    fn expression(&self) -> String {
        let mut expression = format!("SET {}", self.sets.join(", "));
        if !self.removes.is_empty() {
            expression.push_str(" REMOVE ");
            expression.push_str(&self.removes.join(", "));
        }
        expression
    }
}

/// What was granted for a hold that is there already.
fn granted(held: &Hold, wish: &Wish<'_>) -> Grant {
    let answer = held
        .amount
        .tokens
        .saturating_sub(u64::from(wish.prompt_tokens));
    Grant {
        amount: held.amount,
        answer_tokens_max: u32::try_from(answer).unwrap_or(u32::MAX),
    }
}

impl Stored {
    /// How the learner stands at this moment, whose windows may not be in the table yet.
    pub fn at(&self, payer: Payer<'_>, now: Timestamp) -> Account {
        let allowance = self.account.as_ref().map(|account| account.allowance);
        let allowance = allowance.unwrap_or_default();
        let limits = payer.policy.limits(payer.tier, &allowance);
        let mut account = match &self.account {
            Some(stored) => stored.clone().at(&limits, now),
            None => Account::opened(window::ZONE, &limits, now),
        };
        account.is_stopped = payer.policy.is_stopped;
        account
    }

    /// How the learner stands at this moment, by the limits that applied to their last call; none before a
    /// first.
    pub fn last(self, now: Timestamp) -> Option<Account> {
        let account = self.account?;
        let limits = Limits {
            day_tokens: account.day.tokens.limit,
            month_tokens: account.month.tokens.limit,
            day_money: account.day.money.limit,
            month_money: account.month.money.limit,
        };
        Some(account.at(&limits, now))
    }

    /// What is held for a call, if it is in the account: nothing, if it was given back.
    pub fn hold(&self, call: &CallId) -> Option<&Hold> {
        self.account.as_ref()?.holds.get(call)
    }
}
