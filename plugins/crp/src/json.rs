//! A JSON reader that is stricter than JSON: what evidence needs and nothing more.
//!
//! Invariant: reads objects, arrays, strings of printable ASCII without escapes, and
//! whole numbers; no white space. Everything else, and anything after the value, is
//! refused. Duplicate members are refused by [`Reader::object`].

/// Not the JSON that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unexpected;

/// Walks over a text.
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { left: text }
    }

    /// An object: `member` is called with each name, once, and reads the value.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&'a str, &mut Self) -> Result<(), Unexpected>,
    ) -> Result<(), Unexpected> {
        let mut seen: Vec<&'a str> = Vec::new();
        self.literal(b'{')?;
        loop {
            let name = self.string()?;
            if seen.contains(&name) {
                return Err(Unexpected);
            }
            seen.push(name);
            self.literal(b':')?;
            member(name, self)?;
            if !self.another(b'}')? {
                return Ok(());
            }
        }
    }

    /// An array of one item or more.
    pub(crate) fn array(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Unexpected>,
    ) -> Result<(), Unexpected> {
        self.literal(b'[')?;
        loop {
            item(self)?;
            if !self.another(b']')? {
                return Ok(());
            }
        }
    }

    pub(crate) fn string(&mut self) -> Result<&'a str, Unexpected> {
        self.literal(b'"')?;
        let end = self.left.iter().position(|byte| *byte == b'"').ok_or(Unexpected)?;
        let (text, _) = self.left.split_at_checked(end).ok_or(Unexpected)?;
        self.left = self.left.get(end..).ok_or(Unexpected)?;
        self.literal(b'"')?;
        if text.iter().any(|byte| !(b' '..=b'~').contains(byte) || *byte == b'\\') {
            return Err(Unexpected);
        }
        str::from_utf8(text).map_err(|_| Unexpected)
    }

    /// A whole number without sign or leading zeros, at most nine digits.
    pub(crate) fn number(&mut self) -> Result<u32, Unexpected> {
        let digits =
            self.left.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.left.len());
        let (text, left) = self.left.split_at_checked(digits).ok_or(Unexpected)?;
        self.left = left;
        let text = str::from_utf8(text).map_err(|_| Unexpected)?;
        decimal(text).and_then(|number| u32::try_from(number).ok()).ok_or(Unexpected)
    }

    pub(crate) fn end(self) -> Result<(), Unexpected> {
        if self.left.is_empty() { Ok(()) } else { Err(Unexpected) }
    }

    fn another(&mut self, close: u8) -> Result<bool, Unexpected> {
        let (first, left) = self.left.split_first().ok_or(Unexpected)?;
        self.left = left;
        match *first {
            b',' => Ok(true),
            byte if byte == close => Ok(false),
            _ => Err(Unexpected),
        }
    }

    fn literal(&mut self, byte: u8) -> Result<(), Unexpected> {
        match self.left.split_first() {
            Some((first, left)) if *first == byte => {
                self.left = left;
                Ok(())
            }
            _ => Err(Unexpected),
        }
    }
}

/// A decimal number in its only form.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let canonical = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}
