//! Nonces that the gateway hands out, so that a proof shows that it was made just now and not
//! beforehand (RFC 9449, section 8): a moment and its MAC, nothing that is remembered.
//!
//! ```text
//! nonce = base64url(u32 seconds || HMAC-SHA-256(shared key, "postern nonce/1\0" || seconds)[..16])
//! ```
//!
//! Invariant: only who holds the shared key makes one, every worker takes those of the others,
//! and none is good for longer than [`LIFE`]. That a proof is good once is the table's to keep.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use subtle::ConstantTimeEq;

use crate::mac::MacKeys;
use crate::time::UnixMillis;

/// How long a nonce is good.
pub const LIFE: Duration = Duration::from_secs(60);
/// Its characters.
pub const LENGTH: usize = 27;
/// How far the clock of another gateway with the same key may be ahead.
const AHEAD: u64 = 10;
const LABEL: &[u8] = b"postern nonce/1\0";
const MAC: usize = 16;

/// A nonce as of now.
pub(super) fn issue(keys: &MacKeys, now: UnixMillis) -> Option<String> {
    let seconds = u32::try_from(now.seconds()).ok()?.to_be_bytes();
    let mac = keys.sign(LABEL, &[&seconds]);
    let bytes = [seconds.as_slice(), mac.get(..MAC)?].concat();
    Some(B64.encode(bytes))
}

/// Whether this is a nonce of ours that is still good.
pub(super) fn is_good(keys: &MacKeys, nonce: &str, now: UnixMillis) -> bool {
    let bytes =
        if nonce.len() == LENGTH { B64.decode(nonce).unwrap_or_default() } else { Vec::new() };
    let Some((seconds, mac)) = bytes.split_first_chunk::<4>() else { return false };
    let at = u64::from(u32::from_be_bytes(*seconds));
    let fresh = at <= now.seconds().saturating_add(AHEAD)
        && now.seconds().saturating_sub(at) < LIFE.as_secs();
    let ours = |of: [u8; 32]| of.get(..MAC).is_some_and(|of| bool::from(of.ct_eq(mac)));
    fresh && keys.each(LABEL, &[seconds.as_slice()]).into_iter().any(ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_500);

    fn keys(new: u8, old: Option<u8>) -> MacKeys {
        let key = |byte| Secret::new(vec![byte; 32]);
        MacKeys::new(key(new), old.map(key)).unwrap()
    }

    fn later(seconds: u64) -> UnixMillis {
        NOW.after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_nonce_is_good_for_a_minute_at_whoever_holds_the_key() {
        let nonce = issue(&keys(1, None), NOW).unwrap();
        assert_eq!(nonce.len(), LENGTH);
        for (keys, now, good) in [
            (keys(1, None), NOW, true),
            (keys(1, None), later(59), true),
            (keys(1, None), later(60), false),
            (keys(2, Some(1)), NOW, true),
            (keys(2, None), NOW, false),
            (keys(1, None), UnixMillis(NOW.0 - 10_000), true),
            (keys(1, None), UnixMillis(NOW.0 - 11_000), false),
        ] {
            assert_eq!(is_good(&keys, &nonce, now), good, "{now:?}");
        }
    }

    #[test]
    fn nothing_else_is_one() {
        let keys = keys(1, None);
        let nonce = issue(&keys, NOW).unwrap();
        for at in 0..nonce.len() {
            let mut bytes = nonce.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(!is_good(&keys, &String::from_utf8(bytes).unwrap(), NOW), "{at}");
        }
        let longer = format!("{nonce}A");
        for other in ["", "A", &nonce[1..], &longer, "é", &"=".repeat(27)] {
            assert!(!is_good(&keys, other, NOW), "{other}");
        }
    }
}
