//! Registering a passkey by a link.
//!
//! The code is in the part of the link that browsers do not send; the script puts it into the
//! form. It can be typed as well.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use maud::{Markup, html};

use super::form::Form;
use super::signing_in::visit;
use super::{Asked, Page, cookies, layout, status, told, visible};
use crate::fault::Fault;
use crate::people::challenge::{Given, Purpose};
use crate::people::{Person, Refusal, Token};
use crate::service::Service;
use crate::store::passkeys::Passkey;

impl Service {
    pub(super) fn page_for_code(&self, asked: &Asked<'_>) -> Result<Page, Fault> {
        self.ask_for_code(asked, 200, None)
    }

    fn ask_for_code(
        &self,
        asked: &Asked<'_>,
        status: u16,
        text: Option<&str>,
    ) -> Result<Page, Fault> {
        let (visit, cookie) = visit(asked)?;
        let main = html! {
            (layout::notice(text))
            p { "An administrator gave you a link or a code. It is good once, for a short time." }
            form.card method="post" action="/.postern/register" data-code="" {
                input type="hidden" name="form" value=(self.form_token(&visit));
                label for="code" { "Registration code" }
                input #code name="code" type="text" required autocomplete="off" autocapitalize="off"
                    spellcheck="false";
                button.main type="submit" { "Continue" }
            }
        };
        let page = Page::html(status, layout::page("Register a passkey", None, main));
        Ok(with_visit(page, cookie.as_ref()))
    }

    pub(super) async fn read_code_page(&self, asked: &Asked<'_>) -> Result<Page, Fault> {
        let Some((form, visit)) = self.visitors_form(asked) else {
            let text = "This page was open for too long, or cookies are off. Try again.";
            return self.ask_for_code(asked, 403, Some(text));
        };
        let code = form.text("code");
        let person = match self.read_code(code, asked.source, asked.now).await? {
            Ok(person) => person,
            Err(refusal) => {
                return self.ask_for_code(asked, status(refusal), Some(not_accepted(refusal)));
            }
        };
        let given = Given::new(&self.inner.rows, Purpose::Register, &visit, asked.now);
        let known = self.passkeys(&person.handle).await?;
        let main = html! {
            p { "You are about to decide what agents may do, as" }
            dl.facts {
                dt { "Person" } dd { (visible::name(&person.name)) }
                dt { "Organisation" } dd { (visible::name(&person.organisation)) }
                dt { "Tenant" } dd { (visible::name(&person.tenant)) }
            }
            p { "If this is not you, close the page." }
            form.card method="post" action="/.postern/register/passkey" data-passkey="create" {
                input type="hidden" name="form" value=(self.form_token(&visit));
                input type="hidden" name="code" value=(code);
                (making(&given, self.site(), &person, &known))
                button.main type="submit" { "Register a passkey" }
            }
        };
        Ok(Page::html(200, layout::page("Register a passkey", None, main)))
    }

    pub(super) async fn register_page(&self, asked: &Asked<'_>) -> Result<Page, Fault> {
        let read = self.visitors_form(asked);
        let read = read.and_then(|(form, visit)| form.attestation().map(|it| (form, visit, it)));
        let Some((form, visit, answer)) = read else {
            return self.ask_for_code(asked, 403, Some(told(Refusal::NoGood)));
        };
        let (code, label) = (form.text("code"), form.text("label"));
        let browser = (&visit, form.ends());
        let answer = (label, answer);
        let added = self.register_by_code(code, browser, answer, asked.source, asked.now).await?;
        if let Err(refusal) = added {
            return self.ask_for_code(asked, status(refusal), Some(not_accepted(refusal)));
        }
        let main = html! {
            p { "This passkey is yours now. Register a second one after signing in: it lets you in \
                 when this one is lost." }
            p { a.button href="/.postern/sign-in" { "Sign in" } }
        };
        Ok(Page::html(200, layout::page("Passkey registered", None, main)))
    }

    /// A form that this visitor was given.
    fn visitors_form(&self, asked: &Asked<'_>) -> Option<(Form, [u8; 32])> {
        let (form, visit) = (Form::read(asked.request.body)?, asked.cookies.visit()?);
        self.form_holds(&visit, form.token()).then_some((form, visit))
    }
}

fn not_accepted(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoGood => "This code is not good, or not any more. Ask for another link.",
        other => told(other),
    }
}

fn with_visit(page: Page, cookie: Option<&Token>) -> Page {
    match cookie {
        Some(cookie) => page.with("set-cookie", cookies::visit(cookie)),
        None => page,
    }
}

/// The fields by which a passkey is made, and those that it comes in.
pub(super) fn making(given: &Given, site: &str, person: &Person, known: &[Passkey]) -> Markup {
    let known: Vec<String> = known.iter().map(|passkey| B64.encode(&passkey.credential)).collect();
    html! {
        label for="label" { "What to call it" }
        input #label name="label" type="text" maxlength="40" autocomplete="off" placeholder="my phone";
        input type="hidden" name="ends" value=(given.ends.0);
        input type="hidden" data-challenge=(B64.encode(given.challenge)) data-site=(site)
            data-handle=(B64.encode(person.handle)) data-person=(person.name)
            data-known=(known.join(" "));
        @for name in ["client-data", "attestation"] { input type="hidden" name=(name); }
        p.trouble role="alert" hidden {}
        noscript { p.notice { "Passkeys need JavaScript. There is one small script, from this site." } }
    }
}
