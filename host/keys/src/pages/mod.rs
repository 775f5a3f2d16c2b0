//! The pages on which people decide: `/.postern/…`.
//!
//! Rendered here, as plain HTML and forms. One script, from this origin, talks to the
//! authenticator and says when something has changed; one style sheet. `maud` makes the HTML:
//! a page is a function of its data, checked when it is compiled, and what is not markup in the
//! source is escaped; of the template crates it brings the least along.
//!
//! Invariant: a page that shows or does something asks for a [`SignedIn`]; whatever changes
//! something came by POST, from a page of this origin (`Origin`), in a form that this browser
//! was given. No answer can be framed, nor run or load anything from elsewhere.

mod account;
mod cookies;
mod files;
mod form;
mod inbox;
mod layout;
mod log;
mod registering;
mod request;
mod signing_in;
#[cfg(test)]
pub(crate) mod tests;
mod visible;

use std::net::IpAddr;

use maud::Markup;
use postern_core::time::UnixMillis;

use crate::fault::Fault;
use crate::pages::cookies::Cookies;
use crate::pages::form::Form;
use crate::people::attempts::Source;
use crate::people::{Refusal, SignedIn};
use crate::service::{Service, unavailable};

/// What all pages are below.
pub(crate) const ROOT: &str = "/.postern/";

/// Of whatever kind: nothing is run, loaded or framed but what is from here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";
const PERMISSIONS: &str = "publickey-credentials-get=(self), publickey-credentials-create=(self), \
    camera=(), geolocation=(), microphone=(), payment=(), usb=()";

/// A request for a page, as read.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    /// All `Cookie` fields.
    pub(crate) cookies: Vec<&'a str>,
    /// `Origin`, where there is exactly one.
    pub(crate) origin: Option<&'a str>,
    /// `Sec-Fetch-Site`, where there is exactly one.
    pub(crate) site: Option<&'a str>,
    pub(crate) body: &'a [u8],
    /// Who is connected.
    pub(crate) peer: Option<IpAddr>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Page {
    fn html(status: u16, markup: Markup) -> Self {
        Self::of(status, "text/html; charset=utf-8", markup.into_string().into_bytes())
    }

    fn of(status: u16, kind: &str, body: Vec<u8>) -> Self {
        let fixed = [
            ("content-type", kind),
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            // With no-referrer, browsers say of our own forms that they come from "null".
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("permissions-policy", PERMISSIONS),
            ("strict-transport-security", "max-age=31536000"),
        ];
        let fields = fixed.map(|(name, value)| (name, value.to_owned())).to_vec();
        Self { status, fields, body }
    }

    /// Go there, with GET.
    fn see(path: &str) -> Self {
        Self::of(303, "text/plain", Vec::new()).with("location", path.to_owned())
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.fields.push((name, value));
        self
    }
}

/// What a page is made from.
struct Asked<'a> {
    request: &'a Request<'a>,
    cookies: Cookies<'a>,
    source: Source,
    now: UnixMillis,
}

impl Service {
    /// Answers a request below [`ROOT`].
    pub(crate) async fn page(&self, request: &Request<'_>, now: UnixMillis) -> Page {
        let Some(people) = &self.inner.people else { return layout::missing(None) };
        let asked = Asked {
            cookies: Cookies::read(&request.cookies),
            source: Source::of(request.peer),
            request,
            now,
        };
        let posted = request.method == "POST";
        if posted && request.origin != Some(people.settings.origin.as_str()) {
            return layout::refused(403, None, "This did not come from one of these pages.");
        }
        match self.paged(&asked).await {
            Ok(page) => page,
            Err(fault) => {
                unavailable(&fault);
                layout::refused(503, None, "This cannot be answered now. Try again in a moment.")
            }
        }
    }

    async fn paged(&self, asked: &Asked<'_>) -> Result<Page, Fault> {
        let request = asked.request;
        let path = request.path.strip_prefix(ROOT).unwrap_or_default();
        match (request.method, path) {
            ("GET", "static/page.css") => return Ok(files::style()),
            ("GET", "static/page.js") => return Ok(files::script()),
            ("GET", "register") => return self.page_for_code(asked),
            ("POST", "register") => return self.read_code_page(asked).await,
            ("POST", "register/passkey") => return self.register_page(asked).await,
            ("POST", "sign-in") => return self.sign_in_page(asked).await,
            _ => {}
        }
        let who = match asked.cookies.session() {
            // A page that asks whether something has changed is not a person who looks.
            Some(token) => {
                let looks = path != "live" && request.query != "live";
                self.signed_in(token, looks, asked.now).await?
            }
            None => None,
        };
        match (who, request.method, path) {
            (who, "GET", "sign-in") => self.page_to_sign_in(asked, who.as_ref()),
            (None, "GET", "live") => Ok(Page::of(401, "application/json", b"{}".to_vec())),
            (Some(who), method, path) => self.own_page(asked, &who, (method, path)).await,
            // A link from elsewhere comes without the strict cookie; from here it has it.
            (None, "GET", _) if request.site == Some("cross-site") => Ok(layout::stepping_stone()),
            (None, "GET", path) => Ok(Page::see(&signing_in::path_for(path))),
            (None, ..) => Ok(Page::see("/.postern/sign-in")),
        }
    }

    /// Pages of somebody who is signed in.
    async fn own_page(
        &self,
        asked: &Asked<'_>,
        who: &SignedIn,
        (method, path): (&str, &str),
    ) -> Result<Page, Fault> {
        if method == "GET" {
            return match path {
                "" if !who.person().decides => Ok(Page::see("/.postern/log")),
                "" => Ok(Page::see("/.postern/inbox")),
                "log" => self.log_page(asked, who).await,
                "inbox" => self.inbox_page(asked, who).await,
                "history" => self.history_page(asked, who).await,
                "live" => self.live_state(asked, who).await,
                "account" => self.account_page(asked, who, None).await,
                other => match other.split_once('/') {
                    Some(("approvals", id)) => self.request_page(asked, who, id).await,
                    Some(("log", n)) => self.event_page(asked, who, n).await,
                    _ => Ok(layout::missing(Some(who))),
                },
            };
        }
        let form = Form::read(asked.request.body);
        let Some(form) = form.filter(|form| self.form_holds(who.browser(), form.token())) else {
            let text = "This form is not one that you were given, or too old. Load the page again.";
            return Ok(layout::refused(403, Some(who), text));
        };
        match path {
            "sign-out" => self.sign_out_page(asked, who, &form).await,
            "account/passkey" => self.add_passkey_page(asked, who, &form).await,
            "account/remove" => self.remove_passkey_page(asked, who, &form).await,
            other => match other.strip_prefix("approvals/") {
                Some(id) => self.decide_page(asked, who, id, &form).await,
                None => Ok(layout::missing(Some(who))),
            },
        }
    }
}

/// What a person is told.
fn told(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Often => "Too many attempts. Try again in a minute.",
        Refusal::NoGood => "That was not accepted. Try again.",
        Refusal::Copied => {
            "This passkey was not accepted: it may have been copied. Tell an administrator."
        }
        Refusal::Stale => "Sign in again first: passkeys change only right after signing in.",
        Refusal::Count => "A person has one passkey at least and ten at most.",
    }
}

/// The status that goes with it.
fn status(refusal: Refusal) -> u16 {
    match refusal {
        Refusal::Often => 429,
        Refusal::Count => 409,
        Refusal::NoGood | Refusal::Copied | Refusal::Stale => 403,
    }
}
