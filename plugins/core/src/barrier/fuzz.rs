//! Fuzz target: the filter against a second reading of the whole text.

use std::rc::Rc;

use serde_json::Value;

use super::{Fault, Filter, Framework, Pointer, Reader, Section};

const LEVELS: [&str; 3] = ["low", "mid", "high"];
const HOLD: usize = 256;

/// The first byte says what is cleared, the second how the rest, a text, is cut. What passes is
/// the same for every cut, is JSON, and has the sections that a whole reading leaves.
pub fn fuzz_barrier(bytes: &[u8]) {
    let [first, second, text @ ..] = bytes else { return };
    let cleared = usize::from(*first) % 4;
    let whole = filtered(cleared, text, text.len().max(1));
    let cut = filtered(cleared, text, (usize::from(*second) % 64).max(1));
    assert_eq!(cut, whole, "the same for every cut");
    let (Ok(passed), Ok(mut document)) = (whole, serde_json::from_slice::<Value>(text)) else {
        return;
    };
    remove(&mut document, cleared);
    let passed = serde_json::from_slice::<Value>(&passed);
    assert_eq!(passed.ok().as_ref(), Some(&document), "what a whole reading leaves");
}

fn filtered(cleared: usize, text: &[u8], size: usize) -> Result<Vec<u8>, Fault> {
    let framework = Rc::new(Framework::new(LEVELS.map(str::to_owned).to_vec()));
    let section = |at: &str, organisation: Option<&str>| {
        let organisation = organisation.map(str::to_owned);
        Pointer::parse(at).map(|at| Section { at, level: Some("l".to_owned()), organisation })
    };
    let sections = [section("/s/*", Some("o")), section("/s/*/p/*", None)];
    let sections: Rc<[Section]> = sections.into_iter().flatten().collect();
    let reader = Reader { clearance: framework.numbered(cleared), organisation: "us".to_owned() };
    let mut filter = Filter::new(framework, sections, reader, HOLD);
    let mut passed = Vec::new();
    for chunk in text.chunks(size) {
        passed.extend(filter.chunk(chunk)?);
    }
    filter.end()?;
    Ok(passed)
}

fn remove(document: &mut Value, cleared: usize) {
    let Some(sections) = document.get_mut("s") else { return };
    retain(sections, &|section| may(section, cleared) && section["o"] == "us");
    each(sections, &|section| {
        if let Some(parts) = section.get_mut("p") {
            retain(parts, &|part| may(part, cleared));
        }
    });
}

fn may(section: &Value, cleared: usize) -> bool {
    let level = section["l"].as_str();
    LEVELS.iter().take(cleared).any(|name| level == Some(name))
}

fn retain(parent: &mut Value, keep: &dyn Fn(&Value) -> bool) {
    match parent {
        Value::Array(items) => items.retain(keep),
        Value::Object(members) => members.retain(|_, member| keep(member)),
        _ => {}
    }
}

fn each(parent: &mut Value, act: &dyn Fn(&mut Value)) {
    match parent {
        Value::Array(items) => items.iter_mut().for_each(act),
        Value::Object(members) => members.values_mut().for_each(act),
        _ => {}
    }
}
