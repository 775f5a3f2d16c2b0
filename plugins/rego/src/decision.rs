//! Reads a decision: a boolean, or the object that Envoy's OPA plugin documents.
//!
//! Invariant: whatever is not exactly of the documented form denies; nothing of an object is
//! left out because it was not understood.

use postern_core::denial::PolicyReason;
use postern_core::policy::{Answer, Changes, Obligations, Refusal};
use regorus::Value;

/// Reads what the policy's rule gave.
pub fn read(value: &Value) -> Result<Answer, PolicyReason> {
    match value {
        Value::Bool(true) => Ok(Answer::Allow(Changes::default(), Obligations::default())),
        Value::Bool(false) => Ok(Answer::Deny(Refusal::default())),
        Value::Object(_) => object(value),
        Value::Undefined => Err(PolicyReason::Undefined),
        _ => Err(PolicyReason::Type),
    }
}

fn object(value: &Value) -> Result<Answer, PolicyReason> {
    let mut allowed = None;
    let mut read = Read::default();
    for (key, value) in value.as_object().map_err(|_| PolicyReason::Type)?.iter() {
        let Value::String(key) = key else { return Err(PolicyReason::Type) };
        match (key.as_ref(), value) {
            ("allowed", Value::Bool(value)) => allowed = Some(*value),
            ("headers", value) => read.headers = lines(value)?,
            ("request_headers_to_remove", Value::Array(names)) => {
                read.remove = names.iter().map(name).collect::<Result<_, _>>()?;
            }
            ("http_status", Value::Number(number)) => {
                let status = number.as_u64().and_then(|number| u16::try_from(number).ok());
                read.status = Some(status.ok_or(PolicyReason::Type)?);
            }
            ("body", Value::String(text)) => read.body = Some(text.to_string()),
            ("obligations", value) => read.obligations = obligations(value)?,
            _ => return Err(PolicyReason::Type),
        }
    }
    read.answer(allowed.ok_or(PolicyReason::Type)?)
}

/// The members of an object that was read.
#[derive(Default)]
struct Read {
    headers: Vec<(String, String)>,
    remove: Vec<String>,
    status: Option<u16>,
    body: Option<String>,
    obligations: Obligations,
}

impl Read {
    /// Status and body are documented for a refusal; an object may have them and allow,
    /// where they mean nothing. Obligations mean nothing in a refusal.
    fn answer(self, allowed: bool) -> Result<Answer, PolicyReason> {
        let Self { headers, remove, status, body, obligations } = self;
        if allowed {
            return Ok(Answer::Allow(Changes { set: headers, remove }, obligations));
        }
        Ok(Answer::Deny(Refusal { status, fields: headers, content: body }))
    }
}

/// Most obligations of one decision.
const MOST_OBLIGATIONS: usize = 32;

/// A set or an array of objects, each with its `kind` and what that kind has, and nothing
/// else: an obligation that nobody knows would be one that nobody keeps.
fn obligations(value: &Value) -> Result<Obligations, PolicyReason> {
    let all: Vec<&Value> = match value {
        Value::Array(all) => all.iter().collect(),
        Value::Set(all) => all.iter().collect(),
        _ => return Err(PolicyReason::Obligation),
    };
    if all.len() > MOST_OBLIGATIONS {
        return Err(PolicyReason::Obligation);
    }
    let mut read = Obligations::default();
    for one in all {
        obligation(one, &mut read).ok_or(PolicyReason::Obligation)?;
    }
    Ok(read)
}

fn obligation(value: &Value, read: &mut Obligations) -> Option<()> {
    let (mut kind, mut more) = (None, Vec::new());
    for (name, value) in value.as_object().ok()?.iter() {
        let (Value::String(name), Value::String(value)) = (name, value) else { return None };
        match name.as_ref() {
            "kind" => kind = Some(value.as_ref()),
            // For whoever approves, and for people who read the policy.
            "reason" => {}
            name => more.push((name, value.as_ref())),
        }
    }
    match (kind?, more.as_slice()) {
        ("approval", []) => read.approval = true,
        ("passkey", []) => read.passkey = true,
        ("redact", [("above", level)]) => read.redact_above.push((*level).to_owned()),
        ("rate", [("class", class)]) => read.rate_classes.push((*class).to_owned()),
        ("alarm", []) => read.alarm = true,
        ("taint", [("label", label)]) => read.taints.push((*label).to_owned()),
        _ => return None,
    }
    Some(())
}

fn name(value: &Value) -> Result<String, PolicyReason> {
    match value {
        Value::String(name) => Ok(name.to_ascii_lowercase()),
        _ => Err(PolicyReason::Type),
    }
}

/// An object of texts or arrays of texts, or an array of such objects. Lines of one field
/// are joined (RFC 9110 5.3).
fn lines(value: &Value) -> Result<Vec<(String, String)>, PolicyReason> {
    let mut all: Vec<(String, String)> = Vec::new();
    let objects = match value {
        Value::Array(objects) => objects.as_slice(),
        one => std::slice::from_ref(one),
    };
    for object in objects {
        for (field, value) in object.as_object().map_err(|_| PolicyReason::Type)?.iter() {
            let field = name(field)?;
            let values = match value {
                Value::Array(values) => values.as_slice(),
                one => std::slice::from_ref(one),
            };
            for value in values {
                let Value::String(value) = value else { return Err(PolicyReason::Type) };
                match all.iter_mut().find(|(known, _)| *known == field) {
                    Some((_, line)) => line.extend([", ", value]),
                    None => all.push((field.clone(), value.to_string())),
                }
            }
        }
    }
    Ok(all)
}
