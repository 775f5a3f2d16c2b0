//! Placeholders: how a caller names a credential without holding it.
//!
//! A *placeholder* is `<CREDENTIAL:name>` or `<CREDENTIAL:name.field>`, standing in the one
//! place (*site*) that a binding declares. This module owns the grammar and the exact
//! reading of a site's value; sightings anywhere else are the detector's.
//!
//! Invariant: a value is either exactly what its site's style allows, once, or refused;
//! reading never decodes more than the style says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::binding::{Site, Style};

const OPEN: &str = "<CREDENTIAL:";
const CLOSE: char = '>';
const LONGEST_NAME: usize = 63;
/// Most bytes of the half of a Basic pair that the caller writes. It is part of what the
/// answer is scrubbed of, and each byte of that costs the scrubber work and memory.
const LONGEST_HALF: usize = 255;

/// A credential's or a field's name: `[a-z0-9][a-z0-9_-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// `text` when it is a name.
    pub fn new(text: &str) -> Option<Self> {
        let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let inner = |c: char| first(c) || c == '_' || c == '-';
        let fits = text.len() <= LONGEST_NAME && text.starts_with(first) && text.chars().all(inner);
        fits.then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which value a caller asks for. Says nothing about whether it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Credential.
    pub credential: Name,
    /// Field of a credential of several values.
    pub field: Option<Name>,
}

impl Reference {
    /// Exactly one placeholder and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix(OPEN)?.strip_suffix(CLOSE)?;
        let (credential, field) = match inner.split_once('.') {
            Some((credential, field)) => (credential, Some(Name::new(field)?)),
            None => (inner, None),
        };
        Some(Self { credential: Name::new(credential)?, field })
    }
}

impl Reference {
    /// The placeholder that names `field` (empty: none) of `credential`.
    pub fn written(credential: &str, field: &str) -> String {
        let dot = if field.is_empty() { "" } else { "." };
        format!("{OPEN}{credential}{dot}{field}{CLOSE}")
    }
}

impl std::fmt::Display for Reference {
    /// `name` or `name.field`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.credential.as_str())?;
        match &self.field {
            Some(field) => write!(f, ".{}", field.as_str()),
            None => Ok(()),
        }
    }
}

/// What stands around the value in its field: rendered, the field's value is `before`,
/// the secret and `after`, and for `basic` the base64 of that after `Basic `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// RFC 7617: the three parts together are base64-encoded.
    pub basic: bool,
    /// Bytes before the value.
    pub before: String,
    /// Bytes after the value.
    pub after: String,
}

/// A site's value that was read: which credential, and what stands around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What is asked for.
    pub reference: Reference,
    /// What stays as the caller wrote it.
    pub frame: Frame,
}

/// Reads the whole value of a site's field. `None` unless it is exactly one placeholder
/// where the site's style has it.
pub fn parse(site: &Site, value: &[u8]) -> Option<Placed> {
    let value = str::from_utf8(value).ok()?;
    match site.style() {
        Style::Bearer => bearer(value),
        Style::BasicUser | Style::BasicPassword => basic(site.style(), value),
        Style::Template => framed(site.frame(), value),
        // Nothing of the caller's stands in the place of a signature.
        Style::SigV4 | Style::OAuth1 => None,
    }
}

fn bearer(value: &str) -> Option<Placed> {
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let frame = Frame { basic: false, before: format!("{scheme} "), after: String::new() };
    Some(Placed { reference: Reference::parse(token)?, frame })
}

/// RFC 7617 2: user-id up to the first colon. The half that is not the placeholder stays
/// the caller's, and must not look like another placeholder.
fn basic(style: Style, value: &str) -> Option<Placed> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    // The colon that parts user and password is not the one inside a placeholder.
    let (token, other, frame) = if style == Style::BasicUser {
        let at = pair.find(CLOSE)?.checked_add(1)?;
        let (token, rest) = pair.split_at_checked(at)?;
        let other = rest.strip_prefix(':')?;
        (token, other, Frame { basic: true, before: String::new(), after: rest.to_owned() })
    } else {
        let (user, token) = pair.split_once(':')?;
        (token, user, Frame { basic: true, before: format!("{user}:"), after: String::new() })
    };
    let odd = |c: char| matches!(c, '<' | '>') || c.is_control();
    if other.len() > LONGEST_HALF || other.contains(odd) {
        return None;
    }
    Some(Placed { reference: Reference::parse(token)?, frame })
}

