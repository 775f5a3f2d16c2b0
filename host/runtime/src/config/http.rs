//! The HTTP connection manager: timers, limits, how paths are read, filters, routes, logs.

use std::time::Duration;

use super::http2::Http2;
use super::log::AccessLogger;
use super::plugin::Filter;
use super::read::Table;
use super::route::RouteTable;

/// Timers of a connection and of a stream; `None` never ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// A connection without a request.
    pub idle: Option<Duration>,
    /// A stream on which nothing moves.
    pub stream_idle: Option<Duration>,
    /// From the first byte of a request to its last.
    pub request: Option<Duration>,
    /// From the first byte of a request to the end of its fields.
    pub request_headers: Option<Duration>,
    /// A whole stream.
    pub stream: Option<Duration>,
}

/// What of a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Field lines of a request at most.
    pub max_fields: usize,
    /// Size of the request's fields at most.
    pub max_field_bytes: usize,
    /// Whether a field name with `_` refuses the request.
    pub reject_underscores: bool,
}

/// What is done with `%2f` and `%5c` in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They stay.
    Keep,
    /// The request is refused with 400.
    Reject,
}

/// Which version of HTTP a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// What TLS has agreed on (ALPN), else what the first bytes say.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// One HTTP connection manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Prefix of its metrics.
    pub stat_prefix: String,
    /// Whether `x-forwarded-for` and the like are set from the connection.
    pub use_remote_address: bool,
    /// Whether `x-forwarded-client-cert` stays on connections of mutual TLS.
    pub forwards_certificates: bool,
    /// Which version its callers speak.
    pub codec: Codec,
    /// Limits of HTTP/2.
    pub http2: Http2,
    /// Whether WebSocket passes (`upgrade_configs`).
    pub websocket: bool,
    /// Timers.
    pub timers: Timers,
    /// Limits.
    pub limits: HttpLimits,
    /// Whether dot segments are resolved (RFC 3986, 6).
    pub normalize_path: bool,
    /// Whether `//` becomes `/`.
    pub merge_slashes: bool,
    /// `%2f` and `%5c`.
    pub escaped_slashes: EscapedSlashes,
    /// In the order of the file.
    pub access_log: Vec<AccessLogger>,
    /// In the order of the file, without the router.
    pub filters: Vec<Filter>,
    /// Where requests go.
    pub routes: RouteTable,
}

const PACKAGE: &str = "envoy.extensions.filters.network.http_connection_manager.v3";

impl Http {
    /// One that only has these, for requests that no listener has taken.
    pub fn bare(timers: Timers, limits: HttpLimits) -> Self {
        Self {
            stat_prefix: String::new(),
            use_remote_address: false,
            forwards_certificates: false,
            codec: Codec::Http1,
            http2: Http2::default(),
            websocket: false,
            timers,
            limits,
            normalize_path: false,
            merge_slashes: false,
            escaped_slashes: EscapedSlashes::Keep,
            access_log: Vec::new(),
            filters: Vec::new(),
            routes: RouteTable::default(),
        }
    }

    /// Reads the typed config of the filter.
    pub(super) fn read(mut table: Table<'_, '_>) -> Option<Self> {
        table.typed(&format!("{PACKAGE}.HttpConnectionManager"))?;
        let stat_prefix = table.need_text("stat_prefix");
        let use_remote_address = table.flag("use_remote_address");
        let details = [("SANITIZE", false), ("FORWARD_ONLY", true)];
        let forwards_certificates = table.word("forward_client_cert_details", &details);
        let (timers, limits) = read_bounds(&mut table);
        let (codec, http2) = read_protocols(&mut table);
        let websocket = read_upgrades(&mut table);
        let normalize_path = table.flag("normalize_path");
        let merge_slashes = table.flag("merge_slashes");
        let slashes = [
            ("KEEP_UNCHANGED", EscapedSlashes::Keep),
            ("IMPLEMENTATION_SPECIFIC_DEFAULT", EscapedSlashes::Keep),
            ("REJECT_REQUEST", EscapedSlashes::Reject),
        ];
        let escaped_slashes = table.word("path_with_escaped_slashes_action", &slashes);
        let escaped_slashes = escaped_slashes.unwrap_or(EscapedSlashes::Keep);
        let access_log = table.tables("access_log");
        let access_log = access_log.into_iter().filter_map(AccessLogger::read).collect();
        let filters = table.list("http_filters");
        let router = "envoy.extensions.filters.http.router.v3.Router";
        let filters = Filter::chain(&filters, router, table.report);
        table.need("http_filters");
        let routes = table.need_table("route_config").and_then(RouteTable::read);
        table.done();
        Some(Self {
            stat_prefix: stat_prefix?,
            use_remote_address,
            forwards_certificates: forwards_certificates.unwrap_or_default(),
            codec,
            http2,
            websocket,
            timers,
            limits,
            normalize_path,
            merge_slashes,
            escaped_slashes,
            access_log,
            filters,
            routes: routes?,
        })
    }
}

/// Timers and limits, with Envoy's defaults. A span of zero turns a timer off.
fn read_bounds(table: &mut Table<'_, '_>) -> (Timers, HttpLimits) {
    let on = |span: Option<Duration>| span.filter(|span| !span.is_zero());
    let stream_idle = table.duration("stream_idle_timeout").unwrap_or(Duration::from_secs(300));
    let mut timers = Timers {
        idle: Some(Duration::from_secs(3600)),
        stream_idle: on(Some(stream_idle)),
        request: on(table.duration("request_timeout")),
        request_headers: on(table.duration("request_headers_timeout")),
        stream: None,
    };
    let kilobytes = table.number::<usize>("max_request_headers_kb").unwrap_or(60);
    let mut limits = HttpLimits {
        max_fields: 100,
        max_field_bytes: kilobytes.saturating_mul(1024),
        reject_underscores: false,
    };
    if let Some(mut common) = table.table("common_http_protocol_options") {
        if let Some(idle) = common.duration("idle_timeout") {
            timers.idle = on(Some(idle));
        }
        timers.stream = on(common.duration("max_stream_duration"));
        limits.max_fields = common.number("max_headers_count").unwrap_or(limits.max_fields);
        let actions = [("ALLOW", false), ("REJECT_REQUEST", true)];
        let action = common.word("headers_with_underscores_action", &actions);
        limits.reject_underscores = action.unwrap_or(false);
        common.done();
    }
    (timers, limits)
}

/// Versions of HTTP; HTTP/1.1 is held to strict framing, and a file may say so.
fn read_protocols(table: &mut Table<'_, '_>) -> (Codec, Http2) {
    let codecs = [("AUTO", Codec::Auto), ("HTTP1", Codec::Http1), ("HTTP2", Codec::Http2)];
    let codec = table.word("codec_type", &codecs).unwrap_or(Codec::Auto);
    if let Some(mut http1) = table.table("http_protocol_options") {
        http1.only("accept_http_10", false);
        http1.only("allow_chunked_length", false);
        http1.only("enable_trailers", true);
        http1.done();
    }
    table.only("stream_error_on_invalid_http_message", false);
    let http2 = table.table("http2_protocol_options").map(Http2::read).unwrap_or_default();
    (codec, http2)
}

/// Of all protocols that HTTP/1.1 can be left for, WebSocket is passed on (RFC 6455).
fn read_upgrades(table: &mut Table<'_, '_>) -> bool {
    let configs = table.tables("upgrade_configs");
    let some = !configs.is_empty();
    for mut config in configs {
        config.need("upgrade_type");
        config.word("upgrade_type", &[("websocket", ())]);
        config.only("enabled", true);
        config.done();
    }
    some
}
