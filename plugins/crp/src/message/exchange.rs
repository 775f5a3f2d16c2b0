//! Type 6: an invite becomes a capability token, for one holder.

use postern_core::key_service::Redemption;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use crate::wire::{Malformed, Reader, TooLong, Writer};

/// The question.
pub struct Request {
    /// The whole invite, as it was presented.
    pub invite: Secret,
    /// Ed25519 key whose private half whoever presents it has shown to hold.
    pub holder: [u8; 32],
    /// The gateway that the token is to be for.
    pub audience: String,
    /// Longest life of the token, in seconds.
    pub max_life_s: u32,
}

impl From<Redemption> for Request {
    fn from(redemption: Redemption) -> Self {
        let Redemption { invite, holder, audience, max_life } = redemption;
        let max_life_s = u32::try_from(max_life.as_secs()).unwrap_or(u32::MAX);
        Self { invite, holder, audience, max_life_s }
    }
}

impl Request {
    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        writer.lp8(self.invite.expose())?;
        writer.put(&self.holder);
        writer.lp8(self.audience.as_bytes())?;
        writer.u32(self.max_life_s);
        Ok(())
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            invite: Secret::new(reader.lp8()?.to_vec()),
            holder: reader.array()?,
            audience: reader.text8()?,
            max_life_s: reader.u32()?,
        })
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The token: no good without the holder's key.
    pub token: String,
    /// When it ends.
    pub not_after: UnixMillis,
}

impl Answer {
    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        writer.lp16(self.token.as_bytes())?;
        writer.u64(self.not_after.0);
        Ok(())
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let token = str::from_utf8(reader.lp16()?).map_err(|_| Malformed)?.to_owned();
        Ok(Self { token, not_after: UnixMillis(reader.u64()?) })
    }
}
