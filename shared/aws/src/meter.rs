//! The one door through which every call of a model is paid (docs/adr/0008).
//!
//! Before the call: [`Meter::admit`] notes what is about to happen and holds the most that it can cost, or
//! says why not. While it runs: [`Meter::renew`]. After it: its bill takes the place of the hold, by
//! [`Meter::settle`] or in the transaction that ends a turn ([`Purse`]); [`Meter::send`] has the line written
//! into the ledger. Whatever crashes in between is found in `IntentsTable`: by the request's next attempt
//! ([`Meter::close_earlier`]), by the next call that lacks what is held, and by the sweeper.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::{error::BuildError, types::TransactWriteItem};
use sparkle_core::{
    frame::Destination,
    id::{self, CallGroup, CallId, RequestId, SessionId, TraceId, UserId},
    ledger::{Bill, Call, Purpose},
    policy::Tier,
    price::{Catalogue, Model},
    quota::{Account, Denied, Grant, Hold, Wish},
    unit::{Timestamp, TokenUsage},
};
use tokio::{
    join,
    time::{Instant, sleep},
};
use tracing::{error, warn};

use crate::{
    boot::Aws,
    config::ConfigError,
    failure::{Failure, causes},
    metric,
    queue::BillingQueue,
    table::{
        Right, TableError,
        accounts::{Accounts, Payer, Reserved},
        intents::{Intent, Intents, RENEW_EVERY, State},
        policies::Policies,
    },
};

mod embedding;

/// How often a settlement is tried that meets with other calls of the same learner.
const TRIES_MAX: u32 = 12;
/// How long a settlement is tried at most: who waits for it has a turn or an order to end. Each try may take as
/// long as the SDK's own, 5 s.
const TIME_MAX: Duration = Duration::from_secs(8);
/// Pause after the first of these tries, twice as long after the second, and so on.
const PAUSE: Duration = Duration::from_millis(15);

/// The door.
#[derive(Debug)]
pub struct Meter {
    accounts: Accounts,
    intents: Intents,
    policies: Policies,
    queue: BillingQueue,
}

/// A call that somebody would like to make.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "as in `sparkle_core::ledger::Call`")]
pub struct Plan<'a> {
    pub id: CallId,
    pub user_id: &'a UserId,
    pub tier: Tier,
    pub session_id: &'a SessionId,
    pub request_id: &'a RequestId,
    pub trace_id: &'a TraceId,
    pub purpose: Purpose,
    /// Where an alert goes.
    pub destination: Option<&'a Destination>,
    /// What it may consume.
    pub wish: Wish<'a>,
    /// What its request consumed before.
    pub earlier: TokenUsage,
    /// By which its worker works on that request.
    pub right: Right,
}

/// Whether a call may be made.
#[derive(Debug)]
pub enum Admitted {
    /// It may, with an answer of so many tokens.
    Granted(Box<Purse>),
    /// It may not; so the learner stands.
    Denied(Denied, Box<Account>),
    /// It may not: its request was taken over by another attempt.
    CalledOff,
}

/// What is held for a call that may be running.
#[derive(Debug, Clone)]
pub struct Purse {
    bill: Bill,
    held: Hold,
    grant: Grant,
    renewed_at: Timestamp,
}

impl Purse {
    /// The answer may have so many tokens.
    pub fn answer_tokens_max(&self) -> u32 {
        self.grant.answer_tokens_max
    }

    /// When it is time to say that the call still runs.
    pub fn renew_at(&self) -> Timestamp {
        self.renewed_at.after(RENEW_EVERY)
    }

    /// The bill of the call. A usage that no model can have is not believed: the bill is then the most
    /// that the call was granted.
    pub fn bill(&self, usage: Usage, model: &Model, now: Timestamp) -> Bill {
        let Usage { tokens, estimated } = usage;
        let (tokens, estimated) = if !estimated && !model.can_consume(tokens) {
            warn!("the provider reports what no model can have consumed");
            metric::count("usage_absurd_total", 1, &[], now);
            (self.most(), true)
        } else {
            (tokens, estimated)
        };
        let mut bill = self.bill.clone();
        bill.call.tokens = tokens;
        bill.call.estimated = estimated;
        bill.call.cost = Some(model.cost(tokens));
        bill.call.settled_at = now;
        bill
    }

    fn most(&self) -> TokenUsage {
        TokenUsage {
            completion_tokens: self.grant.answer_tokens_max,
            ..self.bill.call.tokens
        }
    }
}

/// What a call consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Tokens.
    pub tokens: TokenUsage,
    /// Whether the provider sent no count and this is a bound of ours.
    pub estimated: bool,
}

