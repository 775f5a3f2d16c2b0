//! Masks of decision logs, as OPA has them: a policy says what of an event is erased, replaced,
//! or not written at all.
//!
//! Invariant: where masks are given, an event is written only after they were evaluated and
//! applied; one that cannot be ends the whole.

use std::path::PathBuf;

use postern_rego::{Fault, Rules, Value as Rego};
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome, Sort};

const MASK: &str = "data.system.log.mask";
const DROP: &str = "data.system.log.drop";
const LARGEST: usize = 1 << 20;
/// What masks may change. OPA has the first two; the others say some of it again.
const BELOW: [&str; 5] = ["input", "result", "requested_by", "labels", "custom"];

/// The rules, if there are any.
pub(super) struct Masks(Option<Rules>);

/// What becomes of an event.
pub(super) enum Masked {
    /// It is written so.
    Event(Value),
    /// It is not.
    Dropped,
}

/// One thing that a mask does.
enum Change {
    Erase,
    Replace(Value),
}

impl Masks {
    pub(super) fn read(paths: &[PathBuf]) -> Outcome<Self> {
        if paths.is_empty() {
            return Ok(Self(None));
        }
        let module = |path: &PathBuf| -> Outcome<(String, String)> {
            let bytes = postern_files::read_bounded(path, LARGEST).or_environment("cannot read")?;
            let text = String::from_utf8(bytes).or_environment(path.display())?;
            Ok((path.display().to_string(), text))
        };
        let modules = paths.iter().map(module).collect::<Outcome<Vec<_>>>()?;
        let rules = Rules::new(&modules, &json!({})).map_err(|found| {
            let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
            Failure::found(lines.join("\n"))
        })?;
        if ![MASK, DROP].into_iter().any(|rule| rules.has(rule)) {
            return Err(Failure::usage(format!("--mask: expected a rule {MASK} or {DROP}")));
        }
        Ok(Self(Some(rules)))
    }

    /// Applies them.
    pub(super) fn apply(&mut self, mut event: Value, now: u64) -> Outcome<Masked> {
        match self.value(DROP, &event, now)? {
            Some(Value::Bool(true)) => return Ok(Masked::Dropped),
            None | Some(Value::Bool(false)) => {}
            Some(_) => return Err(Failure::found(format!("{DROP}: expected true or false"))),
        }
        let Some(masks) = self.value(MASK, &event, now)? else { return Ok(Masked::Event(event)) };
        let Value::Array(masks) = masks else {
            return Err(Failure::found(format!("{MASK}: expected a set")));
        };
        let (mut erased, mut masked) = (Vec::new(), Vec::new());
        let parsed = |mask: &Value| {
            parsed(mask).ok_or_else(|| {
                Failure::found(format!(
                    "{MASK}: expected a path below /{}, or {{op, path, value}}, not {mask}",
                    BELOW.join(", /")
                ))
            })
        };
        let mut changes = masks.iter().map(parsed).collect::<Outcome<Vec<_>>>()?;
        // Later places of a list first, since what is erased moves those behind it.
        changes.sort_by_cached_key(|(path, _)| std::cmp::Reverse(place(path)));
        for (path, change) in changes {
            let list = if matches!(change, Change::Erase) { &mut erased } else { &mut masked };
            if change.make(&mut event, &path) {
                list.push(Value::String(path));
            }
        }
        for (name, list) in [("erased", erased), ("masked", masked)] {
            if !list.is_empty() {
                event[name] = Value::Array(list);
            }
        }
        Ok(Masked::Event(event))
    }

    /// The value of a rule that is there.
    fn value(&mut self, rule: &str, event: &Value, now: u64) -> Outcome<Option<Value>> {
        let Some(rules) = self.0.as_mut().filter(|rules| rules.has(rule)) else { return Ok(None) };
        match rules.value(rule, Rego::from(event.clone()), now) {
            Ok(Rego::Undefined) => Ok(None),
            Ok(value) => serde_json::to_value(value).map(Some).or_bug("value"),
            Err(fault) => Err(Failure::found(format!("{rule}: no value: {}", why(&fault)))),
        }
    }
}

fn why(fault: &Fault) -> &'static str {
    match fault {
        Fault::Conflict => "conflict",
        Fault::Limit => "limit",
        Fault::Failed => "error",
    }
}

/// Where a path is: what it is in, and the number of its place in a list.
fn place(path: &str) -> (String, usize) {
    let (above, last) = path.rsplit_once('/').unwrap_or_default();
    (above.to_owned(), last.parse().unwrap_or(0))
}

