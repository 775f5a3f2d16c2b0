//! The encodings into which attackers put a placeholder or a secret.
//!
//! Written from the encodings' own definitions and shared with nothing that scrubs or detects,
//! so that one mistake cannot hide another.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// Applies one encoding or cut; `None` when there is none of that name or it does not fit.
pub fn filter(bytes: Vec<u8>, verb: &str, argument: &str) -> Option<Vec<u8>> {
    cut(&bytes, verb, argument)
        .or_else(|| text(&bytes, verb, argument))
        .or_else(|| compressed(&bytes, verb))
}

/// Parts and surroundings.
fn cut(bytes: &[u8], verb: &str, argument: &str) -> Option<Vec<u8>> {
    let number = || argument.parse::<usize>().ok();
    Some(match verb {
        "after" => [unescaped(argument).as_bytes(), bytes].concat(),
        "before" => [bytes, unescaped(argument).as_bytes()].concat(),
        "first" => bytes.get(..number()?)?.to_vec(),
        "last" => bytes.get(bytes.len().checked_sub(number()?)?..)?.to_vec(),
        "skip" => bytes.get(number()?..)?.to_vec(),
        "drop" => bytes.get(..bytes.len().checked_sub(number()?)?)?.to_vec(),
        "times" => bytes.repeat(number()?),
        "upper" => bytes.to_ascii_uppercase(),
        "lower" => bytes.to_ascii_lowercase(),
        "length" => bytes.len().to_string().into_bytes(),
        // Lines that end with line feeds alone.
        "unix" => bytes.iter().copied().filter(|byte| *byte != b'\r').collect(),
        "wrap" => {
            let (width, end) = argument.split_once(' ').unwrap_or((argument, "\\r\\n"));
            let lines: Vec<&[u8]> = bytes.chunks(width.parse().ok()?).collect();
            lines.join(unescaped(end).as_bytes())
        }
        "between" => {
            let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
            pieces.join(unescaped(argument).as_bytes())
        }
        _ => return None,
    })
}

/// `\r`, `\n`, `\t` and `\s` (a space) of an argument.
fn unescaped(text: &str) -> String {
    text.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t").replace("\\s", " ")
}

fn each(bytes: &[u8], write: impl Fn(u8) -> String) -> Vec<u8> {
    bytes.iter().map(|byte| write(*byte)).collect::<String>().into_bytes()
}

/// As it is when unreserved (RFC 3986, 2.3), else written otherwise.
fn others(bytes: &[u8], write: impl Fn(u8) -> String) -> Vec<u8> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    each(bytes, |byte| if is_plain(byte) { char::from(byte).to_string() } else { write(byte) })
}

/// Encodings that give text.
fn text(bytes: &[u8], verb: &str, argument: &str) -> Option<Vec<u8>> {
    let hex = |byte: u8| format!("{byte:02x}");
    Some(match verb {
        "base64" => STANDARD.encode(bytes).into_bytes(),
        "base64-bare" => STANDARD_NO_PAD.encode(bytes).into_bytes(),
        "base64url" => URL_SAFE_NO_PAD.encode(bytes).into_bytes(),
        "base32" => base32(bytes),
        "hex" => each(bytes, hex),
        "HEX" => each(bytes, hex).to_ascii_uppercase(),
        "hex-by" => {
            let pairs: Vec<String> = bytes.iter().map(|byte| hex(*byte)).collect();
            pairs.join(&unescaped(argument)).into_bytes()
        }
        "percent" => others(bytes, |byte| format!("%{byte:02X}")),
        "percent-lower" => others(bytes, |byte| format!("%{byte:02x}")),
        "percent-all" => each(bytes, |byte| format!("%{byte:02X}")),
        "percent-form" => others(bytes, |byte| match byte {
            b' ' => "+".to_owned(),
            byte => format!("%{byte:02X}"),
        }),
        "unicode" => each(bytes, |byte| format!("\\u{byte:04x}")),
        "UNICODE" => each(bytes, |byte| format!("\\u{byte:04X}")),
        "unicode-brace" => each(bytes, |byte| format!("\\u{{{byte:x}}}")),
        "backslash-x" => each(bytes, |byte| format!("\\x{byte:02x}")),
        "octal" => each(bytes, |byte| format!("\\{byte:03o}")),
        "html-dec" => each(bytes, |byte| format!("&#{byte};")),
        "html-hex" => each(bytes, |byte| format!("&#x{byte:x};")),
        "html-zeros" => each(bytes, |byte| format!("&#{byte:07};")),
        "html-named" => others(bytes, named_reference),
        "json" => json_string(bytes),
        "quoted-printable" => others(bytes, |byte| format!("={byte:02X}")),
        "numbers" => {
            let all: Vec<String> = bytes.iter().map(u8::to_string).collect();
            all.join(", ").into_bytes()
        }
        "utf16le" => bytes.iter().flat_map(|byte| [*byte, 0]).collect(),
        "utf16be" => bytes.iter().flat_map(|byte| [0, *byte]).collect(),
        "utf7" => others(bytes, |byte| format!("+{}-", STANDARD_NO_PAD.encode([0, byte]))),
        "overlong" => overlong(bytes),
        "fullwidth" => fullwidth(bytes),
        // A different escape for each byte, in turn.
        "mixed" => mixed(bytes),
        _ => return None,
    })
}

