//! SPIFFE IDs (SPIFFE-ID, 2) and the patterns by which a configuration names many of them.
//!
//! Invariant: a [`SpiffeId`] has one spelling. Whatever a URI parser could read in two ways
//! (letters of another case in the trust domain, percent-encoding, a query, a fragment, a
//! port, user information, empty or dot segments) is none.

/// Most bytes of an ID (SPIFFE-ID, 2.3).
pub const LENGTH: usize = 2048;
/// Most bytes of a trust domain (SPIFFE-ID, 2.1).
const DOMAIN: usize = 255;
const SCHEME: &str = "spiffe://";

/// The ID of a workload: a trust domain and a path of at least one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpiffeId {
    text: String,
    domain: String,
    segments: Vec<String>,
}

impl SpiffeId {
    /// Reads one; `None` for anything that is not exactly one.
    pub fn parse(text: &str) -> Option<Self> {
        let (domain, path) = split(text)?;
        let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        let good = segments.iter().all(|segment| is_segment(segment));
        good.then(|| Self { text: text.to_owned(), domain: domain.to_owned(), segments })
    }

    /// The whole ID.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.domain
    }
}

/// Whether a URI says that it is a SPIFFE ID, well formed or not (RFC 3986, 3.1: schemes
/// have no case).
pub fn claims_to_be(uri: &str) -> bool {
    uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"))
}

/// The name of a trust domain (SPIFFE-ID, 2.1).
pub fn is_trust_domain(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    (1..=DOMAIN).contains(&text.len()) && text.bytes().all(letter)
}

/// SPIFFE-ID, 2.2.
fn is_segment(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(letter)
}

fn split(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix(SCHEME).filter(|_| text.len() <= LENGTH)?;
    rest.split_once('/').filter(|(domain, _)| is_trust_domain(domain))
}

/// An ID in which `*` stands for one segment, and `**` at the end for one or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    domain: String,
    /// `None` for any one.
    segments: Vec<Option<String>>,
    /// More may follow, at least one.
    open: bool,
}

impl Pattern {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let expected = "expected a SPIFFE ID, in which * may be a segment and ** the last one";
        let (domain, path) = split(text).ok_or(expected)?;
        let (path, open) = match path.strip_suffix("/**") {
            Some(path) => (Some(path), true),
            None if path == "**" => (None, true),
            None => (Some(path), false),
        };
        let segments = path.into_iter().flat_map(|path| path.split('/'));
        let segment = |segment: &str| match segment {
            "*" => Ok(None),
            exact if is_segment(exact) => Ok(Some(exact.to_owned())),
            _ => Err(expected),
        };
        let segments = segments.map(segment).collect::<Result<_, _>>()?;
        Ok(Self { domain: domain.to_owned(), segments, open })
    }

    /// The trust domain of the IDs that it is for.
    pub fn trust_domain(&self) -> &str {
        &self.domain
    }

    /// Whether it is for this ID.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        let (fixed, given) = (self.segments.len(), id.segments.len());
        let length = if self.open { given > fixed } else { given == fixed };
        let same =
            |(own, given): (&Option<String>, &String)| own.as_ref().is_none_or(|own| own == given);
        self.domain == id.domain && length && self.segments.iter().zip(&id.segments).all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let long = |bytes: usize| format!("spiffe://a/{}", "b".repeat(bytes - 11));
        let domain = |bytes: usize| format!("spiffe://{}/b", "a".repeat(bytes));
        for good in
            ["spiffe://prod.test/a", "spiffe://a_b-1/A.b-c_9/.../d", &long(2048), &domain(255)]
        {
            assert_eq!(SpiffeId::parse(good).map(|id| id.text).as_deref(), Some(good));
        }
        for bad in [
            "",
            "prod.test/a",
            "https://prod.test/a",
            "spiffe:prod.test/a",
            "spiffe:/prod.test/a",
            "SPIFFE://prod.test/a",
            "Spiffe://prod.test/a",
            "spiffe://Prod.test/a",
            "spiffe:///a",
            "spiffe://prod.test",
            "spiffe://prod.test/",
            "spiffe://prod.test//a",
            "spiffe://prod.test/a/",
            "spiffe://prod.test/a//b",
            "spiffe://prod.test/./a",
            "spiffe://prod.test/a/..",
            "spiffe://prod.test/a%2fb",
            "spiffe://prod%2etest/a",
            "spiffe://prod.test/a?b",
            "spiffe://prod.test/a#b",
            "spiffe://prod.test:443/a",
            "spiffe://user@prod.test/a",
            "spiffe://[::1]/a",
            "spiffe://prod.test/a b",
            "spiffe://prod.test/a\\b",
            "spiffe://prod.test/\u{e9}",
            "spiffe://pr\u{f6}d.test/a",
            "spiffe://prod.test/a\0",
            " spiffe://prod.test/a",
            "spiffe://prod.test/a\n",
            "spiffe://prod.test/*",
            &long(2049),
            &domain(256),
        ] {
            assert_eq!(SpiffeId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_uri_says_so_in_any_case() {
        for uri in ["spiffe://a/b", "SPIFFE:a", "Spiffe://"] {
            assert!(claims_to_be(uri), "{uri}");
        }
        for uri in ["", "https://spiffe://a", "spiffe", "spiff\u{e9}:"] {
            assert!(!claims_to_be(uri), "{uri}");
        }
    }

    #[test]
    fn a_pattern_is_compared_by_whole_segments() {
        let matches = |pattern: &str, id: &str| {
            Pattern::parse(pattern).unwrap().matches(&SpiffeId::parse(id).unwrap())
        };
        for (pattern, id) in [
            ("spiffe://a/b/c", "spiffe://a/b/c"),
            ("spiffe://a/b/*", "spiffe://a/b/c"),
            ("spiffe://a/*/c", "spiffe://a/b/c"),
            ("spiffe://a/b/**", "spiffe://a/b/c"),
            ("spiffe://a/b/**", "spiffe://a/b/c/d"),
            ("spiffe://a/**", "spiffe://a/b"),
            ("spiffe://a/*/c/**", "spiffe://a/b/c/d"),
        ] {
            assert!(matches(pattern, id), "{pattern} {id}");
        }
        for (pattern, id) in [
            ("spiffe://a/b/c", "spiffe://a/b/C"),
            ("spiffe://a/b/c", "spiffe://a/b"),
            ("spiffe://a/b/c", "spiffe://a/b/c/d"),
            ("spiffe://a/b/c", "spiffe://b/b/c"),
            ("spiffe://a/b/*", "spiffe://a/b"),
            ("spiffe://a/b/*", "spiffe://a/b/c/d"),
            ("spiffe://a/b/**", "spiffe://a/b"),
            ("spiffe://a/b/**", "spiffe://a/bc/d"),
        ] {
            assert!(!matches(pattern, id), "{pattern} {id}");
        }
    }

    #[test]
    fn a_wildcard_is_a_whole_segment() {
        for bad in [
            "spiffe://*/a",
            "spiffe://a/b*",
            "spiffe://a/**/b",
            "spiffe://a/***",
            "spiffe://a",
            "spiffe://a/",
            "spiffe://a//**",
            "a/b",
            "spiffe://a/b/../c",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
