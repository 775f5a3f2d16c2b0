//! The search for secrets in everything that was written down.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::expect;
use crate::gateway::{Gateway, Site};

/// What gateways left behind: logs and what their admin interface showed.
#[derive(Default)]
pub struct Seen {
    texts: Vec<(String, Vec<u8>)>,
}

impl Seen {
    /// Keeps a text under a name.
    pub fn text(&mut self, name: &str, text: impl Into<Vec<u8>>) {
        self.texts.push((name.to_owned(), text.into()));
    }

    /// Reads out a gateway's admin interface and keeps it for the next who wants one; where it
    /// cannot be changed, stops it and keeps its logs.
    pub fn keep(&mut self, site: &Site, gateway: Gateway) -> Result<()> {
        for (path, content) in gateway.process.pages()? {
            self.text(&path, content);
        }
        if gateway.process.changes() {
            site.idle.borrow_mut().push(gateway);
        } else {
            self.text("log", gateway.process.stop());
        }
        for record in site.world.take_records()? {
            self.text("audit record", record);
        }
        Ok(())
    }

    /// Stops those that were kept, and keeps their logs.
    fn end(&mut self, site: &Site) {
        for gateway in site.idle.take() {
            self.text("log", gateway.process.stop());
        }
    }
}

/// No value, key or token is in logs, admin dumps, audit records or the database.
pub fn nowhere(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    seen.end(site);
    expect(&mut lines, "something was kept", true, !seen.texts.is_empty());
    let folder = site.world.folder.path().join("keys");
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            seen.text(
                &path.file_name().unwrap_or_default().to_string_lossy(),
                std::fs::read(&path)?,
            );
        }
    }
    let needles = needles(site);
    for (name, text) in &seen.texts {
        for (what, needle) in &needles {
            if memchr::memmem::find(text, needle).is_some() {
                lines.push(format!("{what} is in {name}"));
            }
        }
    }
    lines.sort();
    lines.dedup();
    Ok(lines)
}

/// Values, plain and encoded, and the keys of the gateway's environment.
fn needles(site: &Site) -> Vec<(String, Vec<u8>)> {
    let mut needles = Vec::new();
    for (name, credential) in &site.world.base.credentials {
        for (field, value) in credential.values() {
            let name = format!("{name}.{field}");
            needles.push((format!("the value of {name}"), value.into()));
            needles.push((format!("{name} in base64"), STANDARD.encode(value).into_bytes()));
            let url = URL_SAFE_NO_PAD.encode(value).into_bytes();
            needles.push((format!("{name} in base64url"), url));
        }
    }
    for key in site.world.keys() {
        needles.push(("an API key".to_owned(), key));
    }
    for (name, key) in &site.world.environment {
        needles.push((name.clone(), key.clone().into_bytes()));
        if let Ok(bytes) = URL_SAFE_NO_PAD.decode(key) {
            needles.push((format!("{name}, decoded"), bytes));
        }
    }
    needles
}
