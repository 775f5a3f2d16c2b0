//! Rules for listeners and HTTP connection managers.

use super::Allowed;
use super::bootstrap::{Bootstrap, Manager, is_type};
use super::modules::{Instance, Module};
use super::report::Report;
use super::yaml::At;

/// Envoy's own default for `per_connection_buffer_limit_bytes`.
const DEFAULT_BUFFER: u64 = 1 << 20;
/// The gate's default for `body_limit`.
const DEFAULT_BODY: u64 = 256 << 10;

/// The rules over listeners, their managers and the admin interface.
pub fn check(bootstrap: &Bootstrap<'_>, _: Allowed, report: &mut Report) {
    for listener in &bootstrap.listeners {
        check_transport(listener, report);
    }
    for manager in &bootstrap.managers {
        check_modules(manager, report);
        if manager.has_gate() {
            check_timers(&manager.at, report);
            check_buffer(manager, report);
        }
    }
    check_admin(&bootstrap.root, report);
}

/// TLS 1.2 or newer, or loopback.
fn check_transport(listener: &At<'_>, report: &mut Report) {
    let address = listener.get("address");
    let local = address.as_ref().is_some_and(is_loopback);
    let chains =
        listener.list("filter_chains").into_iter().chain(listener.get("default_filter_chain"));
    for chain in chains {
        match chain.at(&["transport_socket", "typed_config"]) {
            None if local => report.note(&chain, "plain HTTP, on loopback only"),
            None => report.error(
                &chain,
                "plain HTTP on an address that is not loopback: expected a \
                                          transport_socket with TLS",
            ),
            Some(tls) => {
                check_tls_version(&tls, report);
                check_clients(&tls, report);
            }
        }
    }
}

/// A client certificate names somebody only when an authority has signed it: modules see any
/// that the listener lets in.
fn check_clients(tls: &At<'_>, report: &mut Report) {
    let common = tls.get("common_tls_context");
    let part = |path: &[&str]| common.as_ref().and_then(|common| common.at(path));
    let inline = part(&["validation_context"]);
    let combined = part(&["combined_validation_context", "default_validation_context"]);
    for context in inline.iter().chain(&combined) {
        if let Some(at) = context.get("trust_chain_verification")
            && at.text() != Some("VERIFY_TRUST_CHAIN")
        {
            report.error(&at, "expected VERIFY_TRUST_CHAIN: anybody could be any workload");
        }
    }
    let elsewhere = part(&["validation_context_sds_secret_config"]).is_some();
    let verified = inline.is_some() || combined.is_some() || elsewhere;
    let required = tls.get("require_client_certificate").is_some_and(|at| at.is_true());
    if required && !verified {
        let text = "missing: without it any client certificate is accepted";
        report.missing(tls, "common_tls_context.validation_context", text);
    }
}

/// No protocol version before TLS 1.2 is allowed by name.
pub fn check_tls_version(tls: &At<'_>, report: &mut Report) {
    let params = tls.at(&["common_tls_context", "tls_params"]);
    for key in ["tls_minimum_protocol_version", "tls_maximum_protocol_version"] {
        let Some(at) = params.as_ref().and_then(|params| params.get(key)) else { continue };
        if matches!(at.text(), Some("TLSv1_0" | "TLSv1_1")) {
            report.error(&at, "expected TLSv1_2 or newer");
        }
    }
}

/// Whether an address can only be reached from this machine.
pub fn is_loopback(address: &At<'_>) -> bool {
    if address.get("pipe").is_some() || address.get("envoy_internal_address").is_some() {
        return true;
    }
    let text = address.at(&["socket_address", "address"]).and_then(|at| at.text());
    text.and_then(|ip| ip.parse::<std::net::IpAddr>().ok()).is_some_and(|ip| ip.is_loopback())
}

fn check_modules(manager: &Manager<'_>, report: &mut Report) {
    let loggers = manager.loggers.iter().filter(|(_, i)| i.module == Some(Module::Audit));
    let audits: Vec<_> = loggers.collect();
    if manager.has_gate() && audits.is_empty() {
        report.missing(&manager.at, "access_log", "the gate stands here without the audit access \
                                                   log: it will refuse every request after the first");
    }
    for (entry, _) in audits {
        if let Some(filter) = entry.get("filter") {
            report
                .error(&filter, "expected no filter: a record that is not written stops the gate");
        }
    }
    for (entry, _) in manager.filters_of(Module::Credential) {
        report.error(entry, "expected the credential module in http_filters of each credentialed \
                             cluster: here, later filters and the router can still change where the \
                             request goes");
    }
    for (entry, _) in manager.filters_of(Module::Gate) {
        if entry.get("disabled").is_some_and(|at| at.is_true()) {
            report.missing(entry, "disabled", "expected the gate to be enabled");
        }
    }
    for (entry, _) in manager.filters_of(Module::Audit) {
        report.error(entry, "expected the audit module as an access logger (access_log)");
    }
}

/// Ends the requests that wait on a module whose VM has died; nothing else does.
pub fn check_timers(manager: &At<'_>, report: &mut Report) {
    let timers: [&[&str]; 3] = [
        &["stream_idle_timeout"],
        &["request_timeout"],
        &["common_http_protocol_options", "max_stream_duration"],
    ];
    for path in timers {
        let value = manager.at(path);
        let text = value.as_ref().and_then(|at| at.text()).unwrap_or("0s");
        let zero = text.trim_end_matches('s').parse::<f64>().is_ok_and(|seconds| seconds <= 0.0);
        if zero {
            let message = "expected a time such as 30s: a request that waits on a module whose VM \
                           has died is ended by this timer and by nothing else";
            report.missing(manager, &path.join("."), message);
        }
    }
}

/// Envoy's buffer must be larger than what the gate holds, so that the 413 is the gate's.
fn check_buffer(manager: &Manager<'_>, report: &mut Report) {
    let key = "per_connection_buffer_limit_bytes";
    let buffer = manager.listener.get(key).and_then(|at| at.number()).unwrap_or(DEFAULT_BUFFER);
    for (_, gate) in manager.filters_of(Module::Gate) {
        let limit = body_limit(gate);
        if buffer <= limit {
            let text =
                format!("{buffer} bytes, expected more than the gate's body_limit of {limit}");
            report.missing(&manager.listener, key, text);
        }
    }
}

fn body_limit(gate: &Instance<'_>) -> u64 {
    gate.text(&["body_limit"]).and_then(bytes).unwrap_or(DEFAULT_BODY)
}

/// `256KiB` in bytes. The gate's parser has already complained about anything else.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "B" | "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The admin interface shows configuration and can stop Envoy.
fn check_admin(root: &At<'_>, report: &mut Report) {
    if let Some(address) = root.at(&["admin", "address"]).filter(|address| !is_loopback(address)) {
        report.error(
            &address,
            "expected a loopback address: the admin interface shows the \
                                configuration and can stop Envoy",
        );
    }
    for at in root.walk() {
        if at.text_of("@type").is_some_and(|kind| kind.contains(".tap.")) || is_type(&at, "Tap") {
            report.error(&at, "a tap copies requests with the injected credential in them");
        }
    }
}
