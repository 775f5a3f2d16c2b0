//! What HTTP/2 is told of this gateway, towards callers and towards upstreams.
//!
//! Invariant: every number is one that RFC 9113 allows on the wire.

use std::ops::RangeInclusive;

use super::read::Table;

/// Limits of one HTTP/2 connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2 {
    /// Streams at once (`max_concurrent_streams`).
    pub streams: u32,
    /// Bytes of content of one stream that may be on their way (`initial_stream_window_size`).
    pub stream_window: u32,
    /// The same for all streams together (`initial_connection_window_size`).
    pub connection_window: u32,
}

impl Default for Http2 {
    /// Envoy's defaults.
    fn default() -> Self {
        Self { streams: 1024, stream_window: 16 << 20, connection_window: 24 << 20 }
    }
}

/// RFC 9113, 6.5.2: windows are of 31 bits, and Envoy takes none below the initial one.
const WINDOW: RangeInclusive<u32> = 65_535..=0x7fff_ffff;
const STREAMS: RangeInclusive<u32> = 1..=0x7fff_ffff;

impl Http2 {
    /// Reads `http2_protocol_options`.
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let usual = Self::default();
        let mut bounded = |key: &'static str, range: RangeInclusive<u32>| {
            let at = table.get(key)?;
            let number = at.number().and_then(|number| u32::try_from(number).ok());
            let number = number.filter(|number| range.contains(number));
            let what = format!("a whole number from {} to {}", range.start(), range.end());
            table.expected(&at, number, &what)
        };
        let streams = bounded("max_concurrent_streams", STREAMS);
        let stream_window = bounded("initial_stream_window_size", WINDOW);
        let connection_window = bounded("initial_connection_window_size", WINDOW);
        // Tunnels through `CONNECT` are not built.
        table.only("allow_connect", false);
        table.done();
        Self {
            streams: streams.unwrap_or(usual.streams),
            stream_window: stream_window.unwrap_or(usual.stream_window),
            connection_window: connection_window.unwrap_or(usual.connection_window),
        }
    }
}
