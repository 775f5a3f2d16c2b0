//! Error text that is safe to log: one line, no control characters, at most
//! [`Redacted::LIMIT`] characters.

use std::fmt;

/// Text cut at 200 characters with control characters and markup replaced.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted(String);

impl Redacted {
    /// Most characters that are kept.
    pub const LIMIT: usize = 200;

    /// Cleans and cuts `text`. Runs of more than 20 characters of the alphabets
    /// that keys and tokens are written in become `[redacted]`.
    pub fn new(text: &str) -> Self {
        let mut kept = String::new();
        for word in text.split_inclusive(|c: char| !is_token_character(c)) {
            let body = word.trim_end_matches(|c: char| !is_token_character(c));
            if body.len() > 20 && body.bytes().any(|b| b.is_ascii_digit()) {
                kept.push_str("[redacted]");
                kept.extend(word.chars().skip(body.chars().count()).map(printable));
            } else {
                kept.extend(word.chars().map(printable));
            }
        }
        Self(kept.chars().take(Self::LIMIT).collect())
    }

    /// The cleaned text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_token_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '/' | '=')
}

fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Redacted;

    #[test]
    fn long_text_is_cut_at_200_characters() {
        assert_eq!(Redacted::new(&"é ".repeat(300)).as_str().chars().count(), 200);
    }

    #[test]
    fn token_like_words_are_replaced() {
        assert_eq!(
            Redacted::new("bad key pk_0123456789abcdefghijklm, sorry\n").as_str(),
            "bad key [redacted], sorry "
        );
    }
}
