//! Type 2: a new identity, admitted by a join token and signed by its own key.

use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use crate::identity::Role;
use crate::wire::{Malformed, Reader, TooLong, Writer};

/// The question. Gateway id and tenant of the common head are zero and empty: the
/// token says both.
pub struct Request {
    /// Single use, minutes of life, bound to tenant, gateway and role.
    pub join_token: Secret,
    /// What the key will be used for.
    pub role: Role,
    /// Ed25519 public key; the message's signature is by this key.
    pub public_key: [u8; 32],
    /// For people.
    pub label: String,
}

impl Request {
    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        writer.lp8(self.join_token.expose())?;
        writer.u8(self.role.code());
        writer.put(&self.public_key);
        writer.lp8(self.label.as_bytes())
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            join_token: Secret::new(reader.lp8()?.to_vec()),
            role: Role::from_code(reader.u8()?).ok_or(Malformed)?,
            public_key: reader.array()?,
            label: reader.text8()?,
        })
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whom the key now speaks for.
    pub gateway_id: [u8; 16],
    /// Its tenant.
    pub tenant: String,
    /// The enrolment ends then.
    pub not_after: UnixMillis,
}

impl Answer {
    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        writer.put(&self.gateway_id);
        writer.lp8(self.tenant.as_bytes())?;
        writer.u64(self.not_after.0);
        Ok(())
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            gateway_id: reader.array()?,
            tenant: reader.text8()?,
            not_after: UnixMillis(reader.u64()?),
        })
    }
}
