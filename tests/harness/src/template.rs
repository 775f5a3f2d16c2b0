//! `${…}` in scenario files: keys, secrets, their encodings and bytes that YAML cannot
//! hold.
//!
//! `${key NAME}` · `${invite NAME}` · `${token NAME}` · `${secret NAME}` · `${minted N}` · `${approval N}` · `${byte ff}` · `${repeat N TEXT}`, then filters:
//! `| after TEXT` · `| before TEXT` · `| base64` · `| base64url` · `| percent` · `| hex`
//! · `| first N` · `| last N` · `| gzip` · `| zlib` · `| deflate` · `| brotli` · `| zstd`.

use std::io::Write;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// Gives the values that names stand for.
pub trait Names {
    /// The whole API key called `name` in this scenario.
    fn key(&self, name: &str) -> Option<Vec<u8>>;
    /// The access token called `name` in this scenario, as of now.
    fn token(&self, name: &str) -> Option<Vec<u8>>;
    /// The value of credential `name`.
    fn secret(&self, name: &str) -> Option<Vec<u8>>;
    /// The random part of a minted credential's name, by its number.
    fn minted(&self, number: &str) -> Option<Vec<u8>>;
    /// The whole invite called `name` in this scenario.
    fn invite(&self, _: &str) -> Option<Vec<u8>> {
        None
    }
    /// A nonce that a gateway has handed out, by its number.
    fn nonce(&self, _: usize) -> Option<String> {
        None
    }
    /// The id of an approval that came up, by its number.
    fn approval(&self, _: usize) -> Option<String> {
        None
    }
    /// A token that an invite was exchanged for, by its number.
    fn issued(&self, _: usize) -> Option<String> {
        None
    }
}

/// `text` with every `${…}` replaced.
pub fn expand(text: &str, names: &dyn Names) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.extend_from_slice(before.as_bytes());
        let (inside, after) = after.split_once('}').context("expected } after ${")?;
        out.extend(value(inside, names).with_context(|| format!("in ${{{inside}}}"))?);
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

fn value(inside: &str, names: &dyn Names) -> Result<Vec<u8>> {
    let mut parts = inside.split('|');
    let first = source(parts.next().unwrap_or_default().trim(), names)?;
    parts.try_fold(first, |bytes, part| filter(bytes, part.trim()))
}

fn source(text: &str, names: &dyn Names) -> Result<Vec<u8>> {
    let (verb, argument) = text.split_once(' ').context("expected a verb and an argument")?;
    match verb {
        "key" => names.key(argument).context("no such key"),
        "invite" => names.invite(argument).context("no such invite"),
        "token" => names.token(argument).context("no such token"),
        "secret" => names.secret(argument).context("no such credential"),
        "minted" => names.minted(argument).context("no such minted credential yet"),
        "approval" => {
            let id = names.approval(argument.parse()?).context("no such approval yet")?;
            Ok(id.into_bytes())
        }
        "byte" => bytes(argument),
        "repeat" => {
            let (count, unit) = argument.split_once(' ').context("expected a count and a text")?;
            Ok(unit.repeat(count.parse()?).into_bytes())
        }
        _ => bail!("unknown verb {verb}"),
    }
}

/// What hexadecimal digits say.
pub(crate) fn bytes(digits: &str) -> Result<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?)).collect()
}

fn filter(bytes: Vec<u8>, text: &str) -> Result<Vec<u8>> {
    let (verb, argument) = text.split_once(' ').unwrap_or((text, ""));
    Ok(match verb {
        "after" => [argument.as_bytes(), &bytes].concat(),
        "before" => [&bytes, argument.as_bytes()].concat(),
        "base64" => STANDARD.encode(bytes).into_bytes(),
        "base64url" => URL_SAFE_NO_PAD.encode(bytes).into_bytes(),
        "percent" => percent(&bytes),
        "hex" => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes(),
        "first" => bytes.get(..argument.parse()?).context("too short")?.to_vec(),
        "last" => {
            let keep: usize = argument.parse()?;
            let from = bytes.len().checked_sub(keep).context("too short")?;
            bytes.get(from..).unwrap_or_default().to_vec()
        }
        "gzip" => written(GzEncoder::new(Vec::new(), Compression::default()), &bytes)?.finish()?,
        "zlib" => {
            written(ZlibEncoder::new(Vec::new(), Compression::default()), &bytes)?.finish()?
        }
        "deflate" => {
            written(DeflateEncoder::new(Vec::new(), Compression::default()), &bytes)?.finish()?
        }
        "brotli" => brotli(&bytes)?,
        "zstd" => compress_to_vec(bytes.as_slice(), CompressionLevel::Fastest),
        _ => bail!("unknown filter {verb}"),
    })
}

fn written<W: Write>(mut encoder: W, bytes: &[u8]) -> Result<W> {
    encoder.write_all(bytes)?;
    Ok(encoder)
}

/// As an encoder stores what it cannot compress (RFC 7932 9.2): a window of 16 bits, one
/// uncompressed metablock of at most 64 KiB, and the empty last one.
fn brotli(bytes: &[u8]) -> Result<Vec<u8>> {
    let length = bytes.len().checked_sub(1).and_then(|length| u16::try_from(length).ok());
    let length = length.context("expected 1 byte to 64 KiB")?;
    let [a, b, c, _] = (u32::from(length) << 4 | 1 << 20).to_le_bytes();
    Ok([&[a, b, c], bytes, &[3]].concat())
}

/// Everything but unreserved characters (RFC 3986 2.3).
pub(crate) fn percent(bytes: &[u8]) -> Vec<u8> {
    let encode = |byte: &u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    bytes.iter().map(encode).collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Names for Fixed {
        fn key(&self, name: &str) -> Option<Vec<u8>> {
            (name == "alice").then(|| b"pk_1".to_vec())
        }
        fn token(&self, _: &str) -> Option<Vec<u8>> {
            None
        }
        fn secret(&self, name: &str) -> Option<Vec<u8>> {
            (name == "slack").then(|| b"s/1".to_vec())
        }
        fn minted(&self, _: &str) -> Option<Vec<u8>> {
            None
        }
    }

    #[test]
    fn values_and_filters_are_put_in_place() {
        for (text, expected) in [
            ("a ${key alice} b", &b"a pk_1 b"[..]),
            ("${secret slack | percent}", b"s%2F1"),
            ("${secret slack | after ab | base64}", b"YWJzLzE="),
            ("${secret slack | first 2}|${secret slack | last 1}", b"s/|1"),
            ("${byte ff}${repeat 3 ab}", b"\xffababab"),
            ("${byte 7b7d | hex}", b"7b7d"),
            ("${secret slack | hex}", b"732f31"),
        ] {
            assert_eq!(expand(text, &Fixed).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn unknown_names_and_open_braces_are_errors() {
        for text in
            ["${key bob}", "${secret x}", "${key alice", "${nope a}", "${key alice | rot13}"]
        {
            assert!(expand(text, &Fixed).is_err(), "{text}");
        }
    }
}
