//! The grammar of release policies, evaluated.
//!
//! `{"version":"1.0.0","anyOf":[{"authority":…,("allOf"|"anyOf"):[condition…]}]}`; a condition
//! is `{"claim":"a.b","equals":value}` or again `anyOf`/`allOf`. Invariant: a missing claim, an
//! unknown operator and an empty policy are false.

use serde_json::{Value, json};

/// Whether `claims` satisfy `policy`.
#[must_use]
pub fn satisfied(policy: &Value, claims: &Value) -> bool {
    let authorities = policy["anyOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    policy["version"] == "1.0.0"
        && authorities.iter().any(|one| one["authority"] == claims["iss"] && holds(one, claims))
}

fn holds(condition: &Value, claims: &Value) -> bool {
    let list = |name: &str| condition[name].as_array().filter(|list| !list.is_empty());
    if let Some(all) = list("allOf") {
        return all.iter().all(|one| holds(one, claims));
    }
    if let Some(any) = list("anyOf") {
        return any.iter().any(|one| holds(one, claims));
    }
    let (Some(claim), Some(wanted)) = (condition["claim"].as_str(), condition.get("equals")) else {
        return false;
    };
    let found = claim.split('.').try_fold(claims, |at, name| at.get(name));
    found.is_some_and(|found| text(found) == text(wanted))
}

/// Policies write numbers and booleans as texts too.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The policy for the test machine, with the five claims.
#[must_use]
pub fn good() -> Value {
    let equals = |claim: &str, value: &str| json!({"claim": claim, "equals": value});
    json!({"version": "1.0.0", "anyOf": [{
        "authority": postern_attester::ISSUER,
        "allOf": [
            equals("x-ms-attestation-type", "sevsnpvm"),
            equals("x-ms-compliance-status", "azure-compliant-uvm"),
            equals("x-ms-sevsnpvm-hostdata", &postern_attester::hex(&postern_attester::HOST_DATA)),
            equals("x-ms-sevsnpvm-is-debuggable", "false"),
            equals("x-ms-sevsnpvm-vmpl", "0"),
        ],
    }]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_holds_as_its_grammar_says() {
        let claims = json!({"iss": "https://a", "t": "x", "n": 0, "b": false, "deep": {"c": "y"}});
        let eq = |claim: &str, value: Value| json!({"claim": claim, "equals": value});
        let empty = json!({"authority": "https://b", "allOf": []});
        let policy = |rest: Value| json!({"version": "1.0.0", "anyOf": [empty.clone(), rest]});
        let all = |list: Value| policy(json!({"authority": "https://a", "allOf": list}));
        let mut other_version = all(json!([eq("t", json!("x"))]));
        other_version["version"] = "2.0.0".into();
        for (policy, want) in [
            (all(json!([eq("t", json!("x"))])), true),
            (all(json!([eq("n", json!("0")), eq("b", json!("false"))])), true),
            (all(json!([eq("n", json!(0)), eq("deep.c", json!("y"))])), true),
            (all(json!([eq("t", json!("x")), eq("t", json!("y"))])), false),
            (all(json!([{"anyOf": [eq("t", json!("y")), eq("n", json!(0))]}])), true),
            (all(json!([{"anyOf": [{"allOf": [eq("t", json!("y"))]}]}])), false),
            (all(json!([eq("missing", json!("x"))])), false),
            (all(json!([eq("deep.d", json!("y"))])), false),
            (all(json!([{"claim": "n", "less": 1}])), false),
            (all(json!([])), false),
            (policy(json!({"authority": "https://c", "allOf": [eq("t", json!("x"))]})), false),
            (other_version, false),
            (json!({}), false),
        ] {
            assert_eq!(satisfied(&policy, &claims), want, "{policy}");
        }
    }
}
