//! The CBOR form of a draft: one array of fixed length, version first.
//!
//! Invariant: decoding accepts only definite lengths within the bounds below and no
//! byte behind the array; encoding cuts to the same bounds, so it always reads back.

use std::borrow::Cow;

use minicbor::encode::write::Write;
use minicbor::{Decoder, Encoder};

use super::{Caller, Decision, Draft, ReleaseSource, ScopeCheck, ScrubReceipt};
use crate::canary::Verdict;
use crate::time::UnixMillis;

const VERSION: u8 = 4;
const ITEMS: u64 = 21;
const CALLER_ITEMS: u64 = 8;
const SCRUB_ITEMS: u64 = 3;
/// Bytes of a name: tenant, agent, method, scope, credential, reason.
const NAME: usize = 128;
/// Bytes of a route template.
const ROUTE: usize = 256;
/// Scopes or credentials listed.
const LIST: usize = 64;

pub(super) fn encode(draft: &Draft) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::with_capacity(512));
    // Writing to a Vec cannot fail; were it to, the cut bytes do not decode and the
    // record says so.
    let _ = write(&mut encoder, draft);
    encoder.into_writer()
}

type Written<W> = Result<(), minicbor::encode::Error<<W as Write>::Error>>;

fn write<W: Write>(e: &mut Encoder<W>, draft: &Draft) -> Written<W> {
    e.array(ITEMS)?.u8(VERSION)?.u64(draft.received.0)?;
    bytes(e, draft.decision_id.as_ref().map(<[u8; 16]>::as_slice))?;
    text(e, &draft.method, NAME)?;
    text(e, &draft.route, ROUTE)?;
    caller(e, draft.caller.as_ref())?;
    e.u8(match draft.scope_check {
        ScopeCheck::NotReached => 0,
        ScopeCheck::Passed => 1,
        ScopeCheck::Failed => 2,
    })?;
    decision(e, &draft.decision)?;
    list(e, &draft.credentials)?;
    bytes(e, draft.request_digest.as_ref().map(<[u8; 32]>::as_slice))?;
    bytes(e, draft.binding_hash.as_ref().map(<[u8; 32]>::as_slice))?;
    match draft.release {
        Some(release) => e.array(2)?.u64(release.audit_seq)?.bool(release.cached)?,
        None => e.null()?,
    };
    maybe_text(e, draft.canary.map(Verdict::as_str))?;
    list(e, &draft.minted)?;
    e.u64(draft.scrub_hits)?;
    scrub(e, draft.scrub.as_ref())?;
    e.u64(draft.removed_sections)?;
    maybe_text(e, draft.attestation.as_deref())?;
    maybe_text(e, draft.policy_revision.as_deref())?;
    e.encode(draft.decide_ms)?.encode(draft.release_ms)?;
    Ok(())
}

fn caller<W: Write>(e: &mut Encoder<W>, caller: Option<&Caller>) -> Written<W> {
    let Some(caller) = caller else {
        e.null()?;
        return Ok(());
    };
    e.array(CALLER_ITEMS)?;
    text(e, &caller.tenant, NAME)?;
    e.bytes(&caller.user_hash)?;
    text(e, &caller.agent, NAME)?;
    text(e, &caller.key_id, NAME)?;
    maybe_text(e, caller.platform.as_deref())?;
    list(e, &caller.scopes)?;
    text(e, &caller.kind, NAME)?;
    list(e, &caller.widened)
}

fn scrub<W: Write>(e: &mut Encoder<W>, receipt: Option<&ScrubReceipt>) -> Written<W> {
    let Some(receipt) = receipt else { return e.null().map(|_| ()) };
    e.array(SCRUB_ITEMS)?.u64(receipt.bytes)?;
    list(e, &receipt.decoders)?;
    list(e, &receipt.views)
}

fn decision<W: Write>(e: &mut Encoder<W>, decision: &Decision) -> Written<W> {
    match decision {
        Decision::Undecided => e.u8(0)?,
        Decision::Allow => e.u8(1)?,
        Decision::Deny { code, reason } => {
            e.array(2)?;
            text(e, code, NAME)?;
            return text(e, reason, NAME);
        }
    };
    Ok(())
}

fn text<W: Write>(e: &mut Encoder<W>, text: &str, most: usize) -> Written<W> {
    let cut = text.floor_char_boundary(most);
    e.str(text.get(..cut).unwrap_or_default())?;
    Ok(())
}

fn maybe_text<W: Write>(e: &mut Encoder<W>, value: Option<&str>) -> Written<W> {
    match value {
        Some(value) => text(e, value, NAME),
        None => e.null().map(|_| ()),
    }
}

