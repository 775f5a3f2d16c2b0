//! Header fields as a host delivers them: bytes, in order, pseudo-fields first.

/// One field line. The name is lower case; the value is any bytes the codec let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Lower-case name, or a pseudo-field such as `:path` (RFC 9113 8.3).
    pub name: Vec<u8>,
    /// The value, without interpretation.
    pub value: Vec<u8>,
}

/// A header or trailer section (RFC 9110 6.3, 6.5), in order of arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<Field>);

impl Fields {
    /// Every value of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| field.value.as_slice())
    }

    /// The value of `name` when there is exactly one line of it.
    pub fn only<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { None } else { first }
    }

    /// Whether they say that the content is a form (URL standard, 5), on any line.
    pub fn announce_form(&self) -> bool {
        let form = b"application/x-www-form-urlencoded";
        let mut types = self.all("content-type").flat_map(|line| line.split(|b| *b == b','));
        types.any(|value| {
            let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
            kind.trim_ascii().eq_ignore_ascii_case(form)
        })
    }

    /// Whether at least one line has this name.
    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }
}

impl Fields {
    /// Gives the first line of `name` another value; a new line goes to the front.
    pub fn put(&mut self, name: &str, value: &[u8]) {
        let line = self.0.iter_mut().find(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
        match line {
            Some(line) => line.value = value.to_vec(),
            None => self.0.insert(0, Field { name: name.into(), value: value.to_vec() }),
        }
    }
}

impl<N: Into<Vec<u8>>, V: Into<Vec<u8>>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(lines: I) -> Self {
        let field = |(name, value): (N, V)| Field { name: name.into(), value: value.into() };
        Self(lines.into_iter().map(field).collect())
    }
}
