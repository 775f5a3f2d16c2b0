//! When what is sent, and again.
//!
//! Invariant: an attempt is written down before it is made; after the fifth, or once the
//! approval does not wait any more, there is none.

use std::time::Duration;

use postern_core::time::UnixMillis;
use ureq::http;

use super::{Channel, Notice};
use crate::approvals::{self, Filter, State};
use crate::audit::Event;
use crate::fault::Fault;
use crate::outgoing::agent;
use crate::service::Service;
use crate::store::notices::{self, Due};
use crate::store::{self, Reach};

/// Waits after each attempt; there are as many attempts.
const WAITS: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(600),
];
/// Calls that are made at a time.
const AT_A_TIME: i64 = 8;
/// Longest call.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer.
const ANSWER: u64 = 16 << 10;

impl Service {
    /// Tells people what waits. The shell calls it beside [`Service::maintain`], since it may
    /// wait for other machines.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn notify(&self, now: UnixMillis) -> Result<(), Fault> {
        if self.inner.channels.is_empty() || self.inner.people.is_none() {
            return Ok(());
        }
        for channel in &self.inner.channels {
            let waiting = approvals::list(self, &channel.tenant, Filter::Pending, now).await?;
            let mut db = self.inner.pool.write(Reach::All).await?;
            for approval in waiting {
                notices::add(&mut db, &approval.id, &channel.name, now).await?;
            }
            db.commit().await?;
        }
        let mut db = self.inner.pool.read(Reach::All).await?;
        let due = notices::due(&mut db, now, AT_A_TIME).await?;
        drop(db);
        let mut calls = Vec::new();
        for due in due {
            if let Some(call) = self.attempt(&due, now).await? {
                calls.push((due, call));
            }
        }
        for (due, call) in calls {
            let sent = call.await.unwrap_or(false);
            self.attempted(&due, sent, now).await?;
        }
        Ok(())
    }

    /// Begins an attempt; `None` where there is nothing to be told any more.
    async fn attempt(
        &self,
        due: &Due,
        now: UnixMillis,
    ) -> Result<Option<tokio::task::JoinHandle<bool>>, Fault> {
        let inner = &self.inner;
        let channel = inner.channels.iter().find(|channel| channel.name == due.channel);
        let wait = usize::try_from(due.attempts).ok().and_then(|n| WAITS.get(n));
        let mut db = inner.pool.write(Reach::All).await?;
        let call = match (channel, wait, &inner.people) {
            (Some(channel), Some(wait), Some(people)) => {
                let (rows, tenant) = (&inner.rows, &channel.tenant);
                let found = store::approvals::find(&mut db, rows, tenant, &due.approval).await?;
                let waits = found.filter(|it| it.state(now) == State::Pending);
                let notice = waits.map(|approval| {
                    Notice::new(&people.settings.origin, approval.id, approval.expires)
                });
                notice.map(|notice| (channel, notice, *wait))
            }
            _ => None,
        };
        let Some((channel, notice, wait)) = call else {
            notices::end(&mut db, due).await?;
            db.commit().await?;
            return Ok(None);
        };
        let mine = notices::claim(&mut db, due, now.after(wait)).await?;
        db.commit().await?;
        if !mine {
            return Ok(None);
        }
        let call = match channel.adapter.call(&notice, now) {
            Ok(call) => call,
            // It counts as an attempt; the others are told.
            Err(fault) => {
                tracing::warn!(channel = channel.name, %fault, "notification: cannot be made");
                return Ok(Some(tokio::spawn(async { false })));
            }
        };
        let (inner, name) = (std::sync::Arc::clone(inner), due.channel.clone());
        Ok(Some(tokio::task::spawn_blocking(move || {
            let channel = inner.channels.iter().find(|channel| channel.name == name);
            channel.is_some_and(|channel| send(channel, call))
        })))
    }

    async fn attempted(&self, due: &Due, sent: bool, now: UnixMillis) -> Result<(), Fault> {
        let last = usize::try_from(due.attempts).is_ok_and(|n| n.saturating_add(1) >= WAITS.len());
        if !sent && !last {
            return Ok(());
        }
        let mut db = self.inner.pool.write(Reach::All).await?;
        notices::end(&mut db, due).await?;
        let channel = self.inner.channels.iter().find(|channel| channel.name == due.channel);
        if let Some(channel) = channel.filter(|_| !sent) {
            let event = Event::new("notification_failed", &channel.tenant)
                .with("channel", channel.name.as_str())
                .with_hex("approval", &due.approval);
            self.inner.audit.append(&mut db, event, now).await?;
        }
        db.commit().await
    }
}

/// One call. What went wrong is logged by the channel's name alone: the URL may be secret.
fn send(channel: &Channel, call: http::Request<Vec<u8>>) -> bool {
    let Ok(mut answer) = agent(PATIENCE).run(call) else {
        tracing::warn!(channel = channel.name, "notification: no answer");
        return false;
    };
    let status = answer.status().as_u16();
    let content = answer.body_mut().with_config().limit(ANSWER).read_to_vec().unwrap_or_default();
    let took = channel.adapter.took(status, &content);
    if !took {
        tracing::warn!(channel = channel.name, status, "notification: not taken");
    }
    took
}
