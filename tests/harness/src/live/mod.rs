//! What a scenario file cannot say: bytes that are no request, callers that go away, many
//! requests on a connection, traps, two listeners, routes that change under a filter, a bad
//! configuration, the process, and the search for secrets in everything that was written.
//!
//! Each check is a function that gives its differences; an empty list is a pass.

mod alarms;
mod audit;
mod bytes;
mod callers;
mod capability;
mod config;
mod flood;
mod gone;
mod http2;
mod introspection;
mod invites;
mod issuer;
mod istio;
mod limits;
mod module;
mod mutual;
mod people;
mod process;
mod provider;
mod reload;
mod revocation;
mod routes;
mod secrets;
mod slow;
mod smuggling;
mod telling;
mod tls;
mod transfer;
mod trap;
mod websocket;

use std::collections::BTreeMap;

use anyhow::Result;
use postern_rig::client::Request;
use postern_rig::message::Message;

use crate::gateway::{Gateway, Site};
use crate::run::{Count, Selection, now};
use crate::scenario::{Boundary, Named, Scenario, Seed, TokenSeed};
use crate::template::{Names, expand};
use crate::world::InviteSeed;

pub use secrets::Seen;

type Check = fn(&Site, &mut Seen) -> Result<Vec<String>>;

/// A check that needs no gateway of its own.
type OnOne = fn(&Site, &Gateway) -> Result<Vec<String>>;

/// Checks that do not run with every gateway, where they do, and why.
const ONLY: &[(&str, &[Boundary], &str)] = &[
    (
        "live/capabilities_are_the_committed_lists",
        &[Boundary::Envoy],
        "compares two files and starts no gateway: once is enough",
    ),
    (
        "live/envoy_limits_callers_by_what_the_gate_says",
        &[Boundary::Envoy],
        "our gateway has no rate-limit filter and refuses a file that has one",
    ),
    (
        "live/what_a_logger_left_is_delivered_by_the_next",
        &[Boundary::Envoy],
        "our gateway takes no other access logger while it runs",
    ),
    (
        "live/a_looping_gate_is_stopped",
        &[Boundary::Host],
        "Envoy runs a module for as long as it wants, and its worker with it",
    ),
    (
        "live/a_module_that_wants_all_memory_is_refused",
        &[Boundary::Host],
        "Envoy leaves the memory of a module to V8",
    ),
    (
        "live/what_keeps_the_gateway_from_starting",
        &[Boundary::Host],
        "exit codes and messages are those of our command",
    ),
    (
        "live/the_gateway_ends_after_what_runs",
        &[Boundary::Host],
        "Envoy closes its connections when it is told to end",
    ),
];