fn named_reference(byte: u8) -> String {
    match byte {
        b'/' => "&sol;".to_owned(),
        b'+' => "&plus;".to_owned(),
        b'=' => "&equals;".to_owned(),
        b':' => "&colon;".to_owned(),
        b'<' => "&lt;".to_owned(),
        b'>' => "&gt;".to_owned(),
        b'"' => "&quot;".to_owned(),
        b'&' => "&amp;".to_owned(),
        byte => format!("&#{byte};"),
    }
}

fn json_string(bytes: &[u8]) -> Vec<u8> {
    let text = serde_json::Value::from(String::from_utf8_lossy(bytes)).to_string();
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or_default().as_bytes().to_vec()
}

fn mixed(bytes: &[u8]) -> Vec<u8> {
    let one = |(index, byte): (usize, &u8)| match index % 6 {
        0 => format!("%{byte:02x}"),
        1 => format!("\\u{byte:04x}"),
        2 => format!("&#{byte};"),
        3 => format!("\\x{byte:02x}"),
        4 => format!("&#x{byte:X};"),
        _ => char::from(*byte).to_string(),
    };
    bytes.iter().enumerate().map(one).collect::<String>().into_bytes()
}

/// RFC 4648, section 6, without padding.
fn base32(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits: Vec<u8> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let digit = |five: &[u8]| {
        let value =
            (0..5).fold(0_usize, |sum, at| sum * 2 + usize::from(*five.get(at).unwrap_or(&0)));
        ALPHABET[value]
    };
    bits.chunks(5).map(digit).collect()
}

/// Two bytes of UTF-8 for what needs one (RFC 3629, section 3, forbids it).
fn overlong(bytes: &[u8]) -> Vec<u8> {
    let one = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() => vec![*byte],
        byte => vec![0xc0 | byte >> 6, 0x80 | byte & 0x3f],
    };
    bytes.iter().flat_map(one).collect()
}

/// The full-width forms U+FF01 to U+FF5E.
fn fullwidth(bytes: &[u8]) -> Vec<u8> {
    let one = |byte: &u8| match byte {
        b'!'..=b'~' => char::from_u32(0xff00 + u32::from(*byte) - 0x20).unwrap_or('?'),
        byte => char::from(*byte),
    };
    bytes.iter().map(one).collect::<String>().into_bytes()
}

/// Content codings.
fn compressed(bytes: &[u8], verb: &str) -> Option<Vec<u8>> {
    let level = Compression::default();
    match verb {
        "gzip" => written(GzEncoder::new(Vec::new(), level), bytes)?.finish().ok(),
        "zlib" => written(ZlibEncoder::new(Vec::new(), level), bytes)?.finish().ok(),
        "deflate" => written(DeflateEncoder::new(Vec::new(), level), bytes)?.finish().ok(),
        "zstd" => Some(compress_to_vec(bytes, CompressionLevel::Fastest)),
        "brotli" => brotli(bytes),
        "sha256" => {
            use sha2::Digest;
            Some(each(&sha2::Sha256::digest(bytes), |byte| format!("{byte:02x}")))
        }
        _ => None,
    }
}

fn written<W: Write>(mut encoder: W, bytes: &[u8]) -> Option<W> {
    encoder.write_all(bytes).ok().map(|()| encoder)
}

/// One stored metablock of at most 64 KiB (RFC 7932, 9.2), and the empty last one.
fn brotli(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(bytes.len().checked_sub(1)?).ok()?;
    let [a, b, c, _] = (u32::from(length) << 4 | 1 << 20).to_le_bytes();
    Some([&[a, b, c], bytes, &[3]].concat())
}

/// Bytes of hex digits.
pub fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    digits.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn encodings_are_those_of_their_definitions() {
        for (verb, argument, want) in [
            ("base64", "", &b"YTwvWg=="[..]),
            ("base32", "", b"ME6C6WQ"),
            ("HEX", "", b"613C2F5A"),
            ("hex-by", ":", b"61:3c:2f:5a"),
            ("percent", "", b"a%3C%2FZ"),
            ("unicode", "", b"\\u0061\\u003c\\u002f\\u005a"),
            ("html-named", "", b"a&lt;&sol;Z"),
            ("utf16be", "", b"\0a\0<\0/\0Z"),
            ("utf7", "", b"a+ADw-+AC8-Z"),
            ("overlong", "", b"a\xc0\xbc\xc0\xafZ"),
            ("fullwidth", "", "ａ＜／Ｚ".as_bytes()),
            ("between", "\\n", b"a\n<\n/\nZ"),
            ("wrap", "3 \\r\\n", b"a</\r\nZ"),
            ("skip", "1", b"</Z"),
            ("drop", "1", b"a</"),
        ] {
            assert_eq!(filter(b"a</Z".to_vec(), verb, argument).as_deref(), Some(want), "{verb}");
        }
        assert_eq!(filter(b"a".to_vec(), "first", "2"), None);
        assert_eq!(filter(b"a".to_vec(), "unheard-of", ""), None);
    }
}
