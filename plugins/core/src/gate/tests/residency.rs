//! Regions: refused before anything leaves, and before a canary does.

use serde_json::json;

use super::fixture::*;
use crate::event::{Event, Surroundings};
use crate::time::Entropy;

fn gate(regions: &[&str]) -> Gate {
    let mut document = document();
    document["residency"] = json!({"regions": regions});
    document["upstreams"] = json!({
        "slack": {"authority": "slack.com", "region": "eu-west"},
        "slack-us": {"authority": "slack.com", "region": "us"},
        "files": {"authority": "files.slack.com"},
        "mail": {"authority": "mail.example:8443", "region": "eu-central"},
    });
    document["forward"] = json!({});
    Gate::with(&document)
}

fn through(gate: &Gate, cluster: Option<&[u8]>) -> Outcome {
    let mut run = Run::new(gate.pipeline.stream());
    let around = Surroundings { cluster: cluster.map(<[u8]>::to_vec), ..Surroundings::default() };
    let entropy = Entropy([1; 32]);
    run.event(Event::RequestHeaders { fields: fields(&[]), end: true, around, entropy });
    run.outcome()
}

#[test]
fn a_request_leaves_only_for_an_upstream_in_an_allowed_region() {
    let gate = gate(&["eu-west", "eu-central"]);
    let elsewhere = refused(403, "region_denied", "region_elsewhere");
    let unknown = refused(403, "region_denied", "region_unknown");
    assert!(matches!(through(&gate, Some(b"slack")), Outcome::Allowed { .. }));
    assert!(matches!(through(&gate, Some(b"mail")), Outcome::Allowed { .. }));
    assert_eq!(through(&gate, Some(b"slack-us")), elsewhere);
    assert_eq!(through(&gate, Some(b"files")), unknown);
    assert_eq!(through(&gate, Some(b"no-such-cluster")), unknown);
    assert_eq!(through(&gate, None), unknown);
    // The region comes before the credential: what is asked for is not even looked at.
    assert_eq!(
        gate.get(&[("authorization", "Bearer <CREDENTIAL:unknown>")]),
        refused(403, "credential_not_allowed", "credential_unknown")
    );
}

#[test]
fn a_forwarded_request_leaves_only_where_every_cluster_of_its_target_is_allowed() {
    let forward = |gate: &Gate, target: &str| {
        gate.get(&[(":path", "/forward"), ("x-tap-target", target), ("x-tap-method", "POST")])
    };
    let elsewhere = refused(403, "region_denied", "region_elsewhere");
    let gate_eu = gate(&["eu-west", "eu-central"]);
    assert_eq!(forward(&gate_eu, "https://slack.com/api/chat"), elsewhere);
    let mail = forward(&gate_eu, "https://mail.example:8443/api/chat");
    assert!(matches!(mail, Outcome::Allowed { .. }), "{mail:?}");
    let slack = forward(&gate(&["eu-west", "us"]), "https://slack.com/api/chat");
    assert!(matches!(slack, Outcome::Allowed { .. }), "{slack:?}");
}