const CHECKS: &[(&str, Check)] = &[
    ("live/bad_configuration_is_refused_with_every_problem", config::every_problem),
    ("live/missing_keys_are_refused_by_name", config::missing_keys),
    ("live/capabilities_are_the_committed_lists", config::capabilities),
    ("live/counters_carry_the_reason", config::counters),
    ("live/counters_of_the_alarms_are_shown", alarms::counters),
    ("live/a_filter_in_a_file_is_replaced", reload::from_a_file),
    ("live/credential_over_verified_tls", routes::over_tls),
    ("live/istio_by_envoy_filters", istio::filters),
    ("live/istio_with_the_gate_by_wasm_plugin", istio::plugin),
    ("live/istio_with_the_gate_by_traffic_extension", istio::extension),
    ("live/istio_on_a_waypoint", istio::waypoint),
    ("live/callers_over_tls_are_who_they_say", tls::callers),
    ("live/a_key_service_that_demands_certificates", mutual::key_service),
    ("live/injected_field_changes_no_route", routes::injected_field),
    ("live/rewritten_path_is_refused", routes::rewritten_path),
    ("live/rewritten_authority_is_refused", routes::rewritten_authority),
    ("live/no_gate_no_credential", routes::without_gate),
    ("live/trapped_gate_lets_nothing_pass", trap::gate),
    ("live/trapped_audit_is_503_from_the_second_request", trap::audit),
    ("live/a_trapped_gate_recovers", trap::recovers),
    ("live/a_looping_gate_is_stopped", trap::looping),
    ("live/a_module_that_wants_all_memory_is_refused", trap::greedy),
    ("live/large_content_passes_in_little_memory", transfer::large),
    ("live/a_credential_over_http2_to_the_upstream", http2::upstream),
    ("live/websockets_of_text", websocket::of_text),
    ("live/a_caller_that_only_resets_is_cut_off", http2::rapid_reset),
    ("live/what_keeps_the_gateway_from_starting", process::does_not_start),
    ("live/the_gateway_ends_after_what_runs", process::ends),
    ("live/envoy_limits_callers_by_what_the_gate_says", limits::by_caller),
    ("live/many_callers_at_once", callers::many_at_once),
    ("live/a_budget_holds_on_two_workers", callers::within_a_budget),
    ("live/a_signed_request_is_good_once_on_two_workers", capability::replayed),
    ("live/capability_tokens_of_another_client", capability::python),
    ("live/a_token_is_asked_about_once_by_a_worker", introspection::asked_once),
    ("live/who_waits_for_an_answer_outlives_who_has_asked", introspection::asker_gone),
    ("live/keys_of_an_issuer_are_fetched_once_for_all_workers", issuer::fetched_once),
    ("live/signatures_without_the_proxys_function", issuer::without_the_proxy),
    ("live/tokens_of_a_provider", provider::tokens),
    ("live/an_invite_is_exchanged_once_on_two_workers", invites::at_once),
    ("live/invites_of_other_clients", invites::by_clients),
    ("live/an_approval_is_used_once_on_two_workers", people::at_once),
    ("live/slow_callers_end_by_timers", slow::ended_by_timers),
    ("live/slow_callers_by_the_thousand", flood::slow_callers),
    ("live/only_the_listener_without_audit_refuses", audit::one_listener_without),
    ("live/a_gap_is_refused_once_and_recorded", audit::gap),
    ("live/a_full_audit_buffer_refuses_and_recovers_at_once", audit::full),
    ("live/what_a_logger_left_is_delivered_by_the_next", audit::left),
    ("live/a_revoked_key_ends_everywhere_in_five_seconds", revocation::within_five_seconds),
    ("live/each_kind_that_is_revoked_ends_everywhere_in_five_seconds", revocation::each_kind),
    (IN_EACH_PART, secrets::nowhere),
];

/// With the base's configuration, on one gateway: most of a check's time is its start.
const ON_ONE: &[(&str, OnOne)] = &[
    ("live/bytes_as_they_stand", bytes::as_they_stand),
    ("live/a_caller_that_goes_away_at_each_phase", gone::at_each_phase),
    ("live/many_requests_on_one_connection", transfer::one_connection),
    ("live/requests_over_http2", http2::requests),
    ("live/streams_that_are_cut", http2::cut),
    // Last: their records may still come when the next check counts its own.
    ("live/what_each_side_saw_of_smuggling", smuggling::what_each_side_saw),
    ("live/heads_and_lines_without_end", flood::without_end),
];

/// What is about everything that the same process has run: each part has it.
const IN_EACH_PART: &str = "live/no_secret_in_anything_written";

/// Runs the checks that are selected.
pub fn run(site: &Site, selection: &Selection, seen: &mut Seen, count: &mut Count) -> Result<()> {
    let last = selection.part.is_last();
    if last {
        on_one(site, selection, seen, count)?;
    }
    for (name, check) in CHECKS {
        let here = last || *name == IN_EACH_PART;
        if here && selection.has(name) && runs(name, site.boundary) {
            site.calm();
            let lines = check(site, seen).unwrap_or_else(|error| vec![format!("{error:#}")]);
            count.report(name, &lines);
        }
    }
    Ok(())
}

