//! Texts of cases: `${SOURCE ARGUMENT | FILTER | FILTER ARGUMENT}`.
//!
//! Owns where a value comes from and the encodings that attackers put it into. Knows nothing
//! of requests: it gives bytes. Invariant: a source that a profile does not have is
//! [`Error::Absent`], never an empty text, so that no case passes by sending nothing.

use crate::forms;
use crate::profile::{Credential, Profile};

/// Why a text has no bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The gateway under test has no such thing.
    #[error("the profile has no {0}")]
    Absent(String),
    /// The text is wrong.
    #[error("in ${{{0}}}: {1}")]
    Wrong(String, String),
}

/// What a text can name besides the profile.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// How the gateway is used.
    pub profile: &'a Profile,
    /// Finds the case again at the upstream.
    pub id: &'a str,
    /// The credential that the case uses.
    pub credential: &'a str,
    /// The request as the upstream got it, while an answer is made.
    pub request: Option<&'a [u8]>,
}

impl Scope<'_> {
    /// `text` with every `${…}` replaced.
    pub fn expand(&self, text: &str) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.extend_from_slice(before.as_bytes());
            let wrong = |why: &str| Error::Wrong(after.chars().take(40).collect(), why.to_owned());
            let (inside, after) = after.split_once('}').ok_or_else(|| wrong("expected }"))?;
            out.extend(self.value(inside)?);
            rest = after;
        }
        out.extend_from_slice(rest.as_bytes());
        Ok(out)
    }

    fn value(&self, inside: &str) -> Result<Vec<u8>, Error> {
        let mut parts = inside.split('|');
        let first = self.source(parts.next().unwrap_or_default().trim(), inside)?;
        parts.try_fold(first, |bytes, part| {
            let part = part.trim();
            let (verb, argument) = part.split_once(' ').unwrap_or((part, ""));
            // Puts the value behind what is there, so that both go through what follows.
            if verb == "secret" {
                return Ok(
                    [bytes.as_slice(), self.credential(argument)?.secret.as_bytes()].concat()
                );
            }
            forms::filter(bytes, verb, argument)
                .ok_or_else(|| Error::Wrong(inside.to_owned(), format!("no filter {part:?}")))
        })
    }

    fn source(&self, text: &str, inside: &str) -> Result<Vec<u8>, Error> {
        let (verb, argument) = text.split_once(' ').unwrap_or((text, ""));
        let profile = self.profile;
        let absent = || Error::Absent(text.to_owned());
        let wrong = |why: &str| Error::Wrong(inside.to_owned(), why.to_owned());
        let named =
            |value: &Option<String>| value.clone().ok_or_else(absent).map(String::into_bytes);
        Ok(match verb {
            "id" => self.id.as_bytes().to_vec(),
            "base" => self.credential(argument)?.path(profile).as_bytes().to_vec(),
            "path" => {
                let base = self.credential(argument)?.path(profile);
                format!("{base}/{}", self.id).into_bytes()
            }
            "authority" => profile.authority.clone().into_bytes(),
            "other" => named(&profile.other_authority)?,
            "elsewhere" => named(&profile.names.elsewhere)?,
            "foreign" => named(&profile.names.foreign)?,
            "unknown" => named(&profile.names.unknown)?,
            "redacted" => profile.redacted.clone().into_bytes(),
            "marker" => named(&profile.marker)?,
            "name" => self.credential(argument)?.name.clone().into_bytes(),
            "secret" => self.credential(argument)?.secret.clone().into_bytes(),
            "former" => named(&self.credential(argument)?.former)?,
            "rendered" => self.rendered(argument)?,
            "placeholder" => self.placeholder(&self.credential(argument)?.name)?,
            "placeholder-of" => self.placeholder(argument)?,
            "credential-header" => named(&profile.credential_header)?,
            "credential-line" => {
                let header = profile.credential_header.as_ref().ok_or_else(absent)?;
                format!("{header}: {}\r\n", self.credential(argument)?.name).into_bytes()
            }
            "caller" => profile.caller_lines()?,
            "caller-value" => profile.caller_field()?.1.into_bytes(),
            // A whole good request, to be hidden in another.
            "hidden" => {
                const HIDDEN: &str = "GET ${path}/hidden HTTP/1.1\r\nhost: ${authority}\r\n";
                let lines = self.expand("${caller}${credential-line}\r\n")?;
                [self.expand(HIDDEN)?, lines].concat()
            }
            // The same without a key, so that it may arrive as content.
            "inner" => self.expand("GET ${path} HTTP/1.1\r\nx: y\r\n\r\n")?,
            "key" => profile.caller.key()?.into_bytes(),
            "caller-header" => profile.caller.header.clone().into_bytes(),
            "site" => named(&self.credential(argument)?.header)?,
            "body-limit" => named(&profile.body_limit.map(|limit| limit.to_string()))?,
            "request" => self.request.ok_or_else(|| wrong("only in an answer"))?.to_vec(),
            "text" => argument.as_bytes().to_vec(),
            "byte" => {
                let hex: String = argument.split_whitespace().collect();
                forms::unhex(hex.as_bytes()).ok_or_else(|| wrong("expected hex digits"))?
            }
            "repeat" => {
                let (count, unit) =
                    argument.split_once(' ').ok_or_else(|| wrong("expected N TEXT"))?;
                let count = count.parse().map_err(|_| wrong("expected a number"))?;
                unit.repeat(count).into_bytes()
            }
            "over-limit" => {
                let limit = profile.body_limit.ok_or_else(absent)?;
                argument.repeat(limit.saturating_add(1)).into_bytes()
            }
            _ => return Err(wrong("no such source")),
        })
    }

    /// The credential called `role`, or the case's own.
    pub fn credential(&self, role: &str) -> Result<&Credential, Error> {
        let role = if role.is_empty() { self.credential } else { role };
        let found = self.profile.credentials.get(role);
        found.ok_or_else(|| Error::Absent(format!("credential {role:?}")))
    }

    /// What stands in the credential's field when it is injected.
    pub fn rendered(&self, role: &str) -> Result<Vec<u8>, Error> {
        let role = if role.is_empty() { self.credential } else { role };
        let credential = self.credential(role)?;
        let style = credential.rendered.as_ref();
        let style = style.ok_or_else(|| Error::Absent(format!("rendered value of {role:?}")))?;
        Scope { credential: role, ..*self }.expand(style)
    }

    fn placeholder(&self, name: &str) -> Result<Vec<u8>, Error> {
        let template = self.profile.placeholder.as_ref();
        let template = template.ok_or_else(|| Error::Absent("placeholder".into()))?;
        Ok(template.replace("{name}", name).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_filters_and_absent_parts() {
        let profile = crate::profile::sample();
        let scope = Scope { profile: &profile, id: "atk-1", credential: "main", request: None };
        let expand = |text| scope.expand(text).map(|bytes| String::from_utf8(bytes).unwrap());
        for (text, want) in [
            ("a ${path} b", "a /api/atk-1 b"),
            ("${placeholder}", "<CREDENTIAL:slack>"),
            ("${placeholder | percent}", "%3CCREDENTIAL%3Aslack%3E"),
            ("${rendered}", "Bearer s3cret/value+1"),
            ("${secret | first 3}${byte 21}", "s3c!"),
            ("${repeat 3 ab}", "ababab"),
            ("${caller}", "x-key: k1\r\n"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(want), "{text}");
        }
        assert_eq!(expand("${other}"), Err(Error::Absent("other".into())));
        assert_eq!(expand("${secret basic}"), Err(Error::Absent("credential \"basic\"".into())));
        for text in ["${nonsense}", "${secret | rot14}", "${secret", "${byte x}", "${request}"] {
            assert!(matches!(expand(text), Err(Error::Wrong(..))), "{text}");
        }
    }
}
