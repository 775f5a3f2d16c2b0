//! Tokens that are good, and what they allow.

use super::fixture::{NOW, bare, full, further, set};
use crate::claims::Claims;

/// A name, why it is there, and the blocks.
pub type Row = (&'static str, &'static str, Vec<Claims>);

/// Blocks that narrow one thing after the other.
pub fn rows() -> Vec<Row> {
    let two = |claims: Claims| vec![full(), claims];
    let more = || further(1);
    let mut rows = vec![
        ("bare", "only what is required; grants nothing", vec![bare()]),
        ("full", "every claim", vec![full()]),
        ("passed on", "a block that says nothing narrows nothing", two(more())),
        (
            "to whom",
            "the subject of a further block is listed",
            two(Claims { subject: Some("triage-bot".into()), ..more() }),
        ),
        ("same audience", "repeated", two(Claims { audience: full().audience, ..more() })),
        ("same tenant", "repeated", two(Claims { tenant: full().tenant, ..more() })),
        (
            "same organisation",
            "repeated",
            two(Claims { organisation: full().organisation, ..more() }),
        ),
        ("same document", "repeated", two(Claims { document: full().document, ..more() })),
        ("shorter life", "exp: minimum", two(Claims { expires: Some(NOW + 60), ..more() })),
        (
            "later start",
            "nbf: maximum, within the skew",
            two(Claims { not_before: Some(NOW + 5), ..more() }),
        ),
        (
            "issued within the skew",
            "iat 5 s ahead",
            two(Claims { issued_at: Some(NOW + 5), ..more() }),
        ),
        ("fewer scopes", "", two(Claims { scopes: set(&["documents:read"]), ..more() })),
        ("fewer roles", "", two(Claims { roles: set(&["viewer"]), ..more() })),
        ("less trust", "", two(Claims { trust: Some(0), ..more() })),
        ("less clearance", "", two(Claims { clearance: Some(39), ..more() })),
        ("fewer credentials", "", two(Claims { credentials: set(&["slack"]), ..more() })),
        ("fewer hosts", "", two(Claims { hosts: set(&["api.slack.test"]), ..more() })),
        ("fewer methods", "", two(Claims { methods: set(&["GET"]), ..more() })),
        ("deeper path", "", two(Claims { paths: set(&["/api/v1/users"]), ..more() })),
        ("fewer tools", "", two(Claims { tools: set(&["search"]), ..more() })),
        ("fewer models", "", two(Claims { models: set(&["small"]), ..more() })),
        ("smaller budget", "", two(Claims { budget: Some(0), ..more() })),
        ("stricter approval", "approval: maximum", two(Claims { approval: Some(3), ..more() })),
    ];
    rows.extend(limits());
    rows.extend(attempts());
    rows.extend(chains());
    rows
}

/// What only a further block limits.
fn limits() -> Vec<Row> {
    let two = |claims: Claims| vec![bare(), claims];
    vec![
        (
            "new hosts",
            "a limit that the first block did not set",
            two(Claims { hosts: set(&["a.test"]), ..further(1) }),
        ),
        ("new methods", "", two(Claims { methods: set(&["PUT"]), ..further(1) })),
        ("new paths", "", two(Claims { paths: set(&["/"]), ..further(1) })),
        ("new tools", "", two(Claims { tools: set(&["search"]), ..further(1) })),
        ("new models", "", two(Claims { models: set(&["small"]), ..further(1) })),
        ("new budget", "", two(Claims { budget: Some(5), ..further(1) })),
        ("new document", "", two(Claims { document: Some("doc-2".into()), ..further(1) })),
    ]
}

/// Blocks that ask for more: good, without effect, reported.
fn attempts() -> Vec<Row> {
    let two = |claims: Claims| vec![full(), claims];
    let note = "asks for more: no effect, reported in widened";
    vec![
        ("longer life", note, two(Claims { expires: Some(NOW + 86_400), ..further(1) })),
        ("earlier start", note, two(Claims { not_before: Some(1), ..further(1) })),
        (
            "another scope",
            note,
            two(Claims { scopes: set(&["admin", "documents:read"]), ..further(1) }),
        ),
        (
            "only another scope",
            "nothing is left",
            two(Claims { scopes: set(&["admin"]), ..further(1) }),
        ),
        ("another role", note, two(Claims { roles: set(&["owner"]), ..further(1) })),
        ("more trust", note, two(Claims { trust: Some(3), ..further(1) })),
        ("more clearance", note, two(Claims { clearance: Some(255), ..further(1) })),
        (
            "another credential",
            note,
            two(Claims { credentials: set(&["github", "slack"]), ..further(1) }),
        ),
        ("another host", note, two(Claims { hosts: set(&["evil.test"]), ..further(1) })),
        ("another method", note, two(Claims { methods: set(&["DELETE", "GET"]), ..further(1) })),
        ("shallower path", note, two(Claims { paths: set(&["/"]), ..further(1) })),
        (
            "neighbouring path",
            "segments, not characters",
            two(Claims { paths: set(&["/api/v10"]), ..further(1) }),
        ),
        ("another tool", note, two(Claims { tools: set(&["shell"]), ..further(1) })),
        ("another model", note, two(Claims { models: set(&["huge"]), ..further(1) })),
        ("larger budget", note, two(Claims { budget: Some(9_999), ..further(1) })),
        ("laxer approval", note, two(Claims { approval: Some(0), ..further(1) })),
        (
            "scopes out of nothing",
            "the first block grants none",
            vec![bare(), Claims { scopes: set(&["admin"]), ..further(1) }],
        ),
        (
            "organisation out of nothing",
            "",
            vec![bare(), Claims { organisation: Some("org-7".into()), ..further(1) }],
        ),
    ]
}

fn chains() -> Vec<Row> {
    let scoped = |place: u8, scopes: &[&str]| Claims { scopes: set(scopes), ..further(place) };
    let eight = std::iter::once(bare()).chain((1..8).map(further)).collect();
    let deep = vec![Claims { depth: Some(2), ..full() }, further(1), further(2)];
    vec![
        ("eight blocks", "the longest chain", eight),
        ("as deep as allowed", "depth 2 and two blocks", deep),
        (
            "narrowed, then asked back",
            "what one block took away the next does not give",
            vec![
                full(),
                scoped(1, &["documents:read"]),
                scoped(2, &["documents:read", "documents:write"]),
            ],
        ),
        (
            "each takes one",
            "",
            vec![
                full(),
                scoped(1, &["documents:read"]),
                Claims { methods: set(&["GET"]), ..further(2) },
            ],
        ),
    ]
}
