//! Paths: whatever everybody behind is told, reading it again gives the same.

use postern_runtime::config::EscapedSlashes;
use postern_runtime::proxy::path::Reading;

/// Takes any bytes and may only return.
pub fn fuzz_path(bytes: &[u8]) {
    let query = |path: &[u8]| path.splitn(2, |byte| *byte == b'?').nth(1).map(<[u8]>::to_vec);
    for bits in 0..8 {
        let slashes = if bits & 4 == 0 { EscapedSlashes::Keep } else { EscapedSlashes::Reject };
        let reading = Reading { normalize: bits & 1 != 0, merge: bits & 2 != 0, slashes };
        let Ok(path) = reading.read(bytes) else { continue };
        // The one exception, which Envoy has too: `/%2e%2e;x` becomes `/..;x`.
        let dots = |part: &[u8]| part.starts_with(b".;") || part.starts_with(b"..;");
        let excepted = path.split(|byte| b"/\\?".contains(byte)).any(dots);
        assert!(excepted || reading.read(&path).as_ref() == Ok(&path), "{reading:?}");
        assert_eq!(query(&path), query(bytes), "the query was touched");
        let before: Vec<u8> = path.split(|byte| *byte == b'?').next().unwrap_or_default().to_vec();
        let climbs = before.split(|byte| *byte == b'/').any(|part| part == b"..");
        assert!(!reading.normalize || !climbs, "{}", path.escape_ascii());
        assert!(!reading.merge || !before.windows(2).any(|two| two == b"//"), "two slashes");
    }
}
