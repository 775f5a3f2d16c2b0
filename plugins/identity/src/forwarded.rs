//! `x-forwarded-client-cert`: what a hop in front says of its caller's certificate.
//!
//! Owns the reading of the field as Envoy writes it: elements separated by commas, pairs by
//! semicolons, values in quotes where they hold one of these. Knows nothing of who sent it.
//!
//! Invariant: a field is read whole or not at all. One element only: with several, some are
//! what the caller had sent to the hop. One URI and one hash, and a certificate that comes
//! along has to be theirs.

use postern_core::hex;
use postern_core::spiffe::SpiffeId;
use postern_core::time::UnixMillis;

use crate::cache::Digest;
use crate::certificate::Leaf;

/// The field.
pub const FIELD: &str = "x-forwarded-client-cert";
/// Most bytes of it: a certificate and its chain, percent-encoded.
const LARGEST: usize = 64 * 1024;

/// A caller's certificate as a hop has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Who it names.
    pub id: SpiffeId,
    /// SHA-256 of its DER.
    pub thumbprint: Digest,
    /// Its end, in seconds, where it came along.
    pub until: Option<u64>,
}

impl Forwarded {
    /// Reads the field as of now.
    pub fn read(field: &[u8], now: UnixMillis) -> Option<Self> {
        let text = str::from_utf8(field).ok().filter(|text| text.len() <= LARGEST)?;
        let (mut uri, mut hash, mut certificate) = (None, None, None);
        for (key, value) in pairs(text)? {
            let once = match key.to_ascii_lowercase().as_str() {
                "uri" => &mut uri,
                "hash" => &mut hash,
                "cert" => &mut certificate,
                // The hop's own name, and what a SPIFFE ID says better.
                "by" | "subject" | "dns" | "chain" => continue,
                _ => return None,
            };
            if once.replace(value).is_some() {
                return None;
            }
        }
        let (id, thumbprint) = (SpiffeId::parse(&uri?)?, digest(&hash?)?);
        let until = match certificate {
            None => None,
            Some(pem) => {
                let leaf = Leaf::read(&unescaped(&pem)?)?;
                let same = leaf.spiffe_id(now).ok()? == id && leaf.thumbprint == thumbprint;
                Some(same.then_some(leaf.until)?)
            }
        };
        Some(Self { id, thumbprint, until })
    }
}

/// The pairs of the only element.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = text;
    loop {
        let (key, after) = rest.split_once('=')?;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return None;
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted)?,
            None => {
                let end = after.find([';', ',']).unwrap_or(after.len());
                let (value, after) = after.split_at_checked(end)?;
                (value.to_owned(), (!value.contains('"')).then_some(after)?)
            }
        };
        pairs.push((key.to_owned(), value));
        match after.strip_prefix(';') {
            Some(more) => rest = more,
            None => return after.is_empty().then_some(pairs),
        }
    }
}

/// The value up to the quote that ends it, and what follows.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(at..)?.strip_prefix('"')?)),
            '\\' => value.push(letters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// 64 hexadecimal digits, in either case.
fn digest(text: &str) -> Option<Digest> {
    hex::read(text.to_ascii_lowercase().as_bytes())
}

/// Percent-decoded (RFC 3986, 2.1).
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (pair, after) = rest.split_first_chunk::<2>()?;
        let digits = pair.iter().all(u8::is_ascii_hexdigit);
        bytes.push(u8::from_str_radix(str::from_utf8(pair).ok().filter(|_| digits)?, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use postern_core::denial::TokenReason;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_651_200_000);
    const URI: &str = "spiffe://prod.test/one";

    fn hash() -> String {
        "0aB".to_owned() + &"1".repeat(61)
    }

    fn read(text: &str) -> Option<Forwarded> {
        Forwarded::read(text.as_bytes(), NOW)
    }

    #[test]
    fn what_envoy_writes_is_read() {
        let hash = hash();
        for text in [
            format!("Hash={hash};URI={URI}"),
            format!("By=spiffe://mesh.test/ingress;Hash={hash};URI={URI}"),
            format!(
                "By=spiffe://mesh.test/ingress;Hash={hash};Subject=\"CN=a, b;c\\\",O=\\\\d\";URI={URI};DNS=a.test;DNS=b.test"
            ),
            format!("hash={hash};uri=\"{URI}\";Chain=\"%2D\";Subject=\"\""),
        ] {
            let read = read(&text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((read.id.as_str(), read.thumbprint[0], read.until), (URI, 0x0a, None));
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let hash = hash();
        let good = format!("Hash={hash};URI={URI}");
        for text in [
            String::new(),
            format!("{good},{good}"),
            format!("{good}, {good}"),
            format!("{good};"),
            format!(";{good}"),
            format!(" {good}"),
            format!("{good};URI={URI}"),
            format!("{good};uri=spiffe://prod.test/two"),
            format!("{good};Hash={hash}"),
            format!("Hash={hash}"),
            format!("URI={URI}"),
            format!("Hash={hash};URI="),
            format!("Hash={hash};URI={URI}?a"),
            format!("Hash={hash};URI=SPIFFE://prod.test/one"),
            format!("Hash={}0;URI={URI}", &hash[1..].replace('B', "g")),
            format!("Hash={hash}00;URI={URI}"),
            format!("{good};Subject=\"CN=a"),
            format!("{good};Subject=\"CN=a\"b"),
            format!("{good};Subject=\"CN=a\\"),
            format!("{good};Subject=a\"b"),
            format!("{good};Other=a"),
            format!("{good};=a"),
            format!("{good};a"),
            format!("{good};Cert=\"rubbish\""),
            format!("Hash={hash};URI={URI};DNS=\"{}\"", "a".repeat(LARGEST)),
        ] {
            assert_eq!(read(&text), None, "{text}");
        }
        assert_eq!(Forwarded::read(b"Hash=\xff", NOW), None);
    }

    #[test]
    fn a_certificate_that_comes_along_is_the_one_that_is_named() {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.subject_alt_names.push(SanType::URI(URI.try_into().unwrap()));
        let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        let leaf = Leaf::read(pem.as_bytes()).unwrap();
        let hex: String = leaf.thumbprint.iter().map(|byte| format!("{byte:02x}")).collect();
        let escaped: String = pem.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let text = |hash: &str, uri: &str| format!("Hash={hash};Cert=\"{escaped}\";URI={uri}");
        assert_eq!(read(&text(&hex, URI)).unwrap().until, Some(leaf.until));
        assert_eq!(read(&text(&hash(), URI)), None);
        assert_eq!(read(&text(&hex, "spiffe://prod.test/two")), None);
        let after = UnixMillis((leaf.until + 1) * 1000);
        assert_eq!(leaf.spiffe_id(after), Err(TokenReason::Expired));
        assert_eq!(Forwarded::read(text(&hex, URI).as_bytes(), after), None);
        for bad in ["%", "%4", "%4g", "%+1"] {
            assert_eq!(unescaped(bad), None);
        }
    }
}
