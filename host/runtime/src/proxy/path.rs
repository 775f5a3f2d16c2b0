//! One reading of a path for everybody, the one of Envoy 1.40.
//!
//! Owns the order: escaped slashes, dot segments and escapes (RFC 3986, 6.2.2), double
//! slashes. The rows of the tests are answers of a real Envoy. Invariant: the query is
//! never touched, and reading the result again gives the result, but for a dot segment that
//! was escaped and has parameters: `/%2e%2e;x` becomes `/..;x`, as in Envoy, and the gate
//! refuses that.

use crate::config::{EscapedSlashes, Http};

/// The path is refused with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path is not one that every part would read alike")]
pub struct Ambiguous;

/// How a connection manager reads paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// `normalize_path`.
    pub normalize: bool,
    /// `merge_slashes`.
    pub merge: bool,
    /// `path_with_escaped_slashes_action`.
    pub slashes: EscapedSlashes,
}

impl From<&Http> for Reading {
    fn from(http: &Http) -> Self {
        let Http { normalize_path, merge_slashes, escaped_slashes, .. } = http;
        Self { normalize: *normalize_path, merge: *merge_slashes, slashes: *escaped_slashes }
    }
}

impl Reading {
    /// The path with query as everybody behind reads it.
    pub fn read(self, target: &[u8]) -> Result<Vec<u8>, Ambiguous> {
        let readable = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#';
        if target.first() != Some(&b'/') || !target.iter().all(readable) {
            return Err(Ambiguous);
        }
        let end = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
        let (path, query) = target.split_at(end);
        if self.slashes == EscapedSlashes::Reject && (holds(path, b"%2f") || holds(path, b"%5c")) {
            return Err(Ambiguous);
        }
        let mut path = path.to_vec();
        if self.normalize {
            path = normalized(&path)?;
        }
        if self.merge {
            path.dedup_by(|this, before| (*this, *before) == (b'/', b'/'));
        }
        path.extend_from_slice(query);
        Ok(path)
    }
}

fn holds(path: &[u8], escape: &[u8]) -> bool {
    path.windows(escape.len()).any(|window| window.eq_ignore_ascii_case(escape))
}

fn normalized(path: &[u8]) -> Result<Vec<u8>, Ambiguous> {
    if holds(path, b"%00") {
        return Err(Ambiguous);
    }
    let segments: Vec<Vec<u8>> =
        path.split(|byte| *byte == b'/' || *byte == b'\\').skip(1).map(segment).collect();
    let mut kept: Vec<&[u8]> = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        match segment.as_slice() {
            b"." | b".." => {
                if segment.len() == 2 {
                    kept.pop();
                }
                if last {
                    kept.push(b"");
                }
            }
            other => kept.push(other),
        }
    }
    Ok([b"/".as_slice(), &kept.join(&b'/')].concat())
}

