//! What a route does with a request: it sends it to a cluster, answers it, or sends the
//! caller elsewhere.
//!
//! Invariant: a request goes to the one cluster that its route names, once. Mirrors,
//! hedging, internal redirects, retries and clusters that a request could choose are problems.

use std::time::Duration;

use super::pattern::Pattern;
use super::read::Table;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It goes to a cluster (`route`).
    Forward(Forward),
    /// It is answered here (`direct_response`).
    Reply(Reply),
    /// The caller is sent elsewhere (`redirect`).
    Redirect(Redirect),
}

/// Where a request goes, and what the router rewrites of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Name of the cluster.
    pub cluster: String,
    /// What `:authority` becomes.
    pub host_rewrite: Option<String>,
    /// What becomes of the path.
    pub path_rewrite: Option<PathRewrite>,
    /// From the end of the request to the end of the response; `None` never ends.
    pub timeout: Option<Duration>,
}

/// What becomes of the path without its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// The matched part becomes this.
    Prefix(String),
    /// Every match becomes the text, in which `${1}` is the first group.
    Pattern(Pattern, String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Content.
    pub body: Body,
}

/// Content of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// As it stands.
    Inline(Vec<u8>),
    /// That of a file, at most so many bytes.
    File(String, usize),
}

/// Where a caller is sent; what is `None` stays as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Status code.
    pub status: u16,
    /// Scheme.
    pub scheme: Option<String>,
    /// Host.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// The whole path, perhaps with a query.
    pub path: Option<String>,
    /// Or a part of it.
    pub path_rewrite: Option<PathRewrite>,
    /// Whether the query is left out.
    pub strip_query: bool,
}

/// Sends a request again, or elsewhere as well.
pub(super) fn refuse_elsewhere(table: &mut Table<'_, '_>) {
    table.refuse("retry_policy", "expected no retries");
    table.refuse("hedge_policy", "expected no hedging");
    table.refuse("request_mirror_policies", "expected no mirrors");
}

impl Action {
    /// Reads the one action of a route; answers hold at most `limit` bytes.
    pub(super) fn read(table: &mut Table<'_, '_>, limit: usize) -> Option<Self> {
        let forward = table.table("route").map(Forward::read);
        let reply = table.table("direct_response").map(|table| Reply::read(table, limit));
        let redirect = table.table("redirect").map(Redirect::read);
        match (forward, reply, redirect) {
            (Some(forward), None, None) => forward.map(Self::Forward),
            (None, Some(reply), None) => reply.map(Self::Reply),
            (None, None, Some(redirect)) => redirect.map(Self::Redirect),
            _ => {
                let what = "expected one of route, direct_response, redirect";
                table.report.problem(&table.at, what);
                None
            }
        }
    }
}

impl Forward {
    fn read(mut action: Table<'_, '_>) -> Option<Self> {
        refuse_elsewhere(&mut action);
        action.refuse("internal_redirect_policy", "expected no internal redirects");
        action.refuse("cluster_header", "expected cluster: the request must not choose");
        let cluster = action.need_text("cluster");
        if let (Some(at), Some(cluster)) = (action.get("cluster"), &cluster) {
            action.report.wants_cluster(&at, cluster);
        }
        let host_rewrite = action.text("host_rewrite_literal");
        let path_rewrite = PathRewrite::read(&mut action);
        let timeout = action.duration("timeout").unwrap_or(Duration::from_secs(15));
        let timeout = Some(timeout).filter(|span| !span.is_zero());
        action.done();
        Some(Self { cluster: cluster?, host_rewrite, path_rewrite, timeout })
    }
}

impl PathRewrite {
    fn read(table: &mut Table<'_, '_>) -> Option<Self> {
        let prefix = table.text("prefix_rewrite").map(Self::Prefix);
        let pattern = table.table("regex_rewrite");
        if prefix.is_some() && pattern.is_some() {
            let what = "expected either prefix_rewrite or regex_rewrite";
            table.report.problem(&table.at, what);
        }
        prefix.or_else(|| pattern.and_then(read_pattern))
    }
}

fn read_pattern(mut table: Table<'_, '_>) -> Option<PathRewrite> {
    let pattern = table.need_table("pattern");
    let pattern = pattern.and_then(|table| Pattern::read(table, Pattern::anywhere));
    let text = table.need_text("substitution");
    let at = table.get("substitution");
    let text = at.zip(text).and_then(|(at, text)| {
        let groups = pattern.as_ref().map_or(0, Pattern::groups);
        let text = substitution(&text, groups);
        table.expected(&at, text, r"text in which \ stands before another or a group's digit")
    });
    table.done();
    Some(PathRewrite::Pattern(pattern?, text?))
}

/// From RE2's way to write groups (`\1`) to that of `regex` (`${1}`).
fn substitution(text: &str, groups: usize) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next()? {
                '\\' => out.push('\\'),
                digit => {
                    let group = digit.to_digit(10)?;
                    (group as usize <= groups).then_some(())?;
                    out.push_str(&format!("${{{group}}}"));
                }
            },
            '$' => out.push_str("$$"),
            other => out.push(other),
        }
    }
    Some(out)
}

impl Reply {
    fn read(mut table: Table<'_, '_>, limit: usize) -> Option<Self> {
        table.need("status");
        let status = table.number::<u16>("status");
        let at = table.get("status");
        let status = at.zip(status).and_then(|(at, status)| {
            let good = Some(status).filter(|status| (200..600).contains(status));
            table.expected(&at, good, "a status from 200 to 599")
        });
        let body = match table.table("body") {
            None => Some(Body::Inline(Vec::new())),
            Some(source) => Body::read(source, limit),
        };
        table.done();
        Some(Self { status: status?, body: body? })
    }
}

impl Body {
    fn read(mut source: Table<'_, '_>, limit: usize) -> Option<Self> {
        let inline = source.text("inline_string");
        let file = source.text("filename");
        let body = match (inline, file) {
            (Some(text), None) if text.len() > limit => {
                source.report.problem(&source.at, format!("expected at most {limit} bytes"));
                None
            }
            (Some(text), None) => Some(Self::Inline(text.into_bytes())),
            (None, Some(file)) => Some(Self::File(file, limit)),
            _ => source.expected(&source.at, None, "either inline_string or filename"),
        };
        source.done();
        body
    }
}

const CODES: &[(&str, u16)] = &[
    ("MOVED_PERMANENTLY", 301),
    ("FOUND", 302),
    ("SEE_OTHER", 303),
    ("TEMPORARY_REDIRECT", 307),
    ("PERMANENT_REDIRECT", 308),
];

impl Redirect {
    fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let https = table.flag("https_redirect");
        let scheme = table.text("scheme_redirect");
        if https && scheme.is_some() {
            let what = "expected either https_redirect or scheme_redirect";
            table.report.problem(&table.at, what);
        }
        let scheme = if https { Some("https".to_owned()) } else { scheme };
        let host = table.text("host_redirect").filter(|host| !host.is_empty());
        let port = table.number("port_redirect").filter(|port| *port != 0);
        let path = table.text("path_redirect").filter(|path| !path.is_empty());
        let path_rewrite = PathRewrite::read(&mut table);
        if path.is_some() && path_rewrite.is_some() {
            let what = "expected either path_redirect or a rewrite";
            table.report.problem(&table.at, what);
        }
        let status = table.word("response_code", CODES).unwrap_or(301);
        let strip_query = table.flag("strip_query");
        table.done();
        Some(Self { status, scheme, host, port, path, path_rewrite, strip_query })
    }
}
