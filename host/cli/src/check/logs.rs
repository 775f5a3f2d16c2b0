//! Rules for what Envoy itself writes down: no field that holds or held a secret.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Allowed;
use super::bootstrap::Bootstrap;
use super::modules::Instance;
use super::report::Report;
use super::yaml::At;

/// Fields that carry secrets whatever the configuration says.
const ALWAYS: &[&str] =
    &["authorization", "proxy-authorization", "cookie", "x-tap-key", "postern-capability"];
/// Authenticators that read a field of their own.
const READERS: &[&str] = &["api_key", "jwt", "jwt_svid", "introspected"];

/// The rules over every format string of the document.
pub fn check(bootstrap: &Bootstrap<'_>, _: Allowed, report: &mut Report) {
    check_formats(&bootstrap.root, &bootstrap.plugins, report);
}

/// The same below `root`, for the fields of `plugins`.
pub fn check_formats(root: &At<'_>, plugins: &[Instance<'_>], report: &mut Report) {
    let secret = secret_fields(plugins);
    for at in root.walk() {
        if let Some(text) = at.text() {
            check_format(&at, text, &secret, report);
        }
        // A tag of traces (`custom_tags`).
        if let Some(name) = at.get("request_header").and_then(|tag| tag.get("name"))
            && let Some(text) = name.text().filter(|text| secret.contains(&text.to_lowercase()))
        {
            report.error(&name, shown(text));
        }
        for item in at.list("additional_request_headers_to_log") {
            if let Some(name) = item.text().filter(|name| secret.contains(&name.to_lowercase())) {
                report.error(&item, shown(name));
            }
        }
    }
}

fn secret_fields(plugins: &[Instance<'_>]) -> BTreeSet<String> {
    let mut fields: BTreeSet<String> = ALWAYS.iter().map(|&name| name.to_owned()).collect();
    let header = |value: &Value, part: &str| {
        value
            .get(part)
            .and_then(|part| part.get("header"))
            .and_then(Value::as_str)
            .map(str::to_lowercase)
    };
    for plugin in plugins {
        fields.extend(plugin.list("bindings").iter().filter_map(|b| header(b, "site")));
        for one in plugin.list("authenticators") {
            fields.extend(READERS.iter().filter_map(|kind| header(one, kind)));
        }
    }
    fields
}

/// `%REQ(A?B):Z%` prints A, or B where A is absent; CEL reads `request.headers['a']`.
fn check_format(at: &At<'_>, text: &str, secret: &BTreeSet<String>, report: &mut Report) {
    let lower = text.to_lowercase();
    for command in ["%req(", "%req_without_query("] {
        for (_, rest) in lower.match_indices(command).map(|(n, c)| lower.split_at(n + c.len())) {
            let names = rest.split([')', '%']).next().unwrap_or("");
            for name in names.split('?').filter(|name| secret.contains(*name)) {
                report.error(at, shown(name));
            }
        }
    }
    if lower.contains("request.headers") {
        for name in secret.iter().filter(|name| lower.contains(&format!("'{name}'"))) {
            report.error(at, shown(name));
        }
    }
}

fn shown(name: &str) -> String {
    format!("prints the request field {name:?}, which holds a secret")
}
