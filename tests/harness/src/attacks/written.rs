//! What a gateway has written and shows while it was attacked: no value of a credential, in
//! any of the forms that are cheap to search, and no caller's key (row S18).

use anyhow::Result;
use memchr::memmem::find;
use postern_rig::gateway::Gateway;

use crate::run::Count;

/// Looks through the log and every page of the admin interface.
pub fn nothing_secret(
    gateway: &Gateway,
    secrets: &[(String, Vec<u8>)],
    boundary: &str,
    count: &mut Count,
) -> Result<()> {
    let mut texts = gateway.pages()?;
    texts.push(("log".to_owned(), gateway.log().into_bytes()));
    for (page, text) in texts {
        let lines: Vec<String> = secrets.iter().flat_map(|secret| seen(&text, secret)).collect();
        let page = page.trim_start_matches('/').split(['?', '/']).next().unwrap_or_default();
        count.report(&format!("attacks/S18/written/{page} on {boundary}"), &lines);
    }
    Ok(())
}

fn seen(text: &[u8], (name, value): &(String, Vec<u8>)) -> Vec<String> {
    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD_NO_PAD, value);
    let forms =
        [("as it is", value.clone()), ("hex", hex.into_bytes()), ("base64", base64.into_bytes())];
    let shown = forms.iter().filter(|(_, form)| find(text, form).is_some());
    shown.map(|(how, _)| format!("shows {name}, {how}")).collect()
}