/// One segment: a dot segment without its parameters, or its escapes as they should be.
fn segment(raw: &[u8]) -> Vec<u8> {
    let name = raw.split(|byte| *byte == b';').next().unwrap_or(raw);
    if matches!(name, b"." | b"..") {
        return name.to_vec();
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    let mut broken = None;
    while let Some((first, after)) = rest.split_first() {
        let plain = (*first == b'%').then(|| unreserved(after)).flatten();
        if *first == b'%' && !after.get(..2).is_some_and(is_hex) {
            broken = Some(out.len());
        }
        match (plain, first) {
            (Some(byte), _) => {
                out.push(byte);
                keep_broken(&mut out, broken, after.get(2));
            }
            (None, b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'^') => {
                out.extend(format!("%{first:02X}").bytes());
            }
            (None, byte) => out.push(*byte),
        }
        rest = if plain.is_some() { &after[2..] } else { after };
    }
    out
}

/// A `%` without its two digits gets none from what was unescaped behind it: `%2%66` is not
/// `%2f`, which somebody has been promised not to see. It becomes `%25`.
fn keep_broken(out: &mut Vec<u8>, broken: Option<usize>, next: Option<&u8>) {
    let Some(behind) = broken.and_then(|at| at.checked_add(1)) else { return };
    let digits: Vec<u8> =
        out.get(behind..).unwrap_or_default().iter().chain(next).copied().collect();
    let close = out.len() <= behind + 2;
    if close && digits.get(..2).is_some_and(is_hex) {
        out.splice(behind..behind, *b"25");
    }
}

fn is_hex(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
}

/// The character that an escape stands for, if it never needs one (RFC 3986, 2.3).
fn unreserved(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits.get(..2)?).ok()?;
    let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = u8::from_str_radix(text, 16).ok().filter(|_| hex)?;
    let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    plain.then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Reading =
        Reading { normalize: true, merge: true, slashes: EscapedSlashes::Reject };

    /// What Envoy 1.40 made of it; empty is a 400.
    const ROWS: &[(&str, &str)] = &[
        ("/a/../b", "/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/%41%7e%5F", "/A~_"),
        ("//a///b", "/a/b"),
        ("/a/./", "/a/"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/../..", "/"),
        ("/a\\b", "/a/b"),
        ("/a%2fb", ""),
        ("/a%5Cb", ""),
        ("/a?b//c/../%2f", "/a?b//c/../%2f"),
        ("/\"<>`{}|^[]", "/%22%3C%3E%60%7B%7D%7C%5E[]"),
        ("/\u{e9}", ""),
        ("/a#b", ""),
        ("/%zz", "/%zz"),
        ("/%", "/%"),
        ("/%3f%23%20", "/%3f%23%20"),
        ("/%2E", "/"),
        ("/a//../b", "/a/b"),
        ("/a/.//../b", "/a/b"),
        ("/%00", ""),
        ("/a b", ""),
        ("*", ""),
        ("a/b", ""),
        ("?x", ""),
        ("/%c3%a9", "/%c3%a9"),
        ("/.%2f", ""),
        ("/...", "/..."),
        ("/a;b=1/../c", "/c"),
        ("/a/b/..;/c", "/a/c"),
        ("/a/.;/b", "/a/b"),
        ("/a/..;x=1/c", "/c"),
        ("/a/..%3b/c", "/a/..%3b/c"),
        ("/a/.;x", "/a/"),
        ("/a/..;", "/"),
        ("/a/b/..;", "/a/"),
        ("/a/b/%2e.;q/c", "/a/b/..;q/c"),
        ("/a/...;/c", "/a/...;/c"),
        ("/a;/b", "/a;/b"),
        ("/%7F", "/%7F"),
        ("/x%25%2e%2e", "/x%25.."),
        ("/a/;/b", "/a/;/b"),
        ("/\\../x", "/x"),
        ("/a/.;/../b", "/b"),
        ("/a?", "/a?"),
        ("/a%2%66b", "/a%252fb"),
        ("/a%5%63b", "/a%255cb"),
        ("/a/%2%65%2%65/b", "/a/%252e%252e/b"),
        ("/%7%41", "/%257A"),
        ("/%%37%31", "/%2571"),
        ("/%%371", "/%2571"),
        ("/%%37g", "/%7g"),
        ("/%%37", "/%7"),
        ("/%4%31x", "/%2541x"),
        ("/%a%zz%41", "/%a%zzA"),
        ("/%2%2%66", "/%2%252f"),
    ];

    #[test]
    fn paths_are_read_as_envoy_reads_them() {
        for (target, want) in ROWS {
            let read = STRICT.read(target.as_bytes());
            let read = read.map(|path| String::from_utf8_lossy(&path).into_owned());
            assert_eq!(read.as_deref().unwrap_or_default(), *want, "{target}");
        }
    }

    #[test]
    fn without_switches_a_path_stays_as_it_is() {
        let plain = Reading { normalize: false, merge: false, slashes: EscapedSlashes::Keep };
        for target in ["/a/../b", "//a", "/a%2fb", "/%00"] {
            assert_eq!(plain.read(target.as_bytes()).as_deref(), Ok(target.as_bytes()));
        }
    }
}
