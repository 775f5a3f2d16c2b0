//! The files of cases, and how one entry becomes several cases.
//!
//! Every entry times its places, its variants and the versions that it is sent over is a case
//! of its own, with a name that stays the same. Invariant: the files are in the program, so an
//! installed one has them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::case::Case;

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        const FILES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../../tests/conformance/attacks/", $name, ".yaml")))),+
        ];
    };
}

files!(
    "r0-control",
    "r1-json",
    "r2-forms",
    "r3-fields",
    "r4-target",
    "r5-encoded",
    "r6-split",
    "r7-nested",
    "r8-names",
    "r9-coded",
    "r10-size",
    "r11-twice",
    "r12-own-value",
    "r13-overrides",
    "r14-hop-by-hop",
    "r15-bytes",
    "r16-gateway-fields",
    "r17-early",
    "r18-framing",
    "d1-authority",
    "d2-names",
    "d3-redirects",
    "d6-paths",
    "d7-other-host",
    "d8-bound",
    "d9-methods",
    "d10-upgrades",
    "d12-versions",
    "s1-echo",
    "s2-fields",
    "s3-around",
    "s4-cut",
    "s5-codings",
    "s6-forms",
    "s7-parts",
    "s8-ranges",
    "s9-lengths",
    "s10-streams",
    "s11-decoys",
    "s12-bytes",
    "s13-former",
    "s14-minted",
    "s15-caches",
    "s16-short",
    "s17-oracle",
    "later",
);

/// One file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Row of its cases.
    row: String,
    /// What the row tries, and what must happen.
    #[serde(rename = "note")]
    _note: String,
    /// Parts that every case has.
    #[serde(default)]
    defaults: Parts,
    /// Parts by the place where something is sent or answered.
    #[serde(default)]
    places: BTreeMap<String, Parts>,
    cases: Vec<Entry>,
}

/// What is put together, in this order: defaults, place, case.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Parts {
    over: Vec<String>,
    needs: Vec<String>,
    send: Value,
    answer: Value,
    want: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    note: Option<String>,
    row: Option<String>,
    pending: Option<String>,
    /// Places by name; none means the entry says everything itself.
    #[serde(default)]
    at: Vec<String>,
    /// Variants: a name and what `$each` stands for.
    #[serde(default)]
    each: BTreeMap<String, String>,
    /// What `$sent` stands for.
    sent: Option<String>,
    /// What `$got` stands for.
    got: Option<String>,
    #[serde(default)]
    over: Vec<String>,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    send: Value,
    #[serde(default)]
    answer: Value,
    #[serde(default)]
    want: Value,
}

/// All cases, in the order of their files.
pub fn cases() -> Result<Vec<Case>, String> {
    let mut all = Vec::new();
    for (name, text) in FILES {
        all.extend(read(text).map_err(|error| format!("{name}.yaml: {error}"))?);
    }
    Ok(all)
}

/// The cases of the files in a folder, in the order of their names: those of a work tree, or
/// somebody's own.
pub fn folder(folder: &Path) -> Result<Vec<Case>, String> {
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(|error| said(&error))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "yaml"));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|error| said(&error))?;
        all.extend(read(&text).map_err(|error| format!("{}: {error}", file.display()))?);
    }
    Ok(all)
}

/// The cases of one file.
pub fn read(text: &str) -> Result<Vec<Case>, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let mut cases = Vec::new();
    for entry in &file.cases {
        let case = |error: String| format!("{}: {error}", entry.name);
        cases.extend(file.expand(entry).map_err(case)?);
    }
    Ok(cases)
}

impl File {
    fn expand(&self, entry: &Entry) -> Result<Vec<Case>, String> {
        let nowhere = [String::new()];
        let places = if entry.at.is_empty() { &nowhere[..] } else { &entry.at };
        let variants = entry.each.iter().map(|(name, value)| (name.as_str(), Some(value.as_str())));
        let mut variants: Vec<_> = variants.collect();
        if variants.is_empty() {
            variants.push(("", None));
        }
        let mut cases = Vec::new();
        for place in places {
            let parts = match place.as_str() {
                "" => Parts::default(),
                name => self.places.get(name).ok_or(format!("no place {name:?}"))?.clone(),
            };
            for (variant, value) in &variants {
                for over in self.versions(entry, &parts) {
                    let name = [entry.name.as_str(), variant, place, version(&over)];
                    let name: Vec<&str> =
                        name.into_iter().filter(|part| !part.is_empty()).collect();
                    cases.push(self.one(entry, &parts, (&name.join("/"), *value), &over)?);
                }
            }
        }
        Ok(cases)
    }

