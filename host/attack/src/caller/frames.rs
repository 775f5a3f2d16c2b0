//! HTTP/2 that breaks its own rules: frames and field sections written here, byte by byte.
//!
//! Of the answer only the status is read: that, and what reached the upstream, is what these
//! cases are about.

use std::io::{self, Read, Write};

use postern_rig::message::{Line, Message};

use super::{Came, RawFrame, Target};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GONE: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// One stream of these frames.
pub(super) fn exchange(target: &Target, frames: &[RawFrame]) -> io::Result<Came> {
    let mut wire = target.connect(b"h2")?;
    let mut bytes = PREFACE.to_vec();
    // No dynamic table, so that a status is always literal or in the static one.
    bytes.extend(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]));
    for one in frames {
        match one {
            RawFrame::Headers(fields, end) => {
                let flags = END_HEADERS | if *end { END_STREAM } else { 0 };
                bytes.extend(frame(HEADERS, flags, 1, &section(fields)));
            }
            RawFrame::Data(content, end) => {
                bytes.extend(frame(DATA, if *end { END_STREAM } else { 0 }, 1, content));
            }
        }
    }
    wire.write_all(&bytes)?;
    wire.flush()?;
    let mut came = Came::default();
    loop {
        let Some((kind, flags, stream, payload)) = next(&mut wire)? else { return Ok(came) };
        match (kind, stream) {
            (SETTINGS, 0) if flags & ACK == 0 => {
                let _ = wire.write_all(&frame(SETTINGS, ACK, 0, &[]));
            }
            (HEADERS, 1) => match status(&payload) {
                Some(status) if status < 200 => came.interim.push(status),
                status => {
                    let start = format!("HTTP/2 {}", status.unwrap_or(0)).into_bytes();
                    came.answers.push(Message { start, complete: true, ..Message::default() });
                    return Ok(came);
                }
            },
            (RESET, 1) | (GONE, 0) => {
                came.trouble = Some(if kind == GONE { "GOAWAY" } else { "RST_STREAM" }.into());
                return Ok(came);
            }
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    [&[a, b, c, kind, flags], stream.to_be_bytes().as_slice(), payload].concat()
}

/// Literal fields without indexing (RFC 7541, 6.2.2), names and values as they stand.
fn section(fields: &[Line]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        string(&mut bytes, name);
        string(&mut bytes, value);
    }
    bytes
}

/// A length in seven bits (RFC 7541, 5.1), and the bytes.
fn string(to: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        to.push(u8::try_from(rest).unwrap_or(0));
    } else {
        to.push(127);
        rest -= 127;
        while rest >= 128 {
            to.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
            rest /= 128;
        }
        to.push(u8::try_from(rest).unwrap_or(0));
    }
    to.extend_from_slice(text);
}

/// Kind, flags, stream and payload.
type Received = (u8, u8, u32, Vec<u8>);

/// The next frame; `None` when the connection has ended.
fn next(from: &mut impl Read) -> io::Result<Option<Received>> {
    let mut head = [0; 9];
    if let Err(error) = from.read_exact(&mut head) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, UnexpectedEof};
        let ended = matches!(error.kind(), ConnectionAborted | ConnectionReset | UnexpectedEof);
        return if ended { Ok(None) } else { Err(error) };
    }
    let [a, b, c, kind, flags, d, e, f, g] = head;
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(0);
    let mut payload = vec![0; length];
    from.read_exact(&mut payload)?;
    Ok(Some((kind, flags, u32::from_be_bytes([d & 0x7f, e, f, g]), payload)))
}

/// The status, which is the first field of an answer (RFC 9113, 8.3).
fn status(section: &[u8]) -> Option<u16> {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A change of the table's size may come first (RFC 7541, 6.3).
    let section = match section.first()? {
        byte if byte & 0xe0 == 0x20 => section.get(1..)?,
        _ => section,
    };
    match section.first()? {
        byte if byte & 0x80 != 0 => INDEXED.get(usize::from(byte & 0x7f).checked_sub(8)?).copied(),
        // A literal value of a name in the static table.
        _ => {
            let length = *section.get(1)?;
            let value = section.get(2..2 + usize::from(length & 0x7f))?;
            let text = if length & 0x80 == 0 { value.to_vec() } else { digits(value) };
            str::from_utf8(&text).ok()?.parse().ok()
        }
    }
}

/// Digits in the code of RFC 7541, appendix B: 0 to 2 have five bits, the others six.
fn digits(value: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> =
        value.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let read = |from: usize, length: usize| {
        bits.get(from..from + length).map(|bits| bits.iter().fold(0, |sum, bit| sum * 2 + bit))
    };
    let (mut at, mut out) = (0, Vec::new());
    while out.len() < 3 {
        match (read(at, 5), read(at, 6)) {
            (Some(short @ 0..=2), _) => {
                out.push(b'0' + short);
                at += 5;
            }
            (_, Some(long @ 0x19..=0x1f)) => {
                out.push(b'3' + long - 0x19);
                at += 6;
            }
            _ => break,
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_from_the_table_and_from_literals() {
        assert_eq!(status(&[0x88]), Some(200));
        assert_eq!(status(&[0x20, 0x8c]), Some(400));
        assert_eq!(status(&[0x08, 3, b'5', b'0', b'2']), Some(502));
        // RFC 7541, C.6.1: 302 in Huffman code.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        assert_eq!(status(&[]), None);
    }

    #[test]
    fn long_strings_have_lengths_of_several_bytes() {
        let mut bytes = Vec::new();
        string(&mut bytes, &[b'x'; 1337]);
        // RFC 7541, C.1.2 with a prefix of seven bits.
        assert_eq!(bytes.get(..3), Some(&[127, 0xba, 9][..]));
    }
}
