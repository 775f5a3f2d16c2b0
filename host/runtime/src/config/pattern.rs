//! Regular expressions as Envoy means them: the syntax of RE2, matched in linear time.
//!
//! Invariant: an expression means here what it means in RE2, or it is a problem. The two
//! differ in what `\d`, `\w`, `\s` and `\b` are outside of ASCII and in what stands inside of
//! brackets, so the former are spelled out and the latter is refused.

use regex::bytes::{Regex, RegexBuilder};

use super::read::Table;

/// Length of an expression at most.
const LONGEST: usize = 1024;
/// Bytes of a compiled expression at most.
const LARGEST: usize = 256 * 1024;

/// An expression, compiled.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// One that has to match all of a text.
    pub fn whole(text: &str) -> Result<Self, String> {
        Self::compiled(text, |spelled| format!(r"\A(?:{spelled})\z"))
    }

    /// One that is looked for in a text.
    pub fn anywhere(text: &str) -> Result<Self, String> {
        Self::compiled(text, |spelled| spelled)
    }

    fn compiled(text: &str, framed: impl Fn(String) -> String) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("expected an expression of at most {LONGEST} bytes"));
        }
        // By itself first: a parenthesis too many must not end the group round it.
        let spelled = spelled_out(text)?;
        let build = |text: &str| RegexBuilder::new(text).size_limit(LARGEST).build();
        let regex = build(&spelled).and_then(|_| build(&framed(spelled)));
        let regex = regex.map_err(|error| format!("expected an expression of RE2: {error}"))?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it fits.
    pub fn fits(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// Every match replaced; groups in the replacement are as `regex` writes them.
    pub(crate) fn replaced(&self, text: &[u8], with: &str) -> Vec<u8> {
        self.regex.replace_all(text, with.as_bytes()).into_owned()
    }

    /// Groups of the expression.
    pub(super) fn groups(&self) -> usize {
        self.regex.captures_len().saturating_sub(1)
    }

    /// Reads a `RegexMatcher`.
    pub(super) fn read(
        mut table: Table<'_, '_>,
        compile: fn(&str) -> Result<Self, String>,
    ) -> Option<Self> {
        let text = table.need_text("regex");
        let at = table.get("regex");
        let pattern = text.and_then(|text| match compile(&text) {
            Ok(pattern) => Some(pattern),
            Err(problem) => {
                at.iter().for_each(|at| table.report.problem(at, problem.as_str()));
                None
            }
        });
        table.done();
        pattern
    }
}

/// The same expression with the classes of RE2 in words that mean ASCII here as well.
fn spelled_out(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    let mut bracket: Option<usize> = None;
    while let Some(character) = characters.next() {
        if let Some(since) = &mut bracket {
            *since += 1;
        }
        match (character, bracket) {
            ('\\', _) => {
                let escaped = characters.next().ok_or("expected no \\ at the end")?;
                out.push_str(&escape(escaped, bracket.is_some())?);
            }
            ('[', None) => {
                bracket = Some(0);
                out.push('[');
                if characters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                if characters.next_if_eq(&']').is_some() {
                    out.push_str(r"\]");
                }
            }
            ('[', Some(_)) if characters.peek() == Some(&':') => {
                out.push_str(&named_class(&mut characters)?);
            }
            ('[', Some(_)) => return Err(r"expected \[ inside of brackets".to_owned()),
            ('&' | '~' | '-', Some(_)) if characters.peek() == Some(&character) => {
                return Err(format!("expected no {character}{character} inside of brackets"));
            }
            (']', Some(_)) => {
                bracket = None;
                out.push(']');
            }
            (other, _) => out.push(other),
        }
    }
    Ok(out)
}

/// What follows a backslash.
fn escape(character: char, in_brackets: bool) -> Result<String, String> {
    Ok(match character {
        'd' => "[0-9]".to_owned(),
        'D' => "[^0-9]".to_owned(),
        'w' => "[0-9A-Za-z_]".to_owned(),
        'W' => "[^0-9A-Za-z_]".to_owned(),
        's' => r"[\t\n\f\r ]".to_owned(),
        'S' => r"[^\t\n\f\r ]".to_owned(),
        'b' | 'B' if !in_brackets => format!(r"(?-u:\{character})"),
        'C' | 'Q' | 'E' | 'u' | 'U' | '<' | '>' | 'b' | 'B' => {
            return Err(format!(r"expected no \{character}"));
        }
        other => format!("\\{other}"),
    })
}

/// `[:alpha:]`, of which `[` has been taken.
fn named_class(
    characters: &mut std::iter::Peekable<std::str::Chars<'_>>,
) -> Result<String, String> {
    let mut name = String::from("[");
    for character in characters.by_ref() {
        name.push(character);
        if name.ends_with(":]") && name.len() > 3 {
            return Ok(name);
        }
    }
    Err("expected :] after [:".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_has_to_match_all_of_a_text() {
        for (pattern, text, want) in [
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("a|bc", "abc", false),
            (r"/\d+", "/12", true),
            (r"/\d+", "/\u{661}", false),
            (r"\w+", "caf\u{e9}", false),
            (r"[\w.]+", "a.b", true),
            (r"[^\d]+", "a\u{661}", true),
            (r"\Sx\s", "ax ", true),
            ("[[:alpha:]_]+", "a_b", true),
            ("[]a]+", "]a]", true),
            ("[^]a]+", "b]", false),
            (r"a\.b", "a.b", true),
            (r"a\.b", "axb", false),
            ("(?i)A.C", "abc", true),
            (r".*\bx\b.*", "\u{e9}x", true),
            ("a.c", "a\nc", false),
            ("[a-]", "-", true),
        ] {
            let fits = Pattern::whole(pattern).unwrap().fits(text.as_bytes());
            assert_eq!(fits, want, "{pattern} {text}");
        }
    }

    #[test]
    fn what_re2_does_not_know_or_means_otherwise_is_refused() {
        let long = "a".repeat(LONGEST + 1);
        for bad in [
            "(",
            ")",
            "a)(b",
            "[a",
            r"a\",
            "[a[b]",
            "[a&&b]",
            "[a--b]",
            "[a~~b]",
            r"\Cx",
            r"(a)\1",
            "(?=a)",
            "[[:alpha",
            r"[\b]",
            "(?:a{1000}){1000}",
            &long,
        ] {
            assert!(Pattern::whole(bad).is_err(), "{bad}");
        }
    }
}
