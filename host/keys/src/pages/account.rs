//! One's own passkeys and sessions.

use maud::{Markup, html};

use super::form::Form;
use super::registering::making;
use super::{Asked, Page, layout, status, told, visible};
use crate::fault::Fault;
use crate::people::challenge::{Given, Purpose};
use crate::people::{Refusal, SignedIn, passkey_name};
use crate::service::Service;
use crate::store::passkeys::Passkey;

impl Service {
    pub(super) async fn account_page(
        &self,
        asked: &Asked<'_>,
        who: &SignedIn,
        refusal: Option<Refusal>,
    ) -> Result<Page, Fault> {
        let person = who.person();
        let passkeys = self.passkeys(&person.handle).await?;
        let sessions = self.session_count(who, asked.now).await?;
        let token = self.form_token(who.browser());
        let fresh = who.is_fresh(asked.now);
        let given = Given::new(&self.inner.rows, Purpose::Register, who.browser(), asked.now);
        let main = html! {
            (layout::notice(refusal.map(told)))
            dl.facts {
                dt { "Person" } dd { (visible::name(&person.name)) }
                dt { "Organisation" } dd { (visible::name(&person.organisation)) }
                dt { "Decides for" }
                dd {
                    @if !person.decides { "nobody: reads the log" }
                    @else if person.platform { "every organisation" }
                    @else { "this organisation" }
                }
            }
            h2 { "Passkeys" }
            ul.list { @for passkey in &passkeys { (listed(passkey, &token, fresh && passkeys.len() > 1)) } }
            @if fresh {
                h3 { "Add another" }
                form.card method="post" action="/.postern/account/passkey" data-passkey="create" {
                    input type="hidden" name="form" value=(token);
                    (making(&given, self.site(), person, &passkeys))
                    button type="submit" { "Add a passkey" }
                }
            } @else {
                p { a.button href="/.postern/sign-in?again" { "Sign in again to change passkeys" } }
            }
            h2 { "Sessions" }
            p { "Signed in at " (sessions) @if sessions == 1 { " place." } @else { " places." } }
            form method="post" action="/.postern/sign-out" {
                input type="hidden" name="form" value=(token);
                input type="hidden" name="everywhere" value="yes";
                button type="submit" { "Sign out everywhere" }
            }
        };
        let markup = layout::page("Account", Some((who, &token)), main);
        Ok(Page::html(refusal.map_or(200, status), markup))
    }

    pub(super) async fn add_passkey_page(
        &self,
        asked: &Asked<'_>,
        who: &SignedIn,
        form: &Form,
    ) -> Result<Page, Fault> {
        let Some(answer) = form.attestation() else {
            return self.account_page(asked, who, Some(Refusal::NoGood)).await;
        };
        let answer = (form.text("label"), answer);
        match self.add_another(who, form.ends(), answer, asked.now).await? {
            Ok(()) => Ok(Page::see("/.postern/account")),
            Err(refusal) => self.account_page(asked, who, Some(refusal)).await,
        }
    }

    pub(super) async fn remove_passkey_page(
        &self,
        asked: &Asked<'_>,
        who: &SignedIn,
        form: &Form,
    ) -> Result<Page, Fault> {
        match self.remove_own(who, form.text("passkey"), asked.now).await? {
            Ok(()) => Ok(Page::see("/.postern/account")),
            Err(refusal) => self.account_page(asked, who, Some(refusal)).await,
        }
    }
}

fn listed(passkey: &Passkey, token: &str, removable: bool) -> Markup {
    let name = passkey_name(&passkey.credential);
    html! {
        li.row {
            div {
                strong { (visible::name(&passkey.label)) }
                p.small { code { (name) } }
            }
            @if removable {
                form method="post" action="/.postern/account/remove" {
                    input type="hidden" name="form" value=(token);
                    input type="hidden" name="passkey" value=(name);
                    button.quiet type="submit" aria-label=(format!("Remove passkey {name}")) { "Remove" }
                }
            }
        }
    }
}
