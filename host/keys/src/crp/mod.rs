//! `POST /crp/v1/message`: a sealed question in, a sealed answer out.
//!
//! The checks stand in the order of the protocol: decrypt, identity active and tenant
//! equal, signature, time, nonce, then what the message type asks. Everything from the
//! nonce on is one part of a transaction, with the audit event ([`writing`]); only when that is
//! committed is the answer sealed.
//!
//! Invariant: no answer but a refusal without a [`Verified`]; no value before its event is
//! stored. A sender that proves no identity leaves no row, so nobody outside can fill the
//! disk; it leaves a log line.

mod approval;
mod directory;
mod drift;
mod enrol;
mod exchange;
mod mint;
pub(crate) mod policy;
mod release;
mod signed;
pub(crate) mod store;
mod vaulted;
pub(crate) mod writing;

use std::sync::Arc;

use postern_core::placeholder::Name;
use postern_core::time::{Entropy, UnixMillis};
use postern_crp::Role;
use postern_crp::message::{Answer, Kind, Message, Receipt, Status};
use postern_crp::service::{self as protocol, ClearError, Opened, SealError, Verified};

use crate::audit::collect::{self, Sender};
use crate::audit::{Event, Link};
use crate::epoch;
use crate::fault::Fault;
use crate::random;
use crate::service::{HttpAnswer, Inner, Service, unavailable};
use crate::store::identities::{self, Identity};
use crate::store::{Busy, Connection, Reach, nonces, retried};
use crate::vaults::Fetched;
use signed::Signed;
use writing::Question;

/// How often a vault is asked for one message: each time that the credential turns out to be
/// kept at another place than was read.
const MOST_FETCHES: usize = 3;

/// Who sent a verified message.
struct Asker<'a> {
    gateway: &'a [u8; 16],
    tenant: &'a str,
    role: Role,
    /// What a vault said when it was asked for this message.
    fetched: Option<&'a Fetched>,
}

impl Asker<'_> {
    /// An event of this sender.
    fn event(&self, kind: &'static str) -> Event {
        Event::new(kind, self.tenant).with_hex("gateway", self.gateway)
    }
}

/// Why there is no sealed answer.
enum Failure {
    Clear(ClearError),
    Seal(SealError),
    Fault(Fault),
}

