//! base64url as Go reads it: with all padding or none, over line breaks, and with whatever
//! stands in the last bits.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

const fn engine(padding: DecodePaddingMode) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(padding);
    GeneralPurpose::new(&URL_SAFE, config)
}

const PADDED: GeneralPurpose = engine(DecodePaddingMode::RequireCanonical);
const BARE: GeneralPurpose = engine(DecodePaddingMode::RequireNone);

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    // Go counts line breaks when it looks for what is missing at the end.
    if text.contains(['\r', '\n']) {
        return None;
    }
    let engine = if text.ends_with('=') { PADDED } else { BARE };
    engine.decode(text).ok()
}
