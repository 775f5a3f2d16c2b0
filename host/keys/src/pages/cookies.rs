//! Two cookies, both `__Host-`: a browser takes them from this origin alone, over TLS.
//!
//! Invariant: a name that comes twice is nobody's: one of the two was planted.

use crate::people::Token;

const SESSION: &str = "__Host-postern";
const VISIT: &str = "__Host-postern-visit";
const KEPT: &str = "; Path=/; Secure; HttpOnly; SameSite=Strict";

/// The cookies of a request.
pub(super) struct Cookies<'a> {
    session: Option<&'a str>,
    visit: Option<&'a str>,
}

impl<'a> Cookies<'a> {
    pub(super) fn read(fields: &[&'a str]) -> Self {
        let one = |name: &str| {
            let pairs = fields.iter().flat_map(|field| field.split(';'));
            let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
            let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
            let first = values.next()?;
            values.next().is_none().then_some(first)
        };
        Self { session: one(SESSION), visit: one(VISIT) }
    }

    pub(super) fn session(&self) -> Option<&'a str> {
        self.session
    }

    /// What stands for a browser that is not signed in.
    pub(super) fn visit(&self) -> Option<[u8; 32]> {
        self.visit.and_then(crate::people::browser)
    }
}

/// `Set-Cookie` of a session; the visit ends with it.
pub(super) fn session(token: &Token, seconds: u64) -> String {
    format!("{SESSION}={}; Max-Age={seconds}{KEPT}", token.text())
}

/// `Set-Cookie` of a visit.
pub(super) fn visit(token: &Token) -> String {
    format!("{VISIT}={}; Max-Age=900{KEPT}", token.text())
}

/// `Set-Cookie` that ends a session.
pub(super) fn no_session() -> String {
    format!("{SESSION}=; Max-Age=0{KEPT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_comes_twice_is_none() {
        let read = |fields: &[&'static str]| Cookies::read(fields).session();
        assert_eq!(read(&["a=1; __Host-postern=x; b=2"]), Some("x"));
        assert_eq!(read(&["__Host-postern=x; __Host-postern=y"]), None);
        assert_eq!(read(&["__Host-postern=x", "__Host-postern=x"]), None);
        assert_eq!(read(&["postern=x; __host-postern=y"]), None);
    }

    #[test]
    fn cookies_are_for_this_host_and_no_script() {
        let token = Token::draw().unwrap();
        for cookie in [session(&token, 60), visit(&token), no_session()] {
            assert!(cookie.starts_with("__Host-"));
            assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"));
        }
    }
}