impl Busy for Failure {
    fn is_busy(&self) -> bool {
        matches!(self, Self::Fault(fault) if fault.is_busy())
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<SealError> for Failure {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

impl Service {
    /// Answers one message.
    pub async fn message(&self, body: &[u8], now: UnixMillis) -> HttpAnswer {
        let answer = match self.inner.answer(body, now).await {
            Ok(body) => HttpAnswer { status: 200, content_type: "application/crp", body },
            Err(Failure::Clear(error)) => return HttpAnswer::empty(error.status()),
            Err(Failure::Seal(SealError::ReplyKey)) => return HttpAnswer::empty(400),
            Err(Failure::Seal(error)) => {
                tracing::error!(%error, "answer cannot be sealed");
                return HttpAnswer::empty(503);
            }
            Err(Failure::Fault(fault)) => {
                unavailable(&fault);
                return HttpAnswer::empty(503);
            }
        };
        if let Err(fault) = self.checkpoint_behind(now).await {
            tracing::error!(%fault, "no checkpoint");
        }
        answer
    }
}

impl Inner {
    async fn answer(self: &Arc<Self>, body: &[u8], now: UnixMillis) -> Result<Vec<u8>, Failure> {
        let epochs = self.epochs.in_force(&self.pool, now).await?;
        let opened = protocol::open(body, &epoch::keys(&epochs, now)).map_err(Failure::Clear)?;
        let entropy = Entropy(random::bytes()?);
        let senders = self.senders(&opened, now).await?;
        let signed = match Signed::by_one_of(senders, opened, now) {
            Ok(signed) => signed,
            Err(refused) => return refuse(&refused.0, &refused.1, &entropy),
        };
        let question = Question::new(Arc::clone(self), signed, now);
        let (question, answer) = self.written(question).await?;
        let verified = question.signed.message();
        if forgets(verified.message()) {
            self.epochs.mark_deleted();
        }
        Ok(verified.seal(&answer, &entropy)?)
    }

    /// Writes the question, and again once its vault was asked, where its value has to be read
    /// there first. No transaction is open meanwhile.
    async fn written(
        self: &Arc<Self>,
        mut question: Question,
    ) -> Result<(Arc<Question>, Answer), Fault> {
        for _ in 0..MOST_FETCHES {
            let asked = Arc::new(question);
            match retried(|| self.writer.written(Arc::clone(&asked))).await {
                Err(Fault::Unread(place)) => {
                    let fetched = self.vaults.fetch(&place, asked.came, asked.now).await;
                    question = asked.with(fetched);
                }
                outcome => return outcome.map(|answer| (asked, answer)),
            }
        }
        Err(Fault::Crowded)
    }

    /// The identities of which one must have signed: two while a renewed one's old key is still
    /// taken. An enrolment is signed by the key it brings.
    async fn senders(&self, opened: &Opened, now: UnixMillis) -> Result<Vec<Identity>, Fault> {
        if let Some(public_key) = opened.enrolling_key() {
            let role = Role::Operator;
            return Ok(vec![Identity { tenant: String::new(), public_key, role }]);
        }
        // What is no tenant's name is not asked for.
        let Some(tenant) = Name::new(opened.tenant()) else { return Ok(Vec::new()) };
        let mut db = self.pool.read(Reach::Tenant(tenant.as_str())).await?;
        let gateway = opened.gateway_id();
        let mut senders = identities::active(&mut db, &self.rows, gateway, now).await?;
        senders.retain(|identity| {
            identity.tenant == opened.tenant() && opened.kind().allows(identity.role)
        });
        Ok(senders)
    }

    /// Nonce, question and audit event: one part of a transaction, all or nothing.
    async fn transact(
        &self,
        db: &mut Connection,
        Question { signed, now, fetched, .. }: &Question,
    ) -> Result<Answer, Fault> {
        let (verified, sender) = (signed.message(), signed.sender());
        let (gateway, tenant, role) = (verified.gateway_id(), &sender.tenant, sender.role);
        let asker = Asker { gateway, tenant, role, fetched: fetched.as_ref() };
        if !self.still(&mut *db, verified, sender, *now).await? {
            tracing::warn!(kind = verified.kind().name(), "its identity was revoked meanwhile");
            return Ok(refusal(verified.message(), Status::Denied, Receipt::default()));
        }
        match self.replayed(&mut *db, verified, &asker, *now).await? {
            Some(receipt) => Ok(refusal(verified.message(), Status::Denied, receipt)),
            None => self.serve(db, verified, &asker, *now).await,
        }
    }

    /// Whether the sender is one yet: the message may have waited while an operator revoked it.
    async fn still(
        &self,
        db: &mut Connection,
        verified: &Verified,
        sender: &Identity,
        now: UnixMillis,
    ) -> Result<bool, Fault> {
        if verified.kind() == Kind::Enrol {
            return Ok(true);
        }
        let known = identities::active(db, &self.rows, verified.gateway_id(), now).await?;
        Ok(known.contains(sender))
    }

    /// Whether this nonce was seen. An enrolment needs no nonce: its token is used up.
    async fn replayed(
        &self,
        db: &mut Connection,
        verified: &Verified,
        asker: &Asker<'_>,
        now: UnixMillis,
    ) -> Result<Option<Receipt>, Fault> {
        let (nonce, until) = (verified.nonce(), verified.nonce_until());
        if verified.kind() == Kind::Enrol
            || nonces::fresh(&mut *db, asker.gateway, nonce, until).await?
        {
            return Ok(None);
        }
        if !nonces::first_replay(&mut *db, asker.gateway, nonce).await? {
            return Ok(Some(Receipt::default()));
        }
        let event = asker.event("message_replayed").with("type", verified.kind().name());
        let link = self.audit.append(db, event.with_hex("nonce", nonce), now).await?;
        Ok(Some(receipt(link)))
    }

    async fn serve(
        &self,
        db: &mut Connection,
        verified: &Verified,
        asker: &Asker<'_>,
        now: UnixMillis,
    ) -> Result<Answer, Fault> {
        match verified.message() {
            Message::Release(request) => {
                let least = verified.min_version();
                release::release(self, db, asker, request, least, now).await.map(Answer::Release)
            }
            Message::Enrol(request) => enrol::enrol(self, db, request, now).await,
            Message::Directory(request) => directory::look_up(self, db, asker, request, now).await,
            Message::Store(request) => store::store(self, db, asker, request, now).await,
            Message::Approval(request) => approval::approval(self, db, asker, request, now).await,
            Message::Exchange(request) => exchange::exchange(self, db, asker, request, now).await,
            Message::Audit(request) => {
                let sender = Sender { gateway: asker.gateway, tenant: asker.tenant };
                let (rows, audit, batch) = (&self.rows, &self.audit, &request.batch);
                let next = collect::collect(db, rows, audit, sender, batch, now).await?;
                Ok(Answer::Audit(postern_crp::message::audit::Answer { next }))
            }
        }
    }
}

/// Whether it may have deleted a preview, which must not stay in the database's log.
fn forgets(message: &Message) -> bool {
    match message {
        Message::Approval(_) => true,
        Message::Release(request) => request.approval.is_some(),
        _ => false,
    }
}

fn refuse(opened: &Opened, why: &str, entropy: &Entropy) -> Result<Vec<u8>, Failure> {
    tracing::warn!(kind = opened.kind().name(), why, "message refused");
    Ok(opened.deny(Status::Denied, Receipt::default(), entropy)?)
}

fn refusal(message: &Message, status: Status, receipt: Receipt) -> Answer {
    match message {
        Message::Release(request) => Answer::Release(
            postern_crp::message::release::Answer::refused(status, request.binding_hash, receipt),
        ),
        _ => Answer::Denied(status),
    }
}

fn receipt(link: Link) -> Receipt {
    Receipt { seq: link.n, hash: link.hash }
}
