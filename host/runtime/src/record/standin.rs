//! Stand-ins for values that look like credentials.
//!
//! Invariant: a value that was replaced once is replaced wherever it appears later, by the
//! same stand-in of the same length, so that lengths in messages stay true.

use std::collections::VecDeque;

use crate::engine::trace::Rules;

/// Values that are remembered; older ones are only recognised in their own fields.
const MOST: usize = 1000;
/// Fields that hold a query.
const TARGETS: [&str; 4] = [":path", "location", "referer", "x-envoy-original-path"];
/// Shorter values are only replaced where they stand in a field.
const SHORTEST: usize = 8;

/// What stands for what.
#[derive(Default)]
pub(super) struct Standins {
    known: VecDeque<(Vec<u8>, Vec<u8>)>,
    made: u64,
}

impl Standins {
    /// The value of a field as it is recorded.
    pub fn field(&mut self, rules: &Rules, name: &[u8], value: &[u8]) -> Vec<u8> {
        if TARGETS.iter().any(|target| target.as_bytes() == name) {
            return self.target(rules, value);
        }
        // Pseudo fields route; what of them is secret was seen in a field of its own.
        if name.starts_with(b":") || !rules.is_credential(name, value) {
            return self.text(value);
        }
        let start = scheme(value);
        let (scheme, secret) = value.split_at(start);
        [scheme, &self.of(secret)].concat()
    }

    /// A target or a URL: what its query calls a credential is one.
    fn target(&mut self, rules: &Rules, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(value.len());
        let mut in_query = false;
        for part in value.split_inclusive(|byte| b"?&#".contains(byte)) {
            let end = part.last().filter(|byte| b"?&#".contains(byte)).map_or(0, |_| 1);
            let (pair, mark) = part.split_at(part.len() - end);
            let equals = pair.iter().position(|byte| *byte == b'=').filter(|_| in_query);
            match equals.map(|at| pair.split_at(at + 1)) {
                Some((name, secret)) if rules.is_credential(&name[..name.len() - 1], secret) => {
                    out.extend_from_slice(name);
                    out.extend(self.of(secret));
                }
                _ => out.extend_from_slice(pair),
            }
            out.extend_from_slice(mark);
            in_query |= end > 0;
        }
        self.text(&out)
    }

    /// Other bytes as they are recorded.
    pub fn text(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for (secret, standin) in &self.known {
            let mut from = 0;
            while let Some(at) = find(&bytes[from..], secret) {
                let start = from + at;
                bytes[start..start + secret.len()].copy_from_slice(standin);
                from = start + secret.len();
            }
        }
        bytes
    }

    fn of(&mut self, secret: &[u8]) -> Vec<u8> {
        if let Some((_, standin)) =
            self.known.iter().find(|(known, standin)| known == secret || standin == secret)
        {
            return standin.clone();
        }
        self.made += 1;
        let mut standin = format!("redacted-{}-", self.made).into_bytes();
        standin.resize(secret.len(), b'x');
        if secret.len() >= SHORTEST {
            self.known.push_back((secret.to_vec(), standin.clone()));
            if self.known.len() > MOST {
                self.known.pop_front();
            }
        }
        standin
    }
}

/// Length of an authentication scheme and its blank (RFC 9110, 11.4): no secret.
fn scheme(value: &[u8]) -> usize {
    let known = [&b"basic "[..], b"bearer ", b"digest ", b"dpop "];
    let is = |scheme: &&&[u8]| {
        value.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    known.iter().find(is).map_or(0, |scheme| scheme.len())
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_replaced_where_it_stands_and_where_it_appears_again() {
        let (mut standins, rules) = (Standins::default(), Rules::default());
        let shown = standins.field(&rules, b"authorization", b"Bearer abcdefghijklmno");
        assert_eq!(shown, b"Bearer redacted-1-xxxx");
        assert_eq!(standins.text(b"got abcdefghijklmno."), b"got redacted-1-xxxx.");
        let again = standins.field(&rules, b"x-api-key", b"abcdefghijklmno");
        assert_eq!(again, b"redacted-1-xxxx");
        // What was replaced is not replaced again.
        assert_eq!(standins.field(&rules, b"cookie", b"redacted-1-xxxx"), b"redacted-1-xxxx");
        assert_eq!(standins.field(&rules, b"accept", b"text/plain"), b"text/plain");
        assert_eq!(standins.field(&rules, b"cookie", b"a=b").len(), 3);
    }

    #[test]
    fn a_credential_in_a_query_is_replaced_by_one_of_its_length() {
        let (mut standins, rules) = (Standins::default(), Rules::default());
        for (name, value, want) in [
            (":path", "/a?b=1&access_token=abcdefghijkl&c", "/a?b=1&access_token=redacted-1-x&c"),
            (
                "referer",
                "http://a/?x=1&Api_Key=0123456789abcd#f",
                "http://a/?x=1&Api_Key=redacted-2-xxx#f",
            ),
            ("location", "/#access_token=ABCDEFGHIJKL&s=1", "/#access_token=redacted-3-x&s=1"),
            (":path", "/token/a?b=c&token", "/token/a?b=c&token"),
        ] {
            let got = standins.field(&rules, name.as_bytes(), value.as_bytes());
            assert_eq!(String::from_utf8_lossy(&got), want);
        }
        assert_eq!(standins.text(b"abcdefghijkl"), b"redacted-1-x");
    }
}
