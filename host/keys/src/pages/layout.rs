//! What every page has, and the pages that say no.

use maud::{DOCTYPE, Markup, html};

use super::{Page, visible};
use crate::people::SignedIn;

/// A whole page. `who` gives it a menu.
pub(super) fn page(title: &str, who: Option<(&SignedIn, &str)>, main: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Postern" }
                link rel="stylesheet" href="/.postern/static/page.css";
                script src="/.postern/static/page.js" defer {}
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header {
                    p.brand { "Postern" }
                    @if let Some((who, token)) = who { (menu(who, token)) }
                }
                main #main tabindex="-1" {
                    h1 { (title) }
                    (main)
                }
            }
        }
    }
}

fn menu(who: &SignedIn, token: &str) -> Markup {
    html! {
        nav aria-label="Pages" {
            @if who.person().decides {
                a href="/.postern/inbox" { "Inbox" }
                a href="/.postern/history" { "History" }
            }
            @if who.person().audits { a href="/.postern/log" { "Log" } }
            a href="/.postern/account" { "Account" }
        }
        form.out method="post" action="/.postern/sign-out" {
            input type="hidden" name="form" value=(token);
            span.who { (visible::name(&who.person().name)) }
            button.quiet type="submit" { "Sign out" }
        }
    }
}

/// Something went wrong, in a sentence.
pub(super) fn notice(text: Option<&str>) -> Markup {
    html! { @if let Some(text) = text { p.notice role="alert" { (text) } } }
}

pub(super) fn refused(status: u16, who: Option<&SignedIn>, text: &str) -> Page {
    let back = if who.is_some() { "/.postern/" } else { "/.postern/sign-in" };
    let main = html! {
        p.notice role="alert" { (text) }
        p { a href=(back) { "Back to the start" } }
    };
    Page::html(status, page("Not done", None, main))
}

pub(super) fn missing(who: Option<&SignedIn>) -> Page {
    refused(404, who, "There is no such page here.")
}

/// Comes back at once, this time from here, so that the browser sends the strict cookie.
pub(super) fn stepping_stone() -> Page {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content="0";
                title { "One moment · Postern" }
            }
            body { main { h1 { "One moment" } } }
        }
    };
    Page::html(200, markup)
}
