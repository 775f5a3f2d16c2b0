//! The path of a request against the paths of a token (SPEC.md, 4).
//!
//! Invariant: a path that two servers could read differently lies within none.

/// Whether `path` (without query) lies within `prefix`, a path of a token.
pub fn lies_within(path: &str, prefix: &str) -> bool {
    is_plain(path) && (prefix == "/" || starts_with(path, prefix))
}

/// Whether the segments of `prefix` are the first of `path`.
pub fn starts_with(path: &str, prefix: &str) -> bool {
    prefix == "/"
        || path.strip_prefix(prefix).is_some_and(|rest| matches!(rest.as_bytes(), [] | [b'/', ..]))
}

fn is_plain(path: &str) -> bool {
    let Some(inner) = path.strip_prefix('/') else { return false };
    let (all_but_last, last) = inner.rsplit_once('/').unwrap_or(("", inner));
    let whole = inner == last || all_but_last.split('/').all(|segment| !segment.is_empty());
    let visible = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\?#".contains(&byte));
    whole && visible && inner.split('/').all(is_harmless)
}

/// Neither a dot segment in any spelling nor one that hides a separator.
fn is_harmless(segment: &str) -> bool {
    let lower = segment.to_ascii_lowercase();
    let hidden = ["%2f", "%5c", "%00", "%25"].iter().any(|code| lower.contains(code));
    let decoded = lower.replace("%2e", ".").replace("%3b", ";");
    let name = decoded.split(';').next().unwrap_or_default();
    !hidden && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_segments_are_compared() {
        let rows = [
            ("/", "/", true),
            ("/a/b", "/", true),
            ("/a", "/a", true),
            ("/a/", "/a", true),
            ("/a/b/c", "/a/b", true),
            ("/a/b%20c", "/a", true),
            ("/ab", "/a", false),
            ("/", "/a", false),
            ("/A", "/a", false),
            ("/a;x/b", "/a", false),
            ("a", "/", false),
            ("", "/", false),
        ];
        for (path, prefix, within) in rows {
            assert_eq!(lies_within(path, prefix), within, "{path} in {prefix}");
        }
    }

    #[test]
    fn a_path_with_two_readings_lies_within_none() {
        let rows = [
            "//a",
            "/a//b",
            "/a/../b",
            "/a/..",
            "/./a",
            "/a/%2e%2e/b",
            "/a/%2E./b",
            "/a/..;x/b",
            "/a/..%3bx/b",
            "/a/%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a%00",
            "/a/%252e%252e/b",
            "/a?b",
            "/a#b",
            "/a b",
            "/é",
        ];
        for path in rows {
            assert!(!lies_within(path, "/"), "{path}");
        }
    }
}
