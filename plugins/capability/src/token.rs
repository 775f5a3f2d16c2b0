//! The text of a token and the blocks in it (SPEC.md, 1).
//!
//! Invariant: nothing is read of a token that is longer than a token may be.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;

use crate::cbor;
use crate::refusal::Refusal;

/// What every token starts with.
pub const PREFIX: &str = "pct1.";
/// Most characters.
pub const LENGTH: usize = 4096;
/// Most blocks.
pub const BLOCKS: usize = 8;

/// The bytes of each block, first to last.
pub fn blocks(token: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
    if token.len() > LENGTH {
        return Err(Refusal::TooLong);
    }
    let text = token.strip_prefix(PREFIX.as_bytes()).ok_or(Refusal::Text)?;
    let bytes = B64.decode(text).map_err(|_| Refusal::Text)?;
    let chain = cbor::decode(&bytes).ok_or(Refusal::Encoding)?;
    let items = chain.into_array().map_err(|_| Refusal::Structure)?;
    if !(1..=BLOCKS).contains(&items.len()) {
        return Err(Refusal::Blocks);
    }
    items.into_iter().map(|item| item.into_bytes().map_err(|_| Refusal::Structure)).collect()
}
