//! Credentials that sign: named by the field only, and what the other module gets for it.

use serde_json::json;

use super::fixture::*;
use crate::gate::Config;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn with(site: serde_json::Value) -> serde_json::Value {
    let mut config = document();
    config["bindings"] = json!([{
        "credential": "signs", "tenant": "acme", "authority": "slack.com",
        "methods": ["POST"], "paths": ["/api/**"], "site": site,
    }]);
    config
}

fn oauth1() -> serde_json::Value {
    with(json!({"style": "oauth1"}))
}

fn sigv4() -> serde_json::Value {
    with(json!({"style": "sigv4", "region": "eu-west-1", "service": "s3"}))
}

/// Form content as the module that signs gets it.
fn handed_on(gate: &Gate, head: &[(&str, &str)], chunks: &[&[u8]]) -> Option<Vec<u8>> {
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(head), chunks.is_empty()));
    for (index, chunk) in chunks.iter().enumerate() {
        let end = index + 1 == chunks.len();
        run.event(crate::event::Event::RequestBody { chunk: chunk.to_vec(), end });
    }
    assert!(run.permit().is_some(), "{head:?}");
    run.publications.pop().unwrap().form
}

#[test]
fn the_field_names_it_and_a_placeholder_in_its_place_is_misplaced() {
    for config in [sigv4(), oauth1()] {
        let gate = Gate::with(&config);
        assert_eq!(
            gate.get(&[("x-tap-credential", "signs"), ("authorization", "Basic b3duOm93bg==")]),
            allowed(
                &["signs. at authorization"],
                &["authorization", "x-tap-credential", "x-tap-key"]
            )
        );
        for value in ["Bearer <CREDENTIAL:signs>", "<CREDENTIAL:signs.secret_access_key>"] {
            assert_eq!(
                gate.get(&[("authorization", value)]),
                refused(400, "placeholder_misplaced", "in_field_value"),
                "{value}"
            );
        }
    }
}

#[test]
fn a_placeholder_where_another_binding_has_its_site_is_not_one_of_a_signature() {
    let mut config = sigv4();
    config["bindings"].as_array_mut().unwrap().push(document()["bindings"][0].clone());
    assert_eq!(
        Gate::with(&config).get(&[("authorization", "Bearer <CREDENTIAL:signs>")]),
        refused(403, "credential_not_allowed", "credential_site")
    );
}

#[test]
fn a_form_is_handed_on_where_a_signature_covers_it_and_nowhere_else() {
    let named = ("x-tap-credential", "signs");
    let (oauth, aws) = (Gate::with(&oauth1()), Gate::with(&sigv4()));
    let chunks: [&[u8]; 2] = [b"a=1", b"&b=2"];
    assert_eq!(handed_on(&oauth, &[named, FORM], &chunks).as_deref(), Some(&b"a=1&b=2"[..]));
    assert_eq!(handed_on(&oauth, &[FORM], &chunks), None);
    assert_eq!(handed_on(&oauth, &[named, FORM], &[]), None);
    assert_eq!(handed_on(&oauth, &[named, ("content-type", "text/plain")], &chunks), None);
    assert_eq!(handed_on(&aws, &[named, FORM], &chunks), None);
}

#[test]
fn a_placeholder_in_a_form_that_is_signed_is_still_found() {
    assert_eq!(
        Gate::with(&oauth1()).send(
            fields(&[("x-tap-credential", "signs"), FORM]),
            &[b"a=<CRED", b"ENTIAL:signs>"],
            None
        ),
        refused(400, "placeholder_misplaced", "in_content")
    );
}

#[test]
fn a_signature_over_content_needs_a_gate_that_holds_it() {
    let problems = |mut config: serde_json::Value, body: &str| -> Vec<String> {
        config["body"] = body.into();
        let read = Config::parse(config.to_string().as_bytes());
        read.err().map_or_else(Vec::new, |error| {
            error.problems.into_iter().map(|problem| problem.path).collect()
        })
    };
    for body in ["stream", "off"] {
        assert_eq!(problems(sigv4(), body), ["body"]);
        assert_eq!(problems(oauth1(), body), [""; 0]);
        let site = json!({
            "style": "sigv4", "region": "eu-west-1", "service": "s3", "payload": "unsigned"
        });
        assert_eq!(problems(with(site), body), [""; 0]);
    }
    assert_eq!(problems(sigv4(), "hold"), [""; 0]);
}