    /// The closest that says something: entry, place, file.
    fn versions(&self, entry: &Entry, place: &Parts) -> Vec<String> {
        let lists = [&entry.over, &place.over, &self.defaults.over];
        let said = lists.into_iter().find(|list| !list.is_empty()).cloned();
        said.unwrap_or_else(|| vec!["http1".into()])
    }

    fn one(
        &self,
        entry: &Entry,
        place: &Parts,
        (name, each): (&str, Option<&str>),
        over: &str,
    ) -> Result<Case, String> {
        let row = entry.row.as_ref().unwrap_or(&self.row);
        let together = |parts: [&Value; 3]| {
            parts.into_iter().filter(|part| !part.is_null()).fold(
                Value::Object(Map::new()),
                |mut whole, part| {
                    postern_rig::gateway::merge(&mut whole, part);
                    whole
                },
            )
        };
        let defaults = &self.defaults;
        let needs = defaults.needs.iter().chain(&place.needs).chain(&entry.needs);
        let protocol = Some(version(over)).filter(|needed| !needed.is_empty());
        let needs: Vec<&str> = needs.map(String::as_str).chain(protocol).collect();
        let mut case = serde_json::json!({
            "row": row,
            "name": format!("{row}/{name}"),
            "note": entry.note.clone().unwrap_or_else(|| entry.name.replace('-', " ")),
            "needs": needs,
            "over": over,
            "pending": entry.pending,
            "send": together([&defaults.send, &place.send, &entry.send]),
            "answer": together([&defaults.answer, &place.answer, &entry.answer]),
            "want": together([&defaults.want, &place.want, &entry.want]),
        });
        for part in ["send", "answer", "want"] {
            let variables =
                [("$sent", entry.sent.as_deref()), ("$got", entry.got.as_deref()), ("$each", each)];
            substitute(&mut case[part], &variables);
        }
        serde_json::from_value(case).map_err(|error| error.to_string())
    }
}

fn version(over: &str) -> &str {
    if over == "http2" { "http2" } else { "" }
}

/// Twice, because what is sent may itself be a variant.
fn substitute(value: &mut Value, variables: &[(&str, Option<&str>)]) {
    let replaced = |text: &str| {
        let once = |text: String| {
            variables.iter().fold(text, |text, (name, value)| match value {
                Some(value) => text.replace(name, value),
                None => text,
            })
        };
        once(once(text.to_owned()))
    };
    match value {
        Value::String(text) => *text = replaced(text),
        Value::Array(items) => items.iter_mut().for_each(|item| substitute(item, variables)),
        Value::Object(members) => {
            let old = std::mem::take(members);
            for (name, mut item) in old {
                substitute(&mut item, variables);
                members.insert(replaced(&name), item);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_times_places_variants_and_versions() {
        let text = "
row: S6
note: x
defaults: {over: [http1, http2]}
places:
  content: {answer: {body: 'see $sent'}, want: {body: 'see $got'}}
  field: {over: [http1], answer: {fields: [{x-$each: $sent}]}}
cases:
- {name: hex, at: [content, field], each: {a: '1', b: '2'}, sent: '${secret | after $each}', got: y}
";
        let cases = read(text).unwrap();
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        let want = [
            "S6/hex/a/content",
            "S6/hex/a/content/http2",
            "S6/hex/b/content",
            "S6/hex/b/content/http2",
            "S6/hex/a/field",
            "S6/hex/b/field",
        ];
        assert_eq!(names, want);
        assert_eq!(cases[2].answer.body.as_deref(), Some("see ${secret | after 2}"));
        assert_eq!(cases[2].want.body.as_deref(), Some("see y"));
        assert!(cases[5].answer.fields[0].contains_key("x-2"));
    }

    #[test]
    fn every_file_is_read_in_and_every_name_is_one_of_its_own() {
        let cases = cases().unwrap();
        let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "two cases have one name");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conformance/attacks");
        let files = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
        for file in files.filter(|file| file.extension().is_some_and(|end| end == "yaml")) {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(FILES.iter().any(|(known, _)| *known == name), "{name} is not in the program");
        }
    }

    #[test]
    fn unknown_keys_and_places_are_errors() {
        let base = "row: X\nnote: x\ncases:\n- {name: a, ";
        for (entry, said) in [
            ("at: [nowhere]}", "no place"),
            ("send: {bodi: x}}", "bodi"),
            ("wants: {}}", "wants"),
            ("over: [http3]}", "http3"),
        ] {
            let error = read(&format!("{base}{entry}\n")).unwrap_err();
            assert!(error.contains(said), "{entry}: {error}");
        }
    }
}