fn on_one(site: &Site, selection: &Selection, seen: &mut Seen, count: &mut Count) -> Result<()> {
    let chosen: Vec<_> = ON_ONE.iter().filter(|(name, _)| selection.has(name)).collect();
    if chosen.is_empty() {
        return Ok(());
    }
    let gateway = Gateway::with(site, &site.config(None)?)?;
    for (name, check) in chosen {
        site.calm();
        let lines = check(site, &gateway).unwrap_or_else(|error| vec![format!("{error:#}")]);
        count.report(name, &lines);
    }
    seen.keep(site, gateway)
}

fn runs(name: &str, boundary: Boundary) -> bool {
    let only = ONLY.iter().find(|(check, ..)| *check == name);
    only.is_none_or(|(_, boundaries, _)| boundaries.contains(&boundary))
}

/// A caller of a check: one key with every scope.
pub struct Caller {
    named: Named,
}

impl Caller {
    /// Stores its key.
    pub fn new(site: &Site, check: &str) -> Result<Self> {
        Self::with_tokens(site, check, BTreeMap::new())
    }

    /// The same with access tokens.
    pub fn with_tokens(
        site: &Site,
        check: &str,
        tokens: BTreeMap<String, TokenSeed>,
    ) -> Result<Self> {
        Self::with_seed(site, check, Seed { tokens, ..Seed::default() })
    }

    /// The same with invites.
    pub fn with_invites(
        site: &Site,
        check: &str,
        invites: BTreeMap<String, InviteSeed>,
    ) -> Result<Self> {
        Self::with_seed(site, check, Seed { invites, ..Seed::default() })
    }

    /// The same with more of everything.
    pub fn with_seed(site: &Site, check: &str, mut seed: Seed) -> Result<Self> {
        seed.keys.entry("alice".to_owned()).or_default();
        let scenario = Scenario {
            note: check.to_owned(),
            config: Default::default(),
            route: serde_json::Value::Null,
            seed,
            boundaries: Vec::new(),
            why: None,
            fresh: false,
            steps: Vec::new(),
            want: Vec::new(),
        };
        let named = Named { name: format!("live/{check}"), scenario };
        site.world.seed(&named, now())?;
        Ok(Self { named })
    }

    /// Its key.
    pub fn key(&self, site: &Site) -> Option<Vec<u8>> {
        site.world.names(&self.named).key("alice")
    }

    /// An access token, as of now.
    pub fn token(&self, site: &Site, name: &str) -> Option<Vec<u8>> {
        site.world.names(&self.named).token(name)
    }

    /// A request with the key and, where given, the credential field.
    pub fn request(
        &self,
        site: &Site,
        host: &str,
        path: &str,
        credential: Option<&str>,
    ) -> Request {
        let key = self.key(site).unwrap_or_default();
        let request = Request::new("GET", host, path).with("x-tap-key", key);
        match credential {
            Some(name) => request.with("x-tap-credential", name),
            None => request,
        }
    }

    /// A template like those of scenario files; the key is `alice`.
    fn expand(&self, site: &Site, template: &str) -> Result<Vec<u8>> {
        expand(template, &site.world.names(&self.named))
    }

    fn secret(&self, site: &Site, name: &str) -> String {
        let secret = site.world.names(&self.named).secret(name).unwrap_or_default();
        String::from_utf8_lossy(&secret).into_owned()
    }
}

/// A difference when `got` is not `want`.
fn expect<T: PartialEq + std::fmt::Debug>(lines: &mut Vec<String>, what: &str, want: T, got: T) {
    if want != got {
        lines.push(format!("{what}: want {want:?}, got {got:?}"));
    }
}

/// The problem code of an answer.
fn code(answer: &Message) -> String {
    crate::observation::Answer::of(answer).code.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_that_runs_on_one_boundary_only_exists_and_says_why() {
        for (name, boundaries, why) in ONLY {
            assert!(CHECKS.iter().any(|(check, _)| check == name), "{name}");
            assert!(!boundaries.is_empty() && !why.is_empty(), "{name}");
        }
    }
}
