//! `graph.reachable`.

use std::collections::BTreeSet;

use regorus::Value;

use super::{Caches, Context};

/// The nodes that edges lead to from the first ones; a node without an entry is none.
pub(super) fn reachable(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [Value::Object(graph), first] = args else { return Value::Undefined };
    let mut queue: Vec<Value> = members(first);
    if !matches!(first, Value::Array(_) | Value::Set(_)) {
        return Value::Undefined;
    }
    let mut reached = BTreeSet::new();
    while let Some(node) = queue.pop() {
        let Some(edges) = graph.get(&node) else { continue };
        if reached.insert(node) {
            queue.extend(members(edges));
        }
    }
    Value::from(reached)
}

fn members(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.to_vec(),
        Value::Set(items) => items.iter().cloned().collect(),
        _ => Vec::new(),
    }
}
