//! One frame's header (RFC 6455 5.2).

/// Who sends: a client masks, a server does not (RFC 6455 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller.
    Client,
    /// The upstream.
    Server,
}

/// What a frame is. Binary and reserved opcodes have no variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message at hand.
    Continuation,
    /// A text message begins.
    Text,
    /// The sender sends no more.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping, or nothing.
    Pong,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    /// Whether it stands between the frames of messages (RFC 6455 5.5).
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Longest payload of a control frame (RFC 6455 5.5).
pub const MOST_CONTROL: usize = 125;

/// A header that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    pub(super) length: u64,
    pub(super) mask: Option<[u8; 4]>,
}

/// What a few first bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The header is longer than that.
    More,
    /// Not a frame that this side may send.
    Bad,
    /// All of it.
    Whole(Header),
}

impl Header {
    /// Reads exactly the bytes of one header; whoever calls adds them one by one.
    pub(super) fn read(bytes: &[u8], from: Side) -> Read {
        let [first, rest @ ..] = bytes else { return Read::More };
        let opcode = Opcode::of(first & 0x0f);
        let reserved = first & 0x70 != 0;
        let fin = first & 0x80 != 0;
        let Some(opcode) = opcode.filter(|opcode| !reserved && (fin || !opcode.is_control()))
        else {
            return Read::Bad;
        };
        let [second, rest @ ..] = rest else { return Read::More };
        if (second & 0x80 != 0) != (from == Side::Client) {
            return Read::Bad;
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > MOST_CONTROL {
            return Read::Bad;
        }
        let (length, rest) = match length(short, rest) {
            Ok(read) => read,
            Err(other) => return other,
        };
        let mask = match (from, rest) {
            (Side::Server, _) => None,
            (Side::Client, [a, b, c, d, ..]) => Some([*a, *b, *c, *d]),
            (Side::Client, _) => return Read::More,
        };
        Read::Whole(Self { opcode, fin, length, mask })
    }
}

/// The payload's length in as few bytes as it takes.
fn length(short: u8, rest: &[u8]) -> Result<(u64, &[u8]), Read> {
    let (length, rest, least) = match short {
        126 => {
            let (bytes, rest) = rest.split_first_chunk::<2>().ok_or(Read::More)?;
            (u64::from(u16::from_be_bytes(*bytes)), rest, 126)
        }
        127 => {
            let (bytes, rest) = rest.split_first_chunk::<8>().ok_or(Read::More)?;
            (u64::from_be_bytes(*bytes), rest, 0x1_0000)
        }
        short => (u64::from(short), rest, 0),
    };
    if length < least || length > u64::MAX >> 1 { Err(Read::Bad) } else { Ok((length, rest)) }
}

/// A whole frame of a server: the last of its message, in no mask.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode.bits()];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => out.push(short),
        (_, Ok(middle)) => {
            out.push(126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(127);
            let long = u64::try_from(payload.len()).unwrap_or(u64::MAX >> 1);
            out.extend_from_slice(&long.to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}
