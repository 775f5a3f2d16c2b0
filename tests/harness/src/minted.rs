//! Names of minted credentials, which are random: a scenario writes `access-#1` for the first
//! that came up, in what it wants, and `access-${minted 1}` in what it sends.
//!
//! A request digest covers the placeholder, so it is left out of a record that has one.

use serde_json::Value;

use crate::observation::Observation;

/// Characters of the random part.
const RANDOM: usize = 26;

/// The random parts that came up, in order.
#[derive(Debug, Default)]
pub struct Seen(Vec<String>);

impl Seen {
    /// The random part of the one with this number, from 1.
    pub fn part(&self, number: &str) -> Option<&str> {
        let index = number.parse::<usize>().ok()?.checked_sub(1)?;
        self.0.get(index).map(String::as_str)
    }

    /// Writes numbers for all random parts.
    pub fn settle(&mut self, seen: &mut Observation) {
        self.text(&mut seen.answer.body);
        for values in seen.answer.fields.values_mut().flatten() {
            self.text(values);
        }
        if let Some(upstream) = &mut seen.upstream {
            self.text(&mut upstream.path);
            self.text(&mut upstream.body);
            upstream.fields.values_mut().flatten().for_each(|value| self.text(value));
        }
        if let Some(audit) = &mut seen.audit {
            let used = self.value(audit.get_mut("credentials"));
            self.value(audit.get_mut("minted"));
            if used && let Some(digest) = audit.get_mut("digest") {
                *digest = Value::String("DIGEST".into());
            }
        }
    }

    fn value(&mut self, list: Option<&mut Value>) -> bool {
        let mut changed = false;
        for item in list.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Value::String(text) = item {
                let before = text.clone();
                self.text(text);
                changed |= *text != before;
            }
        }
        changed
    }

    fn text(&mut self, text: &mut String) {
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('-') {
            out.push_str(before);
            out.push('-');
            rest = after;
            let length = after.bytes().take_while(|byte| is_random(*byte)).count();
            let next = after.as_bytes().get(length);
            let ends = !next.is_some_and(u8::is_ascii_alphanumeric);
            if length == RANDOM && ends {
                let (part, after) = after.split_at(length);
                out.push_str(&format!("#{}", self.number(part)));
                rest = after;
            }
        }
        out.push_str(rest);
        *text = out;
    }

    fn number(&mut self, part: &str) -> usize {
        let at = self.0.iter().position(|known| known == part);
        let at = at.unwrap_or_else(|| {
            self.0.push(part.to_owned());
            self.0.len() - 1
        });
        at + 1
    }
}

fn is_random(byte: u8) -> bool {
    byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_parts_are_numbered_in_the_order_in_which_they_come_up() {
        let (a, b) = ("a".repeat(26), "b".repeat(26));
        let mut seen = Seen::default();
        let mut text = format!("<CREDENTIAL:refresh-{b}> x-{a}9 access-{a}, refresh-{b} one-two");
        seen.text(&mut text);
        let want = format!("<CREDENTIAL:refresh-#1> x-{a}9 access-#2, refresh-#1 one-two");
        assert_eq!(text, want);
        assert_eq!((seen.part("2"), seen.part("3")), (Some(a.as_str()), None));
    }
}
