//! The permit's CBOR form: one array, definite lengths, shortest integers.
//!
//! Invariant: `encode` is a function of the permit alone, so decode-and-encode shows
//! whether bytes were in that one form.

use std::convert::Infallible;

use minicbor::decode::Error;
use minicbor::{Decoder, Encoder};

use super::{CredentialUse, MOST_USES, Permit};
use crate::time::UnixMillis;

const VERSION: u8 = 1;
const MEMBERS: u64 = 13;
const USE_MEMBERS: u64 = 4;

type Encoded = Result<(), minicbor::encode::Error<Infallible>>;

pub(super) fn encode(permit: &Permit) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    // Writing to a vector cannot fail; if it did, the bytes would not decode and the
    // permit would be refused.
    let _ = write(permit, &mut Encoder::new(&mut bytes));
    bytes
}

fn write(permit: &Permit, to: &mut Encoder<&mut Vec<u8>>) -> Encoded {
    to.array(MEMBERS)?.u8(VERSION)?.bytes(&permit.decision_id)?;
    to.u64(permit.issued.0)?.u64(permit.expires.0)?;
    to.str(&permit.tenant)?.str(&permit.agent)?;
    to.bytes(&permit.subject_hash)?.bytes(&permit.request_digest)?;
    optional(to, permit.content_digest.as_ref().map(<[u8; 32]>::as_slice))?;
    to.array(u64::try_from(permit.uses.len()).unwrap_or(u64::MAX))?;
    for used in &permit.uses {
        to.array(USE_MEMBERS)?.str(&used.credential)?.str(&used.field)?.str(&used.site)?;
        to.bytes(&used.binding_hash)?;
    }
    optional(to, permit.approval.as_ref().map(<[u8; 16]>::as_slice))?;
    to.bytes(&permit.policy_revision)?.bytes(&permit.gate_vm)?;
    Ok(())
}

fn optional(to: &mut Encoder<&mut Vec<u8>>, bytes: Option<&[u8]>) -> Encoded {
    match bytes {
        Some(bytes) => to.bytes(bytes)?,
        None => to.null()?,
    };
    Ok(())
}

/// `None` for anything but one permit of this version and nothing after it.
pub(super) fn decode(bytes: &[u8]) -> Option<Permit> {
    let mut from = Decoder::new(bytes);
    let permit = read(&mut from).ok()?;
    (from.position() == bytes.len()).then_some(permit)
}

fn read(from: &mut Decoder<'_>) -> Result<Permit, Error> {
    if from.array()? != Some(MEMBERS) || from.u8()? != VERSION {
        return Err(Error::message("not a permit of this version"));
    }
    Ok(Permit {
        decision_id: fixed(from)?,
        issued: UnixMillis(from.u64()?),
        expires: UnixMillis(from.u64()?),
        tenant: from.str()?.to_owned(),
        agent: from.str()?.to_owned(),
        subject_hash: fixed(from)?,
        request_digest: fixed(from)?,
        content_digest: fixed_or_null(from)?,
        uses: uses(from)?,
        approval: fixed_or_null(from)?,
        policy_revision: fixed(from)?,
        gate_vm: fixed(from)?,
    })
}

fn uses(from: &mut Decoder<'_>) -> Result<Vec<CredentialUse>, Error> {
    let count = from.array()?.and_then(|count| usize::try_from(count).ok());
    let count = count.filter(|count| *count <= MOST_USES);
    let count = count.ok_or_else(|| Error::message("too many uses"))?;
    (0..count).map(|_| one_use(from)).collect()
}

fn one_use(from: &mut Decoder<'_>) -> Result<CredentialUse, Error> {
    if from.array()? != Some(USE_MEMBERS) {
        return Err(Error::message("not a use"));
    }
    Ok(CredentialUse {
        credential: from.str()?.to_owned(),
        field: from.str()?.to_owned(),
        site: from.str()?.to_owned(),
        binding_hash: fixed(from)?,
    })
}

fn fixed<const N: usize>(from: &mut Decoder<'_>) -> Result<[u8; N], Error> {
    from.bytes()?.try_into().map_err(|_| Error::message("not this many bytes"))
}

fn fixed_or_null<const N: usize>(from: &mut Decoder<'_>) -> Result<Option<[u8; N]>, Error> {
    if from.datatype()? == minicbor::data::Type::Null {
        from.null()?;
        return Ok(None);
    }
    fixed(from).map(Some)
}
