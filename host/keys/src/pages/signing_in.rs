//! Signing in and out.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use maud::{Markup, html};

use super::form::Form;
use super::{Asked, Page, cookies, layout, status, told};
use crate::fault::Fault;
use crate::people::challenge::{Given, Purpose};
use crate::people::{Refusal, SignedIn, Token};
use crate::service::Service;

/// Where to sign in on the way to `path`.
pub(super) fn path_for(path: &str) -> String {
    match destination(path) {
        Some(_) => format!("/.postern/sign-in?to={path}"),
        None => "/.postern/sign-in".to_owned(),
    }
}

/// Where somebody may be sent after signing in: pages that show, by their exact names.
fn destination(path: &str) -> Option<String> {
    let known = ["inbox", "history", "account", "log"].contains(&path)
        || path.strip_prefix("approvals/").is_some_and(|id| {
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        });
    known.then(|| format!("/.postern/{path}"))
}

impl Service {
    pub(super) fn page_to_sign_in(
        &self,
        asked: &Asked<'_>,
        who: Option<&SignedIn>,
    ) -> Result<Page, Fault> {
        let to = asked.request.query.strip_prefix("to=").unwrap_or_default();
        if who.is_some() && !asked.request.query.contains("again") {
            return Ok(Page::see(&destination(to).unwrap_or_else(|| "/.postern/".to_owned())));
        }
        self.offer_to_sign_in(asked, 200, to, None)
    }

    fn offer_to_sign_in(
        &self,
        asked: &Asked<'_>,
        status: u16,
        to: &str,
        text: Option<&str>,
    ) -> Result<Page, Fault> {
        let (visit, cookie) = visit(asked)?;
        let given = Given::new(&self.inner.rows, Purpose::SignIn, &visit, asked.now);
        let main = html! {
            (layout::notice(text))
            p { "Use the passkey that you registered for this site. There is no password." }
            form.card method="post" action="/.postern/sign-in" data-passkey="get" {
                input type="hidden" name="form" value=(self.form_token(&visit));
                input type="hidden" name="to" value=(to);
                (asking(&given, self.site()))
                button.main type="submit" { "Sign in with a passkey" }
            }
            p.small {
                "No passkey, or it is lost? Ask your administrator for a registration link."
            }
        };
        let page = Page::html(status, layout::page("Sign in", None, main));
        Ok(match cookie {
            Some(cookie) => page.with("set-cookie", cookies::visit(&cookie)),
            None => page,
        })
    }

    /// What browsers know this site by.
    pub(super) fn site(&self) -> &str {
        self.inner.people.as_ref().map_or("", |people| people.site.id())
    }

    pub(super) async fn sign_in_page(&self, asked: &Asked<'_>) -> Result<Page, Fault> {
        let form = Form::read(asked.request.body);
        let read = form.as_ref().and_then(|form| {
            let visit = asked.cookies.visit()?;
            self.form_holds(&visit, form.token()).then_some((form, visit))
        });
        let Some((form, visit)) = read else {
            let text = "This page was open for too long, or cookies are off. Try again.";
            return self.offer_to_sign_in(asked, 403, "", Some(text));
        };
        let signed_in = match form.assertion() {
            Some(answer) => {
                self.sign_in((&visit, form.ends()), answer, asked.source, asked.now).await?
            }
            None => Err(Refusal::NoGood),
        };
        match signed_in {
            Ok(token) => Ok(self.signed_in_page(&token, form.text("to"))),
            Err(refusal) => {
                let text = told(refusal);
                self.offer_to_sign_in(asked, status(refusal), form.text("to"), Some(text))
            }
        }
    }

    fn signed_in_page(&self, token: &Token, to: &str) -> Page {
        let life = self.inner.people.as_ref().map_or(0, |people| people.settings.session.as_secs());
        let to = destination(to).unwrap_or_else(|| "/.postern/".to_owned());
        Page::see(&to).with("set-cookie", cookies::session(token, life))
    }

    pub(super) async fn sign_out_page(
        &self,
        asked: &Asked<'_>,
        who: &SignedIn,
        form: &Form,
    ) -> Result<Page, Fault> {
        self.sign_out(who, form.text("everywhere") == "yes", asked.now).await?;
        let page = Page::see("/.postern/sign-in").with("set-cookie", cookies::no_session());
        Ok(page.with("clear-site-data", "\"cache\", \"storage\"".to_owned()))
    }
}

/// What stands for this browser, and the cookie to set where it is new.
pub(super) fn visit(asked: &Asked<'_>) -> Result<([u8; 32], Option<Token>), Fault> {
    if let Some(visit) = asked.cookies.visit() {
        return Ok((visit, None));
    }
    let token = Token::draw()?;
    let visit = crate::people::browser(token.text()).ok_or(Fault::Malformed("visit"))?;
    Ok((visit, Some(token)))
}

/// The fields by which a passkey is asked for, and those that its answer comes in.
pub(super) fn asking(given: &Given, site: &str) -> Markup {
    html! {
        input type="hidden" name="ends" value=(given.ends.0);
        (answering(&B64.encode(given.challenge), site, ""))
    }
}

/// The same without an end: for a request, whose challenge is its own. `known` names the
/// passkeys that will do; empty is any.
pub(super) fn answering(challenge: &str, site: &str, known: &str) -> Markup {
    html! {
        input type="hidden" data-challenge=(challenge) data-site=(site) data-known=(known);
        @for name in ["credential", "client-data", "authenticator-data", "signature", "user-handle"] {
            input type="hidden" name=(name);
        }
        p.trouble role="alert" hidden {}
        noscript { p.notice { "Passkeys need JavaScript. There is one small script, from this site." } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(destination("inbox").as_deref(), Some("/.postern/inbox"));
        assert!(destination(&format!("approvals/{id}")).is_some());
        for path in
            ["", "//evil.example", "/inbox", "inbox/", "approvals/../x", "sign-out", "inbox?a"]
        {
            assert_eq!(destination(path), None, "{path}");
        }
    }
}