fn bytes<W: Write>(e: &mut Encoder<W>, value: Option<&[u8]>) -> Written<W> {
    match value {
        Some(value) => e.bytes(value)?,
        None => e.null()?,
    };
    Ok(())
}

fn list<W: Write>(e: &mut Encoder<W>, items: &[impl AsRef<str>]) -> Written<W> {
    let count = items.len().min(LIST);
    e.array(u64::try_from(count).unwrap_or_default())?;
    items.iter().take(LIST).try_for_each(|item| text(e, item.as_ref(), NAME))
}

pub(super) fn decode(bytes: &[u8]) -> Option<Draft> {
    let mut reader = Reader(Decoder::new(bytes));
    let draft = reader.draft()?;
    (reader.0.position() == bytes.len()).then_some(draft)
}

struct Reader<'b>(Decoder<'b>);

impl Reader<'_> {
    fn draft(&mut self) -> Option<Draft> {
        self.array(ITEMS)?;
        if self.0.u8().ok()? != VERSION {
            return None;
        }
        Some(Draft {
            received: UnixMillis(self.0.u64().ok()?),
            decision_id: self.maybe(Self::bytes)?,
            method: self.text(NAME)?,
            route: self.text(ROUTE)?,
            caller: self.maybe(Self::caller)?,
            scope_check: match self.0.u8().ok()? {
                0 => ScopeCheck::NotReached,
                1 => ScopeCheck::Passed,
                2 => ScopeCheck::Failed,
                _ => return None,
            },
            decision: self.decision()?,
            credentials: self.list()?,
            request_digest: self.maybe(Self::bytes)?,
            binding_hash: self.maybe(Self::bytes)?,
            release: self.maybe(Self::release)?,
            canary: self.maybe(|reader| Verdict::named(&reader.name()?))?,
            minted: self.list()?,
            scrub_hits: self.0.u64().ok()?,
            scrub: self.maybe(Self::scrub)?,
            removed_sections: self.0.u64().ok()?,
            attestation: self.maybe(Self::name)?,
            policy_revision: self.maybe(Self::name)?,
            decide_ms: self.maybe(|reader| reader.0.u32().ok())?,
            release_ms: self.maybe(|reader| reader.0.u32().ok())?,
        })
    }

    fn caller(&mut self) -> Option<Caller> {
        self.array(CALLER_ITEMS)?;
        Some(Caller {
            tenant: self.name()?,
            user_hash: self.bytes()?,
            agent: self.name()?,
            key_id: self.name()?,
            platform: self.maybe(Self::name)?,
            scopes: self.list()?,
            kind: self.name()?.into(),
            widened: self.list()?,
        })
    }

    fn decision(&mut self) -> Option<Decision> {
        if self.0.datatype().ok()? == minicbor::data::Type::Array {
            self.array(2)?;
            let (code, reason) = (self.name()?.into(), self.name()?.into());
            return Some(Decision::Deny { code, reason });
        }
        match self.0.u8().ok()? {
            0 => Some(Decision::Undecided),
            1 => Some(Decision::Allow),
            _ => None,
        }
    }

    fn scrub(&mut self) -> Option<ScrubReceipt> {
        self.array(SCRUB_ITEMS)?;
        let bytes = self.0.u64().ok()?;
        let mut names = || Some(self.list()?.into_iter().map(Cow::Owned).collect());
        Some(ScrubReceipt { bytes, decoders: names()?, views: names()? })
    }

    fn release(&mut self) -> Option<ReleaseSource> {
        self.array(2)?;
        Some(ReleaseSource { audit_seq: self.0.u64().ok()?, cached: self.0.bool().ok()? })
    }

    /// `null`, or what `read` reads.
    fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.0.datatype().ok()? == minicbor::data::Type::Null {
            self.0.null().ok()?;
            return Some(None);
        }
        read(self).map(Some)
    }

    fn array(&mut self, items: u64) -> Option<()> {
        (self.0.array().ok()? == Some(items)).then_some(())
    }

    fn list(&mut self) -> Option<Vec<String>> {
        let count = usize::try_from(self.0.array().ok()??).ok()?;
        if count > LIST {
            return None;
        }
        (0..count).map(|_| self.name()).collect()
    }

    fn name(&mut self) -> Option<String> {
        self.text(NAME)
    }

    fn text(&mut self, most: usize) -> Option<String> {
        let text = self.0.str().ok()?;
        (text.len() <= most).then(|| text.to_owned())
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.0.bytes().ok()?.try_into().ok()
    }
}
