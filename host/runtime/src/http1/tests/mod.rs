//! What the tests share; the answers of Envoy are in `rows`, the properties in `chunking`.

mod chunking;
mod rows;

use bytes::BytesMut;

use super::{Decoder, Limits, Malformed, Piece};
use crate::view::Pairs;

/// Those of `envoy/envoy.yaml`.
pub(super) const LIMITS: Limits = Limits { max_fields: 100, max_head: 32 * 1024 };

pub(super) fn fields(rows: &[(&str, &str)]) -> Pairs {
    rows.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// Data and trailers of content after which the peer closes.
pub(super) fn drain(
    decoder: &mut Decoder,
    buffer: &mut BytesMut,
) -> Result<(Vec<u8>, Pairs), Malformed> {
    let (mut content, mut trailers) = (Vec::new(), Pairs::new());
    while let Some(piece) = decoder.decode(buffer, true)? {
        match piece {
            Piece::Data(data) => content.extend_from_slice(&data),
            Piece::Trailers(fields) => trailers = fields,
            Piece::End => {}
        }
    }
    Ok((content, trailers))
}
