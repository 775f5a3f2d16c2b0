//! Targets of the forward endpoint: what is accepted is the same place to a lenient parser.

use postern_core::target::Target;
use url::Url;

/// Takes any bytes, as they are and behind the scheme.
pub fn fuzz_forward(bytes: &[u8]) {
    compare(bytes);
    compare(&[b"https://", bytes].concat());
}

fn compare(bytes: &[u8]) {
    let Ok(target) = Target::parse(bytes) else { return };
    let text = String::from_utf8_lossy(bytes);
    let host = target.authority.host();
    let Ok(url) = Url::parse(&text) else {
        // Names in punycode are decoded there, and some have no meaning.
        assert!(host.split('.').any(|label| label.starts_with("xn--")), "{text}");
        return;
    };
    assert_eq!(url.scheme(), "https", "{text}");
    assert_eq!((url.username(), url.password(), url.fragment()), ("", None, None), "{text}");
    let name = url.host_str().map(|name| name.strip_suffix('.').unwrap_or(name));
    assert_eq!(name, Some(host), "{text}");
    let port = url.port_or_known_default().map(|port| format!("{host}:{port}"));
    assert_eq!(port, Some(target.authority.with_port()), "{text}");
    let (path, query) = split(&target.origin_form);
    assert_eq!(escaped(url.path()), escaped(path), "{text}");
    assert_eq!(url.query().map(escaped), query.map(escaped), "{text}");
    let again = format!("https://{}{}", target.authority, target.origin_form);
    assert_eq!(Target::parse(again.as_bytes()), Ok(target), "it reads back");
}

fn split(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

/// The URL standard escapes these in some parts, which changes no meaning.
fn escaped(text: &str) -> String {
    let one = |character: char| match character {
        '"' | '<' | '>' | '^' | '`' | '{' | '|' | '}' | '\'' => {
            format!("%{:02X}", u32::from(character))
        }
        other => other.to_string(),
    };
    text.chars().map(one).collect()
}
