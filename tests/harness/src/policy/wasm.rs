//! The same pairs by bytecode in the gateway's module: a policy that refuses with the values
//! of many expressions as its content, sent through our own gateway.
//!
//! What the module answers is held against the core, which runs the same bytecode here and
//! was held against OPA.

use std::collections::BTreeMap;

use anyhow::Result;
use postern_rig::gateway::Kind;
use serde_json::{Value, json};

use super::{INSTRUCTIONS, Pair, answer, document};
use crate::gateway;
use crate::root;
use crate::run::{Count, Selection};
use crate::scenario::{Boundary, Named};

use super::answer::Answer;

/// Expressions of one policy.
const MOST: usize = 60;

/// Runs every pair that is one expression with a value.
pub fn compare(pairs: &[Pair], selection: &Selection, count: &mut Count) -> Result<()> {
    let mut rows = Vec::new();
    for pair in pairs {
        let Some(expression) = &pair.expression else { continue };
        match answer::bytecode(pair) {
            Answer::Value(value) => rows.push((expression.clone(), Some(value))),
            Answer::Undefined => rows.push((expression.clone(), None)),
            _ => {}
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let chosen: Vec<Named> = rows
        .chunks(MOST)
        .enumerate()
        .map(|(index, rows)| scenario(index, rows))
        .collect::<Result<_>>()?;
    let selection = Selection {
        only: Some("policy in wasm".to_owned()),
        show: selection.show,
        ..Selection::default()
    };
    gateway::run((Boundary::Host, Kind::wasmtime(&root())?), &chosen, &selection, count)
}

fn scenario(index: usize, rows: &[(String, Option<Value>)]) -> Result<Named> {
    let mut text = "package envoy.authz\n\nresult := {\"allowed\": false, \"http_status\": 418, \
                    \"body\": json.marshal(values)}\n"
        .to_owned();
    let mut want = BTreeMap::new();
    for (row, (expression, value)) in rows.iter().enumerate() {
        let expression = expression.replace("input.", "data.document.");
        let expression = expression.replace("(input,", "(data.document,");
        let name = format!("v{row:03}");
        text.push_str(&format!("\nvalues[\"{name}\"] := {name}\n\n{name} := {expression}\n"));
        if let Some(value) = value {
            want.insert(name, value.clone());
        }
    }
    let policy = json!({"rego": {
        "inline": text,
        "data": {"document": document()?},
        "query": "data.envoy.authz.result",
        "instructions": INSTRUCTIONS,
    }});
    let body = serde_json::to_string(&want)?;
    let escaped = [("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e"), ("\u{2028}", "\\u2028")];
    let body = escaped.iter().fold(body, |body, (from, to)| body.replace(from, to));
    let scenario = json!({
        "note": "values of expressions, from the module",
        "config": {"gate": {"policy": policy}},
        "seed": {"keys": {"alice": {}}},
        "steps": [{"request": {"key": "alice", "path": "/api/x"}}],
        "want": [{
            "status": 418,
            "body": body,
            "upstream": null,
            "audit": {"decision": "deny:policy_denied", "reason": "policy_denies"},
        }],
    });
    let scenario = serde_json::from_value(scenario)?;
    Ok(Named { name: format!("policy in wasm/{index}"), scenario })
}