fn framed(frame: &Frame, value: &str) -> Option<Placed> {
    let token = value.strip_prefix(frame.before.as_str())?.strip_suffix(frame.after.as_str())?;
    Some(Placed { reference: Reference::parse(token)?, frame: frame.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::SiteWire;

    fn site(style: Style, template: Option<&str>) -> Site {
        let wire = SiteWire {
            header: Some("authorization".into()),
            style: Some(style),
            template: template.map(str::to_owned),
            ..SiteWire::default()
        };
        Site::try_from(wire).unwrap()
    }

    fn basic_value(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    fn read(style: Style, value: &str) -> Option<(String, String, String)> {
        let placed = parse(&site(style, None), value.as_bytes())?;
        let name = placed.reference.credential.as_str().to_owned();
        Some((placed.frame.before, name, placed.frame.after))
    }

    fn frame(before: &str, after: &str) -> Option<(String, String, String)> {
        Some((before.into(), "slack".into(), after.into()))
    }

    #[test]
    fn each_style_takes_one_placeholder_in_its_place() {
        assert_eq!(read(Style::Bearer, "Bearer <CREDENTIAL:slack>"), frame("Bearer ", ""));
        assert_eq!(read(Style::BasicUser, &basic_value("<CREDENTIAL:slack>:x")), frame("", ":x"));
        assert_eq!(
            read(Style::BasicPassword, &basic_value("bob:<CREDENTIAL:slack>")),
            frame("bob:", "")
        );
        let template = site(Style::Template, Some("token={};v=1"));
        let placed = parse(&template, b"token=<CREDENTIAL:slack.key>;v=1").unwrap();
        assert_eq!(placed.reference, Reference::parse("<CREDENTIAL:slack.key>").unwrap());
        assert_eq!(placed.reference.field.unwrap().as_str(), "key");
    }

    #[test]
    fn anything_but_exactly_one_placeholder_is_refused() {
        for value in [
            "Bearer <CREDENTIAL:slack",
            "Bearer <CREDENTIAL:slack>>",
            "Bearer  <CREDENTIAL:slack>",
            "Bearer <CREDENTIAL:<CREDENTIAL:slack>>",
            "Bearer <CREDENTIAL:slack><CREDENTIAL:slack>",
            "Bearer <CREDENTIAL:slack> ",
            "Bearer <credential:slack>",
            "Bearer <CREDENTIAL:Slack>",
            "Bearer <CREDENTIAL:>",
            "Bearer <CREDENTIAL:-a>",
            "Bearer <CREDENTIAL:a.b.c>",
            "Bearer <CREDENTIAL:a.>",
            "Bearer %3CCREDENTIAL:slack%3E",
            "<CREDENTIAL:slack>",
            "Basic <CREDENTIAL:slack>",
            "Bearer x<CREDENTIAL:slack>",
        ] {
            assert_eq!(read(Style::Bearer, value), None, "{value}");
        }
        for pair in [
            "<CREDENTIAL:slack>:<CREDENTIAL:slack>",
            "<CREDENTIAL:slack>",
            "x<CREDENTIAL:slack>:",
            "bob:<CREDENTIAL:slack>",
        ] {
            assert_eq!(read(Style::BasicUser, &basic_value(pair)), None, "{pair}");
        }
        for pair in ["<CREDENTIAL:slack>:x", "a:b<CREDENTIAL:slack>", "<a>:<CREDENTIAL:slack>"] {
            assert_eq!(read(Style::BasicPassword, &basic_value(pair)), None, "{pair}");
        }
    }

    #[test]
    fn names_have_63_characters_at_most() {
        assert!(Name::new(&"a".repeat(63)).is_some());
        for text in ["", &"a".repeat(64), "A", "_a", "a b", "é"] {
            assert_eq!(Name::new(text), None, "{text:?}");
        }
    }
}
