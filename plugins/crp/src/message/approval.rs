//! Type 7: a gate asks for an approval, or how one stands.

use std::time::Duration;

use postern_core::approvals::{Ask, MOST_CONTENT, Requested, Standing, State};
use postern_core::time::UnixMillis;

use crate::wire::{Malformed, Reader, TooLong, Writer};

/// Most bound fields, and most credentials, of a request.
const MOST: usize = 64;

/// The question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Use the approval that is named, and else ask for one.
    Ask(Box<Ask>),
    /// How does this one stand.
    Poll {
        /// Which.
        id: [u8; 16],
        /// Hash of the caller whose it is.
        subject_hash: [u8; 32],
    },
}

impl Request {
    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        match self {
            Self::Ask(ask) => {
                writer.u8(1);
                encode_ask(ask, writer)
            }
            Self::Poll { id, subject_hash } => {
                writer.u8(2);
                writer.put(id);
                writer.put(subject_hash);
                Ok(())
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u8()? {
            1 => Ok(Self::Ask(Box::new(decode_ask(reader)?))),
            2 => Ok(Self::Poll { id: reader.array()?, subject_hash: reader.array()? }),
            _ => Err(Malformed),
        }
    }
}

fn encode_ask(ask: &Ask, writer: &mut Writer) -> Result<(), TooLong> {
    for text in [&ask.agent, &ask.user, &ask.organisation] {
        writer.lp8(text.as_bytes())?;
    }
    writer.put(&ask.subject_hash);
    writer.u8(ask.passkey.into());
    writer.u32(u32::try_from(ask.life.as_secs()).unwrap_or(u32::MAX));
    maybe(writer, ask.named.as_ref().map(<[u8; 16]>::as_slice));
    encode_requested(&ask.requested, writer)?;
    writer.count8(ask.credentials.len(), MOST)?;
    ask.credentials.iter().try_for_each(|name| writer.lp8(name.as_bytes()))
}

fn encode_requested(requested: &Requested, writer: &mut Writer) -> Result<(), TooLong> {
    writer.lp8(requested.method.as_bytes())?;
    writer.lp8(requested.scheme.as_bytes())?;
    writer.lp16(requested.authority.as_bytes())?;
    writer.lp16(requested.path.as_bytes())?;
    writer.count8(requested.fields.len(), MOST)?;
    for (name, value) in &requested.fields {
        writer.lp8(name.as_bytes())?;
        writer.lp16(value)?;
    }
    maybe(writer, requested.content_digest.as_ref().map(<[u8; 32]>::as_slice));
    writer.u64(requested.content_length);
    let content = requested.content.get(..MOST_CONTENT).unwrap_or(&requested.content);
    writer.lp16(content)
}

fn maybe(writer: &mut Writer, bytes: Option<&[u8]>) {
    writer.u8(bytes.is_some().into());
    writer.put(bytes.unwrap_or_default());
}

fn decode_ask(reader: &mut Reader<'_>) -> Result<Ask, Malformed> {
    let (agent, user, organisation) = (reader.text8()?, reader.text8()?, reader.text8()?);
    let subject_hash = reader.array()?;
    let passkey = flag(reader)?;
    let life = Duration::from_secs(reader.u32()?.into());
    let named = if flag(reader)? { Some(reader.array()?) } else { None };
    let requested = decode_requested(reader)?;
    let credentials = reader.texts8()?;
    if !credentials.is_sorted_by(|left, right| left < right) {
        return Err(Malformed);
    }
    Ok(Ask {
        agent,
        user,
        organisation,
        subject_hash,
        passkey,
        life,
        named,
        requested,
        credentials,
    })
}

fn decode_requested(reader: &mut Reader<'_>) -> Result<Requested, Malformed> {
    let (method, scheme) = (reader.text8()?, reader.text8()?);
    let (authority, path) = (text16(reader)?, text16(reader)?);
    let count = reader.u8()?;
    if usize::from(count) > MOST {
        return Err(Malformed);
    }
    let field = |_| Ok((reader.text8()?, reader.lp16()?.to_vec()));
    let fields: Vec<(String, Vec<u8>)> = (0..count).map(field).collect::<Result<_, Malformed>>()?;
    let named = |name: &String| !name.is_empty() && !name.starts_with(':');
    if !fields.is_sorted_by(|left, right| left.0 <= right.0) || !fields.iter().all(|f| named(&f.0))
    {
        return Err(Malformed);
    }
    let content_digest = if flag(reader)? { Some(reader.array()?) } else { None };
    let content_length = reader.u64()?;
    let content = reader.lp16()?.to_vec();
    let requested = Requested {
        method,
        scheme,
        authority,
        path,
        fields,
        content_digest,
        content_length,
        content,
    };
    let fits = requested.content.len() <= MOST_CONTENT && requested.is_true();
    fits.then_some(requested).ok_or(Malformed)
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}

fn text16(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let text = str::from_utf8(reader.lp16()?).map_err(|_| Malformed)?;
    if text.chars().any(char::is_control) { Err(Malformed) } else { Ok(text.to_owned()) }
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where it stands.
    pub standing: Standing,
}

impl Answer {
    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        let Standing { id, state, claimed, expires } = self.standing;
        writer.put(&id);
        let code = State::ALL.iter().position(|one| *one == state);
        writer.u8(code.and_then(|code| u8::try_from(code).ok()).ok_or(TooLong)?);
        writer.u8(claimed.into());
        writer.u64(expires.0);
        Ok(())
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let id = reader.array()?;
        let state = *State::ALL.get(usize::from(reader.u8()?)).ok_or(Malformed)?;
        let claimed = flag(reader)?;
        let expires = UnixMillis(reader.u64()?);
        // Only what was used just now lets a request go on.
        if claimed && state != State::Used {
            return Err(Malformed);
        }
        Ok(Self { standing: Standing { id, state, claimed, expires } })
    }
}
