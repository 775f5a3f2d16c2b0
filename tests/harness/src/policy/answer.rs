//! An answer, and how to compare two.

use postern_rego::{Fault, Machine, Rules, Value as Rego, program};
use serde_json::{Number, Value};

use super::{INSTRUCTIONS, NOW, Pair};

/// What an engine says of a pair.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// This value.
    Value(Value),
    /// No value.
    Undefined,
    /// Two values.
    Conflict,
    /// An error of a builtin, which the library of OPA raises from wherever it stands.
    Raised,
    /// An error.
    Failed(String),
    /// Refused at load.
    Refused(String),
}

impl Answer {
    /// Whether both are the same, numbers by their value.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(one), Self::Value(other)) => equal(one, other),
            (Self::Undefined, Self::Undefined) | (Self::Conflict, Self::Conflict) => true,
            // Without its strictness OPA takes an error of a builtin for undefined.
            (Self::Undefined, Self::Raised) => true,
            _ => false,
        }
    }
}

fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => same(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, one)| other.get(key).is_some_and(|other| equal(one, other)))
        }
        _ => one == other,
    }
}

/// Integers exactly; a float that is one, as `1.0`, as that integer.
fn same(one: &Number, other: &Number) -> bool {
    let integer = |number: &Number| {
        let signed = number.as_i64().map(i128::from);
        signed.or_else(|| number.as_u64().map(i128::from))
    };
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.as_f64() == other.as_f64(),
        // Every integer below 2^53 is a float.
        (Some(whole), None) | (None, Some(whole)) => {
            whole.abs() < 1 << 53 && one.as_f64() == other.as_f64()
        }
    }
}

/// By bytecode, as a gate does it.
pub fn bytecode(pair: &Pair) -> Answer {
    let program = match program::load(&pair.modules, &pair.data, &pair.query) {
        Ok(program) => program,
        Err(found) => return refused(&found),
    };
    match Machine::new(&program, INSTRUCTIONS) {
        Ok(mut machine) => of(machine.run(Rego::from(pair.input.clone()), NOW)),
        Err(found) => refused(&found),
    }
}

/// By the interpreter.
pub fn interpreter(pair: &Pair) -> Answer {
    match Rules::new(&pair.modules, &pair.data) {
        Ok(mut rules) => of(rules.value(&pair.query, Rego::from(pair.input.clone()), NOW)),
        Err(found) => refused(&found),
    }
}

fn refused(found: &[postern_rego::Finding]) -> Answer {
    Answer::Refused(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

fn of(result: Result<Rego, Fault>) -> Answer {
    match result {
        Ok(Rego::Undefined) => Answer::Undefined,
        Ok(value) => serde_json::to_value(&value)
            .map_or_else(|error| Answer::Failed(error.to_string()), Answer::Value),
        Err(Fault::Conflict) => Answer::Conflict,
        Err(fault) => Answer::Failed(format!("{fault:?}")),
    }
}
