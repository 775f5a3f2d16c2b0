//! How scripts are written.
//!
//! `request_headers: h 0 :path; set 0 x-a b; ret 1 | http_call: go 0`: callbacks are parted by
//! `|`, operations by `;`, their arguments by spaces. In an argument `%20` is a byte and `''`
//! is nothing. `request_body#2` is for the second call of a callback in a context, and
//! `request_body$` for the call that ends the message; the most exact name counts.

/// One operation: its name and its arguments.
pub type Op = Vec<Vec<u8>>;

/// Operations by callback.
#[derive(Clone, Default)]
pub struct Script(Vec<(String, Vec<Op>)>);

impl Script {
    /// Reads a script; what is no callback is passed over.
    pub fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let parts = text.split('|').filter_map(|part| part.split_once(':'));
        Self(parts.map(|(phase, ops)| (phase.trim().to_owned(), operations(ops))).collect())
    }

    /// What is to be done in the `count`th call of `phase`.
    pub fn find(&self, phase: &str, count: u32, end: bool) -> Option<&[Op]> {
        let exact = format!("{phase}#{count}");
        let last = end.then(|| format!("{phase}$"));
        [Some(exact), last, Some(phase.to_owned())]
            .into_iter()
            .flatten()
            .find_map(|name| self.0.iter().find(|(phase, _)| *phase == name))
            .map(|(_, ops)| ops.as_slice())
    }
}

fn operations(text: &str) -> Vec<Op> {
    let ops = text.split(';').map(|op| op.split_whitespace().map(argument).collect::<Op>());
    ops.filter(|op| !op.is_empty()).collect()
}

fn argument(text: &str) -> Vec<u8> {
    if text == "''" { Vec::new() } else { decoded(text.as_bytes()) }
}

/// `%xx` as a byte; a sign without two digits stays.
pub fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}
