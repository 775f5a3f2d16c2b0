//! Clusters: where their hosts are, limits, optional TLS, upstream HTTP filters.

use std::time::Duration;

use postern_files::yaml::At;

use super::http2::Http2;
use super::listener::{Address, BUFFER};
use super::plugin::{Filter, FilterKind};
use super::read::{Report, Table};
use super::tls::{ClientTls, HTTP1, HTTP2};

/// How the hosts of a cluster are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discovery {
    /// They are IP addresses (`STATIC`).
    Static,
    /// They are names, and every address of each is a host (`STRICT_DNS`).
    StrictDns,
    /// It is one name, and what it is at the moment is the one host (`LOGICAL_DNS`).
    LogicalDns,
}

/// Which addresses of a name are wanted (`dns_lookup_family`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv6 if there are any, else IPv4.
    Auto,
    /// IPv4 if there are any, else IPv6.
    V4Preferred,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Where the hosts of a cluster are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// What the addresses are.
    pub discovery: Discovery,
    /// In the order of the file; requests take them in turn.
    pub addresses: Vec<Address>,
    /// Of names.
    pub family: Family,
    /// Time after which a name is looked up again.
    pub refresh: Duration,
}

/// Limits of one cluster, per process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Connections at once.
    pub connections: u64,
    /// Requests that wait for a connection.
    pub pending: u64,
    /// Requests at once.
    pub requests: u64,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub hosts: Hosts,
    /// Time for a connection.
    pub connect_timeout: Duration,
    /// After this long without a request an idle connection is closed.
    pub idle_timeout: Duration,
    /// Bytes of one message that are held at most.
    pub buffer: usize,
    /// Field lines of a response at most.
    pub max_fields: usize,
    /// Limits.
    pub breaker: Breaker,
    /// HTTP/2 with these limits; else HTTP/1.1.
    pub http2: Option<Http2>,
    /// TLS.
    pub tls: Option<ClientTls>,
    /// Upstream HTTP filters, without the codec.
    pub filters: Vec<Filter>,
}

impl Default for Breaker {
    /// Envoy's defaults.
    fn default() -> Self {
        Self { connections: 1024, pending: 1024, requests: 1024 }
    }
}

const KINDS: &[(&str, Discovery)] = &[
    ("STATIC", Discovery::Static),
    ("STRICT_DNS", Discovery::StrictDns),
    ("LOGICAL_DNS", Discovery::LogicalDns),
];

const FAMILIES: &[(&str, Family)] = &[
    ("AUTO", Family::Auto),
    ("V4_PREFERRED", Family::V4Preferred),
    ("V4_ONLY", Family::V4),
    ("V6_ONLY", Family::V6),
];

impl Cluster {
    /// Reads one of `static_resources.clusters`.
    pub(super) fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let name = table.need_text("name");
        let hosts = Hosts::read(&mut table, name.as_deref());
        let connect_timeout = table.duration("connect_timeout").unwrap_or(Duration::from_secs(5));
        let buffer = table.number("per_connection_buffer_limit_bytes").unwrap_or(BUFFER);
        let breaker = table.table("circuit_breakers").map(read_breakers).unwrap_or_default();
        let (report, socket) = (table.report, table.get("transport_socket"));
        let tls = table.table("transport_socket").map(ClientTls::read);
        let options = table.table("typed_extension_protocol_options");
        let options = options.map(Options::read).unwrap_or_default();
        let at = table.at.clone();
        table.done();
        let tls = match tls {
            Some(read) => Some(read?),
            None => None,
        };
        let Options { idle_timeout, max_fields, http2, filters } = options;
        if let (Some(at), Some(tls)) = (socket, &tls) {
            check_alpn(report, &at, tls, http2.is_some());
        }
        if tls.is_none() && !filters.is_empty() && !hosts.iter().all(Hosts::are_here) {
            let text = "expected TLS, or addresses of loopback: what a filter of a cluster puts \
                        into requests leaves this machine only over TLS";
            report.problem(&at, text);
        }
        let name = name?;
        Some(Self {
            name,
            hosts: hosts?,
            connect_timeout,
            idle_timeout,
            buffer,
            max_fields,
            breaker,
            http2,
            tls,
            filters,
        })
    }
}

/// What the file offers by ALPN has to be what the cluster speaks.
fn check_alpn(report: &Report, at: &At<'_>, tls: &ClientTls, http2: bool) {
    let spoken = if http2 { HTTP2 } else { HTTP1 };
    if tls.alpn.iter().any(|name| name != spoken) {
        report.problem(at, format!("expected alpn_protocols: [{spoken}], which is what it speaks"));
    }
}

impl Hosts {
    fn read(table: &mut Table<'_, '_>, cluster: Option<&str>) -> Option<Self> {
        table.need("type");
        let discovery = table.word("type", KINDS);
        table.word("lb_policy", &[("ROUND_ROBIN", ())]);
        let family = table.word("dns_lookup_family", FAMILIES).unwrap_or(Family::Auto);
        let refresh = table.duration("dns_refresh_rate").unwrap_or(Duration::from_secs(5));
        if refresh < Duration::from_millis(1) {
            table.report.problem(&table.at, "expected dns_refresh_rate of at least 0.001s");
        }
        let assignment = table.need_table("load_assignment");
        let addresses = read_assignment(assignment?, cluster, discovery?)?;
        Some(Self { discovery: discovery?, addresses, family, refresh })
    }
}

