//! Whether an observation is what a scenario wants.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

use crate::observation::{Answer, Observation, Seen, text};
use crate::scenario::{SeenWant, Want, duration};
use crate::template::{Names, expand};

/// Every difference, one line each; empty when all is as wanted.
pub fn differences(want: &Want, got: &Observation, names: &dyn Names) -> Result<Vec<String>> {
    let mut found = Differences { names, lines: Vec::new() };
    found.answer(want, &got.answer)?;
    if let Some(within) = &want.within
        && got.took > duration(within)?
    {
        found.lines.push(format!("took {:?}, more than {within}", got.took));
    }
    match (&want.upstream, &got.upstream) {
        (None, None) => {}
        (Some(want), Some(seen)) => found.seen(want, seen)?,
        (None, Some(seen)) => {
            found.lines.push(format!("upstream got {} {}", seen.method, seen.path))
        }
        (Some(_), None) => found.lines.push("upstream got nothing".into()),
    }
    match (&want.canary, got.canaries.as_slice()) {
        (None, []) => {}
        (Some(want), [seen]) => found.seen(want, seen)?,
        (want, canaries) => {
            let wanted = usize::from(want.is_some());
            found.lines.push(format!("want {wanted} canaries, upstream got {}", canaries.len()));
        }
    }
    found.audit(&want.audit, got.audit.as_ref())?;
    if let Some(asked) = want.asked {
        found.same("asked", &asked.to_string(), &got.asked.to_string());
    }
    Ok(found.lines)
}

struct Differences<'a> {
    names: &'a dyn Names,
    lines: Vec<String>,
}

impl Differences<'_> {
    fn answer(&mut self, want: &Want, got: &Answer) -> Result<()> {
        self.same("status", &want.status.to_string(), &got.status.to_string());
        self.same("cut", &want.cut.to_string(), &got.cut.to_string());
        let (wanted, code) = (want.code.as_deref(), got.code.as_deref());
        self.same("code", wanted.unwrap_or("none"), code.unwrap_or("none"));
        self.maybe("body", want.body.as_deref(), &got.body)?;
        self.fields("header", &want.headers, &got.fields)?;
        self.fields("trailer", &want.trailers, &got.trailers)
    }

    fn seen(&mut self, want: &SeenWant, got: &Seen) -> Result<()> {
        self.maybe("upstream method", want.method.as_deref(), &got.method)?;
        self.maybe("upstream path", want.path.as_deref(), &got.path)?;
        self.maybe("upstream authority", want.authority.as_deref(), &got.authority)?;
        self.maybe("upstream body", want.body.as_deref(), &got.body)?;
        self.fields("upstream field", &want.fields, &got.fields)?;
        self.fields("upstream trailer", &want.trailers, &got.trailers)
    }

    fn fields(
        &mut self,
        what: &str,
        want: &BTreeMap<String, Option<String>>,
        got: &BTreeMap<String, Vec<String>>,
    ) -> Result<()> {
        for (name, value) in want {
            let have = got.get(name).map_or("absent".to_owned(), |values| format!("{values:?}"));
            let wanted = match value {
                Some(value) => format!("{:?}", [text(&expand(value, self.names)?)]),
                None => "absent".to_owned(),
            };
            self.same(&format!("{what} {name}"), &wanted, &have);
        }
        Ok(())
    }

    fn audit(&mut self, want: &BTreeMap<String, Value>, got: Option<&Value>) -> Result<()> {
        let Some(record) = got else {
            self.lines.push("no audit record".into());
            return Ok(());
        };
        for (name, value) in want {
            let wanted = match value {
                Value::String(template) => Value::String(text(&expand(template, self.names)?)),
                other => other.clone(),
            };
            self.same(&format!("audit {name}"), &wanted.to_string(), &record[name].to_string());
        }
        Ok(())
    }

    fn maybe(&mut self, what: &str, want: Option<&str>, got: &str) -> Result<()> {
        if let Some(want) = want {
            let want = text(&expand(want, self.names)?);
            self.same(what, &want, got);
        }
        Ok(())
    }

    fn same(&mut self, what: &str, want: &str, got: &str) {
        if want != got {
            self.lines.push(format!("{what}: want {}, got {}", short(want), short(got)));
        }
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{}… ({} bytes)", text.get(..at).unwrap_or_default(), text.len()),
        None => text.to_owned(),
    }
}
