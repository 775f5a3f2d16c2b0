//! Request paths and what bindings and scope rules say about them.
//!
//! A path is normalised once for matching; the bytes that are forwarded stay the same.
//!
//! Invariant: a [`RequestPath`] means the same to every parser we know of: no dot
//! segments, no empty segments, no encoded separator, no backslash, no control byte. A
//! path that is not so has no `RequestPath`, hence matches nothing.

mod table;

pub use table::PathTable;

/// The path of a request, without its query, ready to be matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath {
    segments: Vec<Vec<u8>>,
}

impl RequestPath {
    /// Reads `:path` as forwarded (RFC 9110 7.1, origin form). The query is not part of
    /// it; a fragment is refused.
    pub fn parse(target: &[u8]) -> Option<Self> {
        if !target.iter().all(u8::is_ascii_graphic) || target.contains(&b'#') {
            return None;
        }
        let path = target.split(|byte| *byte == b'?').next()?;
        let inner = path.strip_prefix(b"/")?;
        let mut segments: Vec<Vec<u8>> = Vec::new();
        for segment in inner.split(|byte| *byte == b'/') {
            segments.push(normal_segment(segment)?);
        }
        let (_, all_but_last) = segments.split_last()?;
        // A trailing slash is a last segment of no bytes; one anywhere else is `//`.
        (!all_but_last.iter().any(Vec::is_empty)).then_some(Self { segments })
    }

    /// One of its segments, normalised, from 0.
    pub fn segment(&self, place: usize) -> Option<&[u8]> {
        self.segments.get(place).map(Vec::as_slice)
    }

    /// As servers read it that drop what follows a `;` in a segment (RFC 3986 3.3), be it
    /// encoded or not; `None` when they read the same.
    pub fn without_parameters(&self) -> Option<Self> {
        let segments: Vec<_> = self.segments.iter().map(|segment| bare(segment)).collect();
        (segments != self.segments).then_some(Self { segments })
    }
}

fn bare(segment: &[u8]) -> Vec<u8> {
    let parameters = |at: &usize| {
        segment.get(*at..).is_some_and(|rest| rest.starts_with(b";") || rest.starts_with(b"%3B"))
    };
    let end = (0..segment.len()).find(parameters).unwrap_or(segment.len());
    segment.get(..end).unwrap_or_default().to_vec()
}

/// Decodes what never needs encoding (RFC 3986 6.2.2.2) and writes other encodings in
/// upper case. `None` for what parsers disagree about.
fn normal_segment(segment: &[u8]) -> Option<Vec<u8>> {
    let mut normal = Vec::with_capacity(segment.len());
    let mut bytes = segment.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => return None,
            b'%' => {
                let decoded = hex_pair(bytes.next()?, bytes.next()?)?;
                if decoded.is_ascii_alphanumeric() || b"-._~".contains(&decoded) {
                    normal.push(decoded);
                } else if decoded.is_ascii_control() || b"/\\".contains(&decoded) {
                    return None;
                } else {
                    normal.extend_from_slice(format!("%{decoded:02X}").as_bytes());
                }
            }
            other => normal.push(other),
        }
    }
    // `..;x=1` is a dot segment to servers that strip parameters.
    let name = bare(&normal);
    let has_parameters = name.len() < normal.len();
    let ambiguous = name == b"." || name == b".." || (name.is_empty() && has_parameters);
    (!ambiguous).then_some(normal)
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    digit(high)?.checked_mul(16)?.checked_add(digit(low)?)
}

/// Most segments of a pattern: tables of patterns are as deep.
const MOST_SEGMENTS: usize = 256;

/// A set of paths: exact, with `{name}` for one segment where allowed, or everything below
/// a prefix (`/**` at the end, which the prefix itself matches too).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<Segment>,
    below: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Exact(Vec<u8>),
    Any,
}