/// A mask: a path, which is erased, or an object.
fn parsed(mask: &Value) -> Option<(String, Change)> {
    let (path, change) = match mask {
        Value::String(path) => (path, Change::Erase),
        Value::Object(mask) => {
            let Some(Value::String(path)) = mask.get("path") else { return None };
            let change = match mask.get("op").and_then(Value::as_str)? {
                "remove" => Change::Erase,
                "upsert" => Change::Replace(mask.get("value").cloned().unwrap_or(Value::Null)),
                _ => return None,
            };
            (path, change)
        }
        _ => return None,
    };
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let fits = parts.first().is_some_and(|first| BELOW.contains(first));
    (fits && !parts.contains(&"")).then(|| (path.clone(), change))
}

impl Change {
    /// Whether there was something to change. What is erased has to be there; what is replaced
    /// is put in, as OPA does, unless a text or a list is in the way.
    fn make(self, event: &mut Value, path: &str) -> bool {
        let parts: Vec<String> = path.split('/').skip(1).map(unescaped).collect();
        let Some((last, above)) = parts.split_last() else { return false };
        let mut at = event;
        for part in above {
            if matches!(self, Self::Replace(_)) && at.is_object() && at.get(part).is_none() {
                at[part.as_str()] = json!({});
            }
            let Some(next) = member(at, part) else { return false };
            at = next;
        }
        match (self, at) {
            (Self::Erase, Value::Object(members)) => members.remove(last).is_some(),
            (Self::Replace(value), Value::Object(members)) => {
                members.insert(last.clone(), value);
                true
            }
            (change, Value::Array(list)) => {
                let index = last.parse().ok().filter(|index| *index < list.len());
                match (index, change) {
                    (Some(index), Self::Erase) => drop(list.remove(index)),
                    (Some(index), Self::Replace(value)) => list[index] = value,
                    (None, _) => return false,
                }
                true
            }
            _ => false,
        }
    }
}

fn member<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(members) => members.get_mut(name),
        Value::Array(list) => list.get_mut(name.parse::<usize>().ok()?),
        _ => None,
    }
}

/// RFC 6901, 4.
fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(text: &str) -> Masks {
        let modules = [("mask.rego".to_owned(), format!("package system.log\n\n{text}\n"))];
        Masks(Some(Rules::new(&modules, &json!({})).unwrap()))
    }

    fn event() -> Value {
        let identity = json!({"user": "ab", "scopes": ["a", "b"], "agent": "bot"});
        json!({"input": {"postern": {"identity": identity}}, "result": {"allowed": false}})
    }

    fn applied(text: &str) -> Value {
        match masks(text).apply(event(), 0).unwrap() {
            Masked::Event(event) => event,
            Masked::Dropped => json!("dropped"),
        }
    }

    #[test]
    fn what_is_erased_and_masked_is_gone_and_said() {
        let seen = applied(
            "mask contains \"/input/postern/identity/user\"\n\
             mask contains \"/input/nobody\"\n\
             mask contains \"/input/postern/identity/scopes/0\"\n\
             mask contains {\"op\": \"upsert\", \"path\": \"/input/postern/identity/agent\", \"value\": \"**\"}\n\
             mask contains {\"op\": \"upsert\", \"path\": \"/input/new/deep\", \"value\": 1}\n\
             mask contains {\"op\": \"remove\", \"path\": \"/result\"} if input.result.allowed == false",
        );
        let identity = json!({"scopes": ["b"], "agent": "**"});
        let want = json!({
            "input": {"postern": {"identity": identity}, "new": {"deep": 1}},
            "erased": [
                "/input/postern/identity/scopes/0", "/input/postern/identity/user", "/result",
            ],
            "masked": ["/input/new/deep", "/input/postern/identity/agent"],
        });
        let mut seen = seen;
        for list in ["erased", "masked"] {
            let mut texts: Vec<Value> = seen[list].as_array().unwrap().clone();
            texts.sort_by_key(Value::to_string);
            seen[list] = Value::Array(texts);
        }
        assert_eq!(seen, want);
    }

    #[test]
    fn several_places_of_one_list_are_erased() {
        let both = "mask contains \"/input/postern/identity/scopes/0\"\n\
                    mask contains \"/input/postern/identity/scopes/1\"";
        assert_eq!(applied(both)["input"]["postern"]["identity"]["scopes"], json!([]));
    }

    #[test]
    fn an_event_that_is_dropped_is_not_written() {
        assert_eq!(applied("drop if input.result.allowed == false"), json!("dropped"));
        assert_eq!(applied("drop if input.result.allowed == true"), event());
    }

    #[test]
    fn what_cannot_be_applied_ends_the_whole() {
        let rows = [
            "mask contains \"input/x\"",
            "mask contains \"/decision_id\"",
            "mask contains \"/input/\"",
            "mask contains \"/input//user\"",
            "drop := \"yes\"",
            "drop contains \"x\"",
            "mask contains 7",
            "mask contains {\"op\": \"hide\", \"path\": \"/input\"}",
            "mask := \"/input\"",
            "mask := 1\nmask := 2 if input.input",
        ];
        for text in rows {
            assert!(masks(text).apply(event(), 0).is_err(), "{text}");
        }
    }
}