impl Hosts {
    /// Whether all of them are addresses of this machine. A name may lead elsewhere tomorrow.
    fn are_here(&self) -> bool {
        let here = |address: &Address| {
            address.host.parse().is_ok_and(|host: std::net::IpAddr| host.is_loopback())
        };
        self.addresses.iter().all(here)
    }
}

fn read_assignment(
    mut table: Table<'_, '_>,
    cluster: Option<&str>,
    discovery: Discovery,
) -> Option<Vec<Address>> {
    let name = table.need_text("cluster_name");
    if name.as_deref() != cluster {
        table.report.problem(&table.at, "expected cluster_name to be the cluster's name");
    }
    let group = table.single("endpoints");
    table.done();
    let mut group = group?;
    let members = group.tables("lb_endpoints");
    let wanted = match discovery {
        Discovery::LogicalDns => members.len() == 1,
        Discovery::Static | Discovery::StrictDns => !members.is_empty(),
    };
    let what = "lb_endpoints with an entry, and only one for LOGICAL_DNS";
    group.expected(&group.at, wanted.then_some(()), what);
    group.done();
    let addresses: Vec<_> =
        members.into_iter().map(|member| read_member(member, discovery)).collect();
    addresses.into_iter().collect::<Option<_>>().filter(|_| wanted)
}

fn read_member(mut member: Table<'_, '_>, discovery: Discovery) -> Option<Address> {
    let report = member.report;
    let endpoint = member.need_table("endpoint");
    member.done();
    let mut endpoint = endpoint?;
    let at = endpoint.need("address");
    let address = endpoint.table("address").and_then(Address::read);
    endpoint.done();
    let (at, address) = (at?, address?);
    let is_ip = address.host.parse::<std::net::IpAddr>().is_ok();
    if discovery == Discovery::Static && !is_ip {
        let what = "expected an IP address: names are for STRICT_DNS and LOGICAL_DNS";
        report.problem(&at, what);
    }
    Some(address)
}

fn read_breakers(mut table: Table<'_, '_>) -> Breaker {
    let entry = table.single("thresholds");
    table.done();
    let Some(mut entry) = entry else { return Breaker::default() };
    let usual = Breaker::default();
    let breaker = Breaker {
        connections: entry.number("max_connections").unwrap_or(usual.connections),
        pending: entry.number("max_pending_requests").unwrap_or(usual.pending),
        requests: entry.number("max_requests").unwrap_or(usual.requests),
    };
    // There are no retries here, so any limit of them holds.
    entry.number::<u64>("max_retries");
    entry.done();
    breaker
}

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// `HttpProtocolOptions` of a cluster.
struct Options {
    idle_timeout: Duration,
    max_fields: usize,
    http2: Option<Http2>,
    filters: Vec<Filter>,
}

impl Default for Options {
    fn default() -> Self {
        let idle_timeout = Duration::from_secs(3600);
        Self { idle_timeout, max_fields: 100, http2: None, filters: Vec::new() }
    }
}

impl Options {
    fn read(mut table: Table<'_, '_>) -> Self {
        let mut options = Self::default();
        let found = table.table(OPTIONS);
        table.done();
        let Some(mut found) = found else { return options };
        found.typed(OPTIONS);
        if let Some(mut common) = found.table("common_http_protocol_options") {
            options.idle_timeout = common.duration("idle_timeout").unwrap_or(options.idle_timeout);
            options.max_fields = common.number("max_headers_count").unwrap_or(options.max_fields);
            common.done();
        }
        let text = "expected explicit_http_config: a cluster speaks one version of HTTP";
        found.refuse("use_downstream_protocol_config", text);
        found.refuse("auto_config", text);
        if let Some(explicit) = found.need_table("explicit_http_config") {
            options.http2 = read_version(explicit);
        }
        let filters = found.list("http_filters");
        if !filters.is_empty() {
            let last = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";
            options.filters = Filter::chain(&filters, last, found.report);
            // Envoy has no such filter behind its router.
            let native = |it: &&Filter| matches!(it.kind, FilterKind::Decompressor(_));
            for filter in options.filters.iter().filter(native) {
                let at = filters.iter().find(|at| at.text_of("name") == Some(&filter.name));
                let text = "expected a Wasm filter: a cluster decompresses nothing";
                found.report.problem(at.unwrap_or(&found.at), text);
            }
        }
        found.done();
        options
    }
}

/// The one version of HTTP that a cluster speaks.
fn read_version(mut table: Table<'_, '_>) -> Option<Http2> {
    let http2 = table.table("http2_protocol_options").map(Http2::read);
    let http1 = match http2 {
        Some(_) => table.table("http_protocol_options"),
        None => table.need_table("http_protocol_options"),
    };
    if http1.is_some() && http2.is_some() {
        table.report.problem(&table.at, "expected one version of HTTP");
    }
    if let Some(mut http1) = http1 {
        http1.only("enable_trailers", true);
        http1.done();
    }
    table.done();
    http2
}
