//! A strict reader of JSON (RFC 8259) that knows where each string stands.
//!
//! Invariant: a document that two readers could take for different ones (a name twice in
//! an object, text behind the end, bytes that are not UTF-8) is not read at all; depth is
//! bounded.

use std::collections::BTreeSet;
use std::ops::Range;

use zeroize::Zeroizing;

/// Deeper documents are not read.
const DEEPEST: usize = 64;

/// What stands at a JSON pointer (RFC 6901).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) pointer: String,
    pub(crate) kind: Kind,
    /// Where; of a string what is between its quotation marks.
    pub(crate) range: Range<usize>,
}

/// What a value is, as far as anybody here asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Other,
}

/// Every string value: its pointer and where it stands between its quotation marks.
pub(super) fn strings(content: &[u8]) -> Option<Vec<(String, Range<usize>)>> {
    let values = values(content)?.into_iter();
    let texts = values.filter(|value| value.kind == Kind::Text);
    Some(texts.map(|value| (value.pointer, value.range)).collect())
}

/// Every value, what is inside of an object or array before it.
pub(crate) fn values(content: &[u8]) -> Option<Vec<Value>> {
    let text = str::from_utf8(content).ok()?;
    let mut reader = Reader { text: text.as_bytes(), at: 0, found: Vec::new() };
    reader.value("", 0)?;
    reader.blank();
    (reader.at == text.len()).then_some(reader.found)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    found: Vec<Value>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at = self.at.saturating_add(1);
        }
    }

    fn take(&mut self, word: &[u8]) -> Option<()> {
        self.text.get(self.at..)?.starts_with(word).then_some(())?;
        self.at = self.at.saturating_add(word.len());
        Some(())
    }

    fn value(&mut self, pointer: &str, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        self.blank();
        let start = self.at;
        let (kind, range) = match self.peek()? {
            b'"' => (Kind::Text, self.string()?),
            b'-' | b'0'..=b'9' => {
                self.number()?;
                (Kind::Number, start..self.at)
            }
            other => {
                match other {
                    b'{' => self.object(pointer, depth.saturating_add(1))?,
                    b'[' => self.array(pointer, depth.saturating_add(1))?,
                    b't' => self.take(b"true")?,
                    b'f' => self.take(b"false")?,
                    b'n' => self.take(b"null")?,
                    _ => return None,
                }
                (Kind::Other, start..self.at)
            }
        };
        self.found.push(Value { pointer: pointer.to_owned(), kind, range });
        Some(())
    }

    fn object(&mut self, pointer: &str, depth: usize) -> Option<()> {
        self.take(b"{")?;
        let mut names = BTreeSet::new();
        self.blank();
        if self.peek()? == b'}' {
            return self.take(b"}");
        }
        loop {
            self.blank();
            let range = self.string()?;
            let from = range.start.checked_sub(1)?..range.end.checked_add(1)?;
            let name: String = serde_json::from_slice(self.text.get(from)?).ok()?;
            let below = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            names.insert(name).then_some(())?;
            self.blank();
            self.take(b":")?;
            self.value(&below, depth)?;
            self.blank();
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn array(&mut self, pointer: &str, depth: usize) -> Option<()> {
        self.take(b"[")?;
        self.blank();
        if self.peek()? == b']' {
            return self.take(b"]");
        }
        for index in 0_usize.. {
            self.value(&format!("{pointer}/{index}"), depth)?;
            self.blank();
            match self.next()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
        None
    }

    /// Gives what is between the quotation marks.
    fn string(&mut self) -> Option<Range<usize>> {
        self.take(b"\"")?;
        let start = self.at;
        loop {
            match self.next()? {
                b'"' => return Some(start..self.at.checked_sub(1)?),
                b'\\' => self.escape()?,
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => (0..4).try_for_each(|_| self.next()?.is_ascii_hexdigit().then_some(())),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
            self.at = self.at.saturating_add(1);
        }
        let text = self.text.get(start..self.at)?;
        serde_json::from_slice::<serde_json::Number>(text).ok().map(|_| ())
    }
}

/// The inside of a string that means `value` (RFC 8259, section 7).
pub(super) fn escaped(value: &str) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = Zeroizing::new(Vec::with_capacity(value.len().saturating_mul(6)));
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            0..0x20 | 0x7f => {
                out.extend(*b"\\u00");
                out.extend([digit(byte >> 4), digit(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out
}