impl PathPattern {
    /// A binding's path: exact or a prefix.
    pub fn exact_or_prefix(text: &str) -> Result<Self, &'static str> {
        Self::read(text, false)
    }

    /// A scope rule's path template: `{name}` stands for exactly one segment.
    pub fn template(text: &str) -> Result<Self, &'static str> {
        Self::read(text, true)
    }

    fn read(text: &str, parameters: bool) -> Result<Self, &'static str> {
        let (path, below) = match text.strip_suffix("/**") {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        let segments = if path.is_empty() && below {
            Vec::new()
        } else {
            let parsed = RequestPath::parse(path.as_bytes());
            let fits = |path: &RequestPath| path.segments.len() <= MOST_SEGMENTS;
            let parsed = parsed.filter(|read| !path.contains(['?', '*']) && fits(read));
            let parsed = parsed.ok_or("expected a clean absolute path, exact or ending in /**")?;
            parsed
                .segments
                .into_iter()
                .map(|s| segment(s, parameters))
                .collect::<Option<_>>()
                .ok_or("expected {name} only as a whole segment of a template")?
        };
        Ok(Self { text: text.to_owned(), segments, below })
    }

    /// Whether `path` is in the set.
    pub fn matches(&self, path: &RequestPath) -> bool {
        let fits = if self.below {
            path.segments.len() >= self.segments.len()
        } else {
            path.segments.len() == self.segments.len()
        };
        fits && self.segments.iter().zip(&path.segments).all(|(want, have)| match want {
            Segment::Exact(name) => name == have,
            Segment::Any => !have.is_empty(),
        })
    }

    /// The place of the segment that is `{name}`; `None` unless there is exactly one.
    pub fn parameter(&self, name: &str) -> Option<usize> {
        let named = |segment: &str| {
            segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) == Some(name)
        };
        let segments = self.text.split('/').skip(1).enumerate();
        let mut places = segments.filter(|(_, text)| named(text)).map(|(place, _)| place);
        places.next().filter(|_| places.next().is_none())
    }

    /// Whether some path is in both sets, to servers that drop parameters too.
    pub fn meets(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.segments.len(), other.segments.len());
        let fits = match (self.below, other.below) {
            (true, true) => true,
            (true, false) => theirs >= mine,
            (false, true) => mine >= theirs,
            (false, false) => mine == theirs,
        };
        fits && self.segments.iter().zip(&other.segments).all(|pair| match pair {
            (Segment::Exact(one), Segment::Exact(another)) => bare(one) == bare(another),
            (Segment::Any, _) | (_, Segment::Any) => true,
        })
    }

    /// As written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn segment(bytes: Vec<u8>, parameters: bool) -> Option<Segment> {
    let is_parameter = bytes.len() > 2 && bytes.starts_with(b"{") && bytes.ends_with(b"}");
    let braces = bytes.iter().filter(|byte| b"{}".contains(byte)).count();
    match (braces, is_parameter && parameters) {
        (0, _) => Some(Segment::Exact(bytes)),
        (2, true) => Some(Segment::Any),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        let pattern = PathPattern::template(pattern).unwrap();
        RequestPath::parse(path.as_bytes()).is_some_and(|path| pattern.matches(&path))
    }

    #[test]
    fn patterns_match_by_segment_on_the_normalised_path() {
        for (pattern, path, expected) in [
            ("/api/chat.postMessage", "/api/chat.postMessage", true),
            ("/api/chat.postMessage", "/api/chat.postMessage?x=/y", true),
            ("/api/chat.postMessage", "/api/chat%2epostMessage", true),
            ("/api/chat.postMessage", "/api/chat.postMessage/", false),
            ("/api/chat.postMessage", "/API/chat.postMessage", false),
            ("/api/**", "/api", true),
            ("/api/**", "/api/", true),
            ("/api/**", "/api/a/b", true),
            ("/api/**", "/apis", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/docs/{id}", "/docs/7", true),
            ("/docs/{id}", "/docs/", false),
            ("/docs/{id}", "/docs/7/x", false),
            ("/docs/{id}/**", "/docs/7/x/y", true),
            ("/", "/", true),
            ("/", "/a", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_parameter_has_one_place() {
        let place = |pattern, name| PathPattern::template(pattern).unwrap().parameter(name);
        assert_eq!(place("/docs/{id}/parts/{part}/**", "id"), Some(1));
        assert_eq!(place("/docs/{id}/parts/{part}/**", "part"), Some(3));
        assert_eq!(place("/docs/{id}/{id}", "id"), None);
        assert_eq!(place("/docs/id", "id"), None);
    }

    #[test]
    fn patterns_meet_where_some_path_is_in_both() {
        for (one, another, expected) in [
            ("/a", "/a", true),
            ("/a", "/b", false),
            ("/a/b", "/a/**", true),
            ("/a", "/a/**", true),
            ("/b", "/a/**", false),
            ("/a/**", "/a/b/**", true),
            ("/a/c/**", "/a/b/**", false),
            ("/**", "/a", true),
            ("/a", "/a/b/**", false),
            ("/a;v=1", "/a", true),
            ("/a/{id}", "/a/b", true),
            ("/a/{id}", "/b/{id}", false),
        ] {
            let pattern = |text| PathPattern::template(text).unwrap();
            assert_eq!(pattern(one).meets(&pattern(another)), expected, "{one} {another}");
            assert_eq!(pattern(another).meets(&pattern(one)), expected, "{another} {one}");
        }
    }

    #[test]
    fn paths_that_parsers_disagree_about_are_refused() {
        for path in [
            "",
            "*",
            "api",
            "//",
            "/a//b",
            "/./a",
            "/a/..",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d",
            "/a#b",
            "/a b",
            "/a\tb",
            "/%",
            "/%4",
            "/%zz",
            "/a/..;x=1/b",
            "/a/..%3bx=1/b",
            "/a/;x=1/b",
            "/é",
        ] {
            assert_eq!(RequestPath::parse(path.as_bytes()), None, "{path:?}");
        }
    }

    #[test]
    fn patterns_that_promise_more_than_they_keep_are_refused() {
        for pattern in ["", "api", "/a*", "/a/**/b", "/a/../b", "/a{b}", "/a?b", "**", "/{}"] {
            assert!(PathPattern::template(pattern).is_err(), "{pattern:?}");
        }
        assert!(PathPattern::exact_or_prefix("/docs/{id}").is_err());
    }
}
