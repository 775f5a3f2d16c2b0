//! Names in a certificate as modules read them: subject, first URI and first DNS name.
//!
//! The subject is written as Envoy has it from BoringSSL (RFC 2253: last part first, octets
//! outside of ASCII escaped). Invariant: a certificate that is not one, or a name that cannot
//! be written, gives no property and nothing else.

use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::Any;
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use crate::proxy::exchange::Facts;

/// Bytes of a certificate at most; TLS has room for more.
const LARGEST: usize = 64 * 1024;

/// The three properties of a certificate, whose names end in `of` (`peer`, `local`).
pub(super) fn facts(der: &[u8], of: &str) -> Facts {
    let mut facts = Facts::new();
    let Some(certificate) = Certificate::from_der(der).ok().filter(|_| der.len() <= LARGEST) else {
        return facts;
    };
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let names = names.ok().flatten().map(|(_, names)| names.0).unwrap_or_default();
    let uri = names.iter().find_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        _ => None,
    });
    let dns = names.iter().find_map(|name| match name {
        GeneralName::DnsName(dns) => Some(dns.to_string()),
        _ => None,
    });
    let subject = subject(certificate.tbs_certificate().subject());
    for (name, value) in [("subject", subject), ("uri_san", uri), ("dns_san", dns)] {
        if let Some(value) = value {
            let key = format!("connection\0{name}_{of}_certificate");
            facts.insert(key.into_bytes(), value.into_bytes());
        }
    }
    facts
}

/// `CN=client,OU=team,O=example`.
fn subject(name: &Name) -> Option<String> {
    let mut parts = Vec::new();
    for group in name.iter_rdn().collect::<Vec<_>>().into_iter().rev() {
        let members: Vec<String> = group.iter().map(part).collect::<Option<_>>()?;
        let members: Vec<String> = members.into_iter().rev().collect();
        parts.push(members.join("+"));
    }
    Some(parts.join(","))
}

/// Short names that BoringSSL knows; any other attribute is a number and octets.
const SHORT: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
];

fn part(attribute: &AttributeTypeAndValue) -> Option<String> {
    let number = attribute.oid.to_string();
    let short = SHORT.iter().find(|(known, _)| *known == number).map(|(_, short)| *short);
    let text = match short {
        Some(_) => text(&attribute.value)?,
        None => None,
    };
    let value = match text {
        Some(text) => escaped(&text),
        None => dumped(&attribute.value)?,
    };
    Some(format!("{}={value}", short.unwrap_or(&number)))
}

/// The characters of a text; `Some(None)` for what is none, `None` for a broken one.
fn text(value: &Any) -> Option<Option<String>> {
    let bytes = value.value();
    Some(Some(match value.tag() {
        Tag::Utf8String => std::str::from_utf8(bytes).ok()?.to_owned(),
        Tag::PrintableString
        | Tag::Ia5String
        | Tag::TeletexString
        | Tag::NumericString
        | Tag::VisibleString
        | Tag::UtcTime
        | Tag::GeneralizedTime => bytes.iter().map(|byte| char::from(*byte)).collect(),
        Tag::BmpString => {
            let (pairs, rest) = bytes.as_chunks::<2>();
            if !rest.is_empty() {
                return None;
            }
            let units = pairs.iter().map(|pair| u32::from(u16::from_be_bytes(*pair)));
            units.map(char::from_u32).collect::<Option<String>>()?
        }
        _ => return Some(None),
    }))
}

/// `#` and the octets of the value with its tag, in hexadecimal.
fn dumped(value: &Any) -> Option<String> {
    let der = value.to_der().ok()?;
    Some(std::iter::once("#".to_owned()).chain(der.iter().map(|it| format!("{it:02X}"))).collect())
}

/// RFC 2253, 2.4, with octets outside of printable ASCII in hexadecimal.
fn escaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let last = bytes.len().saturating_sub(1);
    let mut out = String::with_capacity(text.len());
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                out.push('\\');
                out.push(char::from(*byte));
            }
            b'#' if index == 0 => out.push_str("\\#"),
            b' ' if index == 0 || index == last => out.push_str("\\ "),
            b' '..=b'~' => out.push(char::from(*byte)),
            other => out.push_str(&format!("\\{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_separates_parts_is_escaped_as_well_as_what_is_not_ascii() {
        for (text, want) in [
            ("client", "client"),
            ("a,b+c\"d\\e<f>g;h", "a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h"),
            ("#a#", "\\#a#"),
            (" a b ", "\\ a b\\ "),
            (" ", "\\ "),
            ("caf\u{e9}", "caf\\C3\\A9"),
            ("a\u{0}b\n\u{7f}", "a\\00b\\0A\\7F"),
            ("a=b", "a=b"),
        ] {
            assert_eq!(escaped(text), want, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_gives_no_property() {
        let huge = vec![0x30; LARGEST + 1];
        for der in
            [b"".as_slice(), b"x", &[0x30, 0x80], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &huge]
        {
            assert!(facts(der, "peer").is_empty());
        }
    }
}
