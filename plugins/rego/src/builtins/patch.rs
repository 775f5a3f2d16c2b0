//! `json.patch` (RFC 6902), as OPA applies it: paths are texts, with or without a slash in
//! front, or arrays of steps.
//!
//! Invariant: work and result are bounded: there are not many patches, no path is deep, and what
//! is copied is not much.

use regorus::Value;

use super::{Caches, Context, text};
use crate::machine::Fault;

/// Patches in one list: each may write an array anew.
const MOST: usize = 256;
/// Steps of a path. Every patch may make the document deeper by as many, and values are dropped
/// and compared by recursion.
const DEEPEST: usize = 64;
/// Copies in one list of patches: each may double the document and its depth.
const MOST_COPIES: usize = 8;
/// Bytes and members that one list of patches copies.
const MOST_COPIED: usize = 1 << 20;

/// Why there is no result.
enum No {
    /// OPA has an error, too.
    Error,
    /// OPA may have a result: a path into a set or a deep one, or too many copies.
    Unknown,
}

/// `json.patch(document, patches)`.
pub(super) fn patch(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [document, Value::Array(patches)] = args else { return Value::Undefined };
    let copies = patches.iter().filter(|one| said(one, "op").and_then(text) == Some("copy"));
    let result = if patches.len() > MOST || copies.count() > MOST_COPIES {
        Err(No::Unknown)
    } else {
        let mut left = MOST_COPIED;
        patches.iter().try_fold(document.clone(), |document, one| apply(document, one, &mut left))
    };
    match result {
        Ok(value) => value,
        Err(No::Error) => Value::Undefined,
        Err(No::Unknown) => context.fail(Fault::Failed),
    }
}

fn said<'a>(patch: &'a Value, name: &str) -> Option<&'a Value> {
    patch.as_object().ok()?.get(&Value::from(name))
}

fn apply(mut document: Value, patch: &Value, left: &mut usize) -> Result<Value, No> {
    let to = path(said(patch, "path"))?;
    let value = || said(patch, "value").cloned().ok_or(No::Error);
    let from = || path(said(patch, "from"));
    match said(patch, "op").and_then(text).ok_or(No::Error)? {
        "add" => insert(&mut document, &to, value()?)?,
        "remove" => drop(remove(&mut document, &to)?),
        "replace" if to.is_empty() => document = value()?,
        "replace" => {
            let value = value()?;
            remove(&mut document, &to)?;
            insert(&mut document, &to, value)?;
        }
        "move" => {
            let value = remove(&mut document, &from()?)?;
            insert(&mut document, &to, value)?;
        }
        "copy" => {
            let value = find(&document, &from()?)?.clone();
            *left = left.checked_sub(weight(&value, *left)).ok_or(No::Unknown)?;
            insert(&mut document, &to, value)?;
        }
        "test" if *find(&document, &to)? == value()? => {}
        _ => return Err(No::Error),
    }
    Ok(document)
}

/// Bytes and members of a value, counted until there are more than `most`.
fn weight(value: &Value, most: usize) -> usize {
    match value {
        Value::String(text) => text.len().saturating_add(1),
        Value::Array(items) => sum(items.iter(), most),
        Value::Set(items) => sum(items.iter(), most),
        Value::Object(members) => sum(members.iter().flat_map(|(key, value)| [key, value]), most),
        _ => 1,
    }
}

fn sum<'a>(values: impl Iterator<Item = &'a Value>, most: usize) -> usize {
    let mut sum: usize = 1;
    for value in values {
        if sum > most {
            break;
        }
        sum = sum.saturating_add(weight(value, most));
    }
    sum
}

/// The steps of a path (RFC 6901, 3).
fn path(value: Option<&Value>) -> Result<Vec<Value>, No> {
    let steps = steps(value)?;
    if steps.len() > DEEPEST { Err(No::Unknown) } else { Ok(steps) }
}

fn steps(value: Option<&Value>) -> Result<Vec<Value>, No> {
    match value {
        Some(Value::Array(steps)) => Ok(steps.to_vec()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => {
            let steps = text.trim_start_matches('/').split('/');
            Ok(steps.map(|step| Value::from(step.replace("~1", "/").replace("~0", "~"))).collect())
        }
        _ => Err(No::Error),
    }
}

/// A place in an array of this many items; one behind the last where `-` stands.
fn index(step: &Value, length: usize) -> Result<usize, No> {
    match step {
        Value::String(text) if **text == *"-" => Ok(length),
        Value::String(text) => {
            let plain = text.len() == 1 || !text.starts_with('0');
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let at = (plain && digits).then(|| text.parse().ok()).flatten();
            at.ok_or(No::Error)
        }
        Value::Number(number) => {
            let at = number.as_i64().and_then(|at| usize::try_from(at).ok());
            at.ok_or(No::Unknown)
        }
        _ => Err(No::Unknown),
    }
}

fn find<'a>(mut value: &'a Value, path: &[Value]) -> Result<&'a Value, No> {
    for step in path {
        value = match value {
            Value::Object(members) => members.get(step).ok_or(No::Error)?,
            Value::Array(items) => items.get(index(step, items.len())?).ok_or(No::Error)?,
            Value::Set(_) => return Err(No::Unknown),
            _ => return Err(No::Error),
        };
    }
    Ok(value)
}

/// What holds the last step of a path.
fn holder<'a>(mut value: &'a mut Value, path: &[Value]) -> Result<&'a mut Value, No> {
    for step in path {
        value = match value {
            Value::Object(_) => {
                let members = value.as_object_mut().map_err(|_| No::Error)?;
                members.get_mut(step).ok_or(No::Error)?
            }
            Value::Array(_) => {
                let items = value.as_array_mut().map_err(|_| No::Error)?;
                let at = index(step, items.len())?;
                items.get_mut(at).ok_or(No::Error)?
            }
            Value::Set(_) => return Err(No::Unknown),
            _ => return Err(No::Error),
        };
    }
    Ok(value)
}

fn insert(document: &mut Value, path: &[Value], value: Value) -> Result<(), No> {
    let Some((last, above)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match holder(document, above)? {
        Value::Set(_) => Err(No::Unknown),
        holder @ Value::Object(_) => {
            holder.as_object_mut().map_err(|_| No::Error)?.insert(last.clone(), value);
            Ok(())
        }
        holder @ Value::Array(_) => {
            let mut items = holder.as_array().map_err(|_| No::Error)?.to_vec();
            let at = index(last, items.len())?;
            if at > items.len() {
                return Err(No::Error);
            }
            items.insert(at, value);
            *holder = Value::from(items);
            Ok(())
        }
        _ => Err(No::Error),
    }
}

fn remove(document: &mut Value, path: &[Value]) -> Result<Value, No> {
    // OPA panics where everything goes.
    let (last, above) = path.split_last().ok_or(No::Unknown)?;
    match holder(document, above)? {
        Value::Set(_) => Err(No::Unknown),
        holder @ Value::Object(_) => {
            let members = holder.as_object_mut().map_err(|_| No::Error)?;
            members.remove(last).ok_or(No::Error)
        }
        holder @ Value::Array(_) => {
            let mut items = holder.as_array().map_err(|_| No::Error)?.to_vec();
            let at = index(last, items.len())?;
            if at >= items.len() {
                return Err(No::Error);
            }
            let removed = items.remove(at);
            *holder = Value::from(items);
            Ok(removed)
        }
        _ => Err(No::Error),
    }
}