/// A bill, in a transaction with what else ends with the call.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Settlement<'a> {
    pub meter: &'a Meter,
    /// What is held, whose place the bill takes; none where nothing was spent.
    pub purse: Option<&'a Purse>,
    pub bill: &'a Bill,
}

impl Settlement<'_> {
    pub(crate) fn writes(&self, now: Timestamp) -> Result<Vec<TransactWriteItem>, BuildError> {
        let Meter {
            accounts, intents, ..
        } = self.meter;
        match self.purse {
            Some(purse) => intents.settling(accounts, self.bill, &purse.held, now),
            None => Ok(vec![intents.noting(self.bill, now)?]),
        }
    }

    /// Stands for this settlement and no other.
    pub(crate) fn digest(&self) -> String {
        let held = self
            .purse
            .map(|purse| purse.held.amount)
            .unwrap_or_default();
        let tokens = self.bill.call.tokens;
        let numbers = [
            held.tokens,
            held.money.get(),
            tokens.prompt_tokens.into(),
            tokens.completion_tokens.into(),
        ];
        let numbers = numbers.map(|number| number.to_string());
        id::digest(&numbers.each_ref().map(String::as_str))
    }
}

impl Meter {
    /// Opens the tables `ACCOUNTS`, `INTENTS` and `POLICY` and the queue `BILLING`; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            accounts: Accounts::open(aws)?,
            intents: Intents::open(aws)?,
            policies: Policies::open(aws)?,
            queue: BillingQueue::open(aws)?,
        })
    }

    /// The models that may be asked now, and what they cost. Cost: see [`Policies::catalogue`].
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn catalogue(&self, now: Timestamp) -> Result<Arc<Catalogue>, TableError> {
        self.policies.catalogue(now).await
    }

    /// Holds what a call can cost, after it is noted that it is about to be made. Cost: a read, the
    /// intent, the hold; more where other calls of the learner come between.
    ///
    /// # Errors
    /// [`TableError`]: then the call must not be made.
    pub async fn admit(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Admitted, TableError> {
        let worst = plan.worst(now);
        let (policy, stored) = join!(self.policies.current(now), self.accounts.find(plan.user_id));
        let (policy, stored) = (policy?, stored?);
        let begin = self.intents.begin(&worst, plan.earlier, &plan.right, now);
        if !begin.await? {
            return Ok(Admitted::CalledOff);
        }
        let payer = Payer {
            user_id: plan.user_id,
            tier: plan.tier,
            policy: &policy,
        };
        let reserve = async |stored| {
            let (accounts, wish) = (&self.accounts, &plan.wish);
            let may_go_on = async || self.intents.renew(plan.user_id, &plan.id, now).await;
            accounts
                .reserve(payer, (&plan.id, wish), stored, now, may_go_on)
                .await
        };
        let mut reserved = reserve(stored).await?;
        if let Reserved::Denied(_, account) = &reserved
            && self.release_silent(plan.user_id, account, now).await? > 0
        {
            let stored = self.accounts.find(plan.user_id).await?;
            let is_open = self.intents.renew(plan.user_id, &plan.id, now).await?;
            reserved = if is_open {
                reserve(stored).await?
            } else {
                Reserved::CalledOff
            };
        }
        match reserved {
            Reserved::Held(grant, held) => Ok(Admitted::Granted(Box::new(Purse {
                bill: worst,
                held,
                grant,
                renewed_at: now,
            }))),
            Reserved::Denied(denied, account) => {
                let call = (plan.user_id, &plan.id);
                self.call_off(call, None, now).await?;
                Ok(Admitted::Denied(denied, account))
            }
            Reserved::CalledOff => Ok(Admitted::CalledOff),
        }
    }

    /// Gives back what is held for calls of a learner whose workers have not been heard of; how many.
    async fn release_silent(
        &self,
        user: &UserId,
        account: &Account,
        now: Timestamp,
    ) -> Result<usize, TableError> {
        if account.holds.is_empty() {
            return Ok(0);
        }
        let mut released = 0;
        for intent in self.intents.of(user, "").await? {
            if intent.is_silent(now) {
                let held = account.holds.get(&intent.bill.call.id);
                match self
                    .intents
                    .release(&self.accounts, &intent, held, now)
                    .await
                {
                    Ok(()) => released += 1,
                    Err(TableError::Conflict(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(released)
    }

    /// Says that a call still runs, so that nobody gives back what is held for it. That it cannot be said is
    /// no reason to stop. Cost: one write.
    pub async fn renew(&self, purse: &mut Purse, now: Timestamp) {
        purse.renewed_at = now;
        let call = &purse.bill.call;
        let renewed = self.intents.renew(&call.user_id, &call.id, now).await;
        if let Err(error) = renewed {
            warn!(error = causes(&error), "a hold cannot be renewed");
        }
    }

    /// After a settlement failed: finds out what is held now. Whether the call is to be settled still.
    /// Cost: two reads at once.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn look(&self, purse: &mut Purse) -> Result<bool, TableError> {
        let held = self.look_at(&purse.bill.call).await?;
        let is_unsettled = held.is_some();
        if let Some(held) = held {
            purse.held = held;
        }
        Ok(is_unsettled)
    }

    /// What is held for a call; none if it is settled.
    async fn look_at(&self, call: &Call) -> Result<Option<Hold>, TableError> {
        let (stored, intent) = join!(
            self.accounts.find(&call.user_id),
            self.intents.find(&call.user_id, &call.id)
        );
        let stored = stored?;
        let held = stored.hold(&call.id).cloned();
        let is_settled = intent?.is_none_or(|intent| intent.state == State::Settled);
        Ok(held.filter(|_| !is_settled))
    }

    /// Settles a call by itself. Cost: one transaction, and its line's message.
    ///
    /// # Errors
    /// [`TableError`]; the sweeper settles it then.
    pub async fn settle(
        &self,
        purse: Purse,
        bill: &Bill,
        now: Timestamp,
    ) -> Result<(), TableError> {
        self.settle_held(bill, purse.held, now).await
    }

    async fn settle_held(
        &self,
        bill: &Bill,
        mut held: Hold,
        now: Timestamp,
    ) -> Result<(), TableError> {
        let began = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let settle = self
                .intents
                .settle(&self.accounts, (bill, &held), None, now);
            let Err(error) = settle.await else { break };
            if tries >= TRIES_MAX || began.elapsed() >= TIME_MAX {
                return Err(error);
            }
            sleep(PAUSE * tries).await;
            match self.look_at(&bill.call).await {
                Ok(Some(still)) => held = still,
                // By another, or by a try of ours whose answer was lost: the intent has the bill that counts.
                Ok(None) => return Ok(()),
                Err(error) => warn!(error = causes(&error), "a call is not settled yet"),
            }
        }
        self.send(bill).await;
        Ok(())
    }

    /// Sees to it that a call is not made, for which nothing is held, and is forgotten; whether who does had
    /// the right to, if it takes one.
    async fn call_off(
        &self,
        (user, call): (&UserId, &CallId),
        right: Option<&Right>,
        now: Timestamp,
    ) -> Result<bool, TableError> {
        let call_off = async || {
            let (intents, accounts) = (&self.intents, &self.accounts);
            intents.call_off(accounts, (user, call), right).await
        };
        let called_off = call_off().await;
        let Err(TableError::Conflict(_)) = called_off else {
            return called_off;
        };
        // The learner may have no account yet in which that could be written.
        let policy = self.policies.current(now).await?;
        let payer = Payer {
            user_id: user,
            tier: Tier::default(),
            policy: &policy,
        };
        self.accounts.open_for(payer, now).await?;
        call_off().await
    }

    /// Settles what earlier attempts at a job left open, at the most that each was granted, and says what all of
    /// them consumed; nothing if the job is another's by now, whose call may be running. Cost: one query; one
    /// transaction for each.
    ///
    /// # Errors
    /// [`TableError`]: then the request must not be tried again yet.
    pub async fn close_earlier(
        &self,
        user: &UserId,
        calls: &CallGroup,
        right: &Right,
        now: Timestamp,
    ) -> Result<Option<TokenUsage>, TableError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let intents = self.intents.of(user, calls.as_str()).await?;
            match self.close(intents, right, now).await {
                // Other calls of the learner, or one of these was settled just now.
                Err(TableError::Conflict(_)) if tries < TRIES_MAX => sleep(PAUSE * tries).await,
                closed => return closed,
            }
        }
    }

    async fn close(
        &self,
        intents: Vec<Intent>,
        right: &Right,
        now: Timestamp,
    ) -> Result<Option<TokenUsage>, TableError> {
        let mut consumed = TokenUsage::default();
        for intent in intents {
            let bill = match intent.state {
                State::Settled => intent.bill,
                State::Open | State::Released => {
                    match self.settle_worst(&intent, Some(right), now).await? {
                        Some(bill) => bill,
                        None => return Ok(None),
                    }
                }
            };
            consumed = intent.earlier.plus(bill.call.tokens);
        }
        Ok(Some(consumed))
    }

    /// Settles a call whose bill will not come, at the most that it was granted, since nobody can tell what it
    /// consumed; none if that takes a right and it is gone. Cost: one read, one transaction, one message.
    async fn settle_worst(
        &self,
        intent: &Intent,
        right: Option<&Right>,
        now: Timestamp,
    ) -> Result<Option<Bill>, TableError> {
        let call = &intent.bill.call;
        let stored = self.accounts.find(&call.user_id).await?;
        let mut bill = intent.bill.clone();
        let Some(held) = stored.hold(&call.id) else {
            // It got no further than its intent: nothing was asked, and must not be.
            bill.call.tokens = TokenUsage::default();
            bill.call.cost = None;
            let called_off = self.call_off((&call.user_id, &call.id), right, now);
            return Ok(called_off.await?.then_some(bill));
        };
        bill.grant(held.amount);
        bill.call.settled_at = now;
        let settle = self
            .intents
            .settle(&self.accounts, (&bill, held), right, now);
        if !settle.await? {
            return Ok(None);
        }
        self.send(&bill).await;
        Ok(Some(bill))
    }

    /// Has a settled call written into the ledger. If the queue does not take it, the sweeper sends it.
    /// Cost: one message.
    pub async fn send(&self, bill: &Bill) {
        if let Err(failure) = self.queue.send(bill).await {
            warn!(error = causes(&failure), "a bill is not on its way yet");
        }
    }

    /// Sees to every call that nobody sees to: one whose worker is silent gives back its hold; one that
    /// nobody can settle any more is settled at its worst; one that is settled and not in the ledger is sent
    /// there again. Cost: a scan of a small table, and a few calls for each.
    ///
    /// # Errors
    /// [`TableError`] if the table cannot be read. What fails for one call is counted and does not keep the
    /// others waiting.
    pub async fn sweep(&self, now: Timestamp) -> Result<Swept, TableError> {
        let mut swept = Swept::default();
        let scanned: Result<(), TableError> = self
            .intents
            .scan(async |page| {
                for intent in page {
                    let done = match intent {
                        Ok(intent) => self.sweep_one(&intent, &mut swept, now).await,
                        Err(error) => Err(error.into()),
                    };
                    if let Err(failure) = done {
                        error!(error = causes(&failure), "a call cannot be swept");
                        swept.failed += 1;
                    }
                }
                Ok(())
            })
            .await;
        scanned.map(|()| swept)
    }

    async fn sweep_one(
        &self,
        intent: &Intent,
        swept: &mut Swept,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let (user, id) = (&intent.bill.call.user_id, &intent.bill.call.id);
        let done = match intent.state {
            State::Open if intent.is_silent(now) => {
                let stored = self.accounts.find(user).await?;
                let (accounts, held) = (&self.accounts, stored.hold(id));
                swept.released += 1;
                self.intents.release(accounts, intent, held, now).await
            }
            State::Released if intent.since.after(ABANDONED_AFTER) <= now => {
                swept.settled += 1;
                self.settle_worst(intent, None, now).await.map(drop)
            }
            State::Settled if intent.since.after(UNBILLED_AFTER) <= now => {
                swept.sent += 1;
                self.queue.send(&intent.bill).await?;
                Ok(())
            }
            _ => Ok(()),
        };
        match done {
            Err(TableError::Conflict(_)) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A released call is settled at its worst, or forgotten if nothing was ever held for it, when its worker cannot
/// be alive: longer than any function runs.
const ABANDONED_AFTER: Duration = Duration::from_mins(20);
/// A settled call that is not in the ledger by then has lost its message.
const UNBILLED_AFTER: Duration = Duration::from_mins(1);

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Holds given back.
    pub released: u64,
    /// Calls settled at their worst.
    pub settled: u64,
    /// Bills sent again.
    pub sent: u64,
    /// Calls for which the next sweep has to do it.
    pub failed: u64,
}

impl Plan<'_> {
    /// The line if the call consumes all that it may.
    fn worst(&self, now: Timestamp) -> Bill {
        let tokens = TokenUsage {
            prompt_tokens: self.wish.prompt_tokens,
            cached_tokens: 0,
            completion_tokens: self.wish.answer_tokens_max,
        };
        Bill {
            call: Call {
                id: self.id.clone(),
                source: String::new(),
                user_id: self.user_id.clone(),
                session_id: Some(self.session_id.clone()),
                request_id: Some(self.request_id.clone()),
                trace_id: Some(self.trace_id.clone()),
                model: self.wish.model.id.clone(),
                purpose: self.purpose,
                tokens,
                estimated: true,
                cost: Some(self.wish.model.cost(tokens)),
                settled_at: now,
                saved_tokens: 0,
            },
            destination: self.destination.cloned(),
            served: None,
        }
    }
}
