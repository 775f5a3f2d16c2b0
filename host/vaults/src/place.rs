//! Where a value is: `PATH#FIELD`.
//!
//! Invariant: a [`Path`] goes into a URL as it is: it has no character that would have to be
//! escaped, no empty segment and none that leads upwards.

use std::fmt;

/// Longest path, in bytes.
const LONGEST_PATH: usize = 512;
/// Longest name of a field, in bytes.
const LONGEST_FIELD: usize = 128;

/// What is not a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    /// No `#`.
    #[error("expected PATH#FIELD")]
    Shape,
    /// The path.
    #[error("expected a path of segments of A-Z a-z 0-9 - _ . with / between, 512 bytes at most")]
    Path,
    /// The field.
    #[error("expected a field of 1 to 128 bytes without control characters and #")]
    Field,
}

/// Segments with `/` between: of a secret, a mount or a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path(String);

impl Path {
    /// Takes a path.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(text: &str) -> Result<Self, BadPlace> {
        let good = |segment: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !matches!(segment, "" | "." | "..") && segment.bytes().all(known)
        };
        match text.len() <= LONGEST_PATH && text.split('/').all(good) {
            true => Ok(Self(text.to_owned())),
            false => Err(BadPlace::Path),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A field of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    path: Path,
    field: String,
}

impl Place {
    /// Takes `PATH#FIELD`.
    ///
    /// # Errors
    /// When a part is not one.
    pub fn parse(text: &str) -> Result<Self, BadPlace> {
        let (path, field) = text.split_once('#').ok_or(BadPlace::Shape)?;
        let odd = |c: char| c.is_control() || c == '#';
        if field.is_empty() || field.len() > LONGEST_FIELD || field.contains(odd) {
            return Err(BadPlace::Field);
        }
        Ok(Self { path: Path::parse(path)?, field: field.to_owned() })
    }

    /// Of the secret.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// In the secret.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.path, self.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_path_and_a_field_and_nothing_that_a_url_reads_otherwise() {
        let long = format!("{}#key", "a".repeat(513));
        let field = format!("a#{}", "f".repeat(129));
        for (text, want) in [
            ("payments/stripe#api_key", Ok(())),
            ("a.b-c_d#api key", Ok(())),
            ("payments/stripe", Err(BadPlace::Shape)),
            ("#key", Err(BadPlace::Path)),
            ("/a#key", Err(BadPlace::Path)),
            ("a//b#key", Err(BadPlace::Path)),
            ("a/#key", Err(BadPlace::Path)),
            ("a/../b#key", Err(BadPlace::Path)),
            ("./a#key", Err(BadPlace::Path)),
            ("a%2e#key", Err(BadPlace::Path)),
            ("a?version=1#key", Err(BadPlace::Path)),
            ("a b#key", Err(BadPlace::Path)),
            ("é#key", Err(BadPlace::Path)),
            (&long, Err(BadPlace::Path)),
            ("a#", Err(BadPlace::Field)),
            ("a#b#c", Err(BadPlace::Field)),
            ("a#b\n", Err(BadPlace::Field)),
            (&field, Err(BadPlace::Field)),
        ] {
            let got = Place::parse(text).map(|place| assert_eq!(place.to_string(), text));
            assert_eq!(got, want, "{text}");
        }
    }
}
