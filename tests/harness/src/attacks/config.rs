//! Rows that are settled before anything runs: `postern check` finds what the configuration
//! would give away, and the wasmtime gateway does not start with it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::gateway::Site;
use crate::root;
use crate::run::{Count, Selection};

/// One edit of the shipped file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    row: String,
    name: String,
    note: String,
    from: String,
    to: String,
    check: Option<String>,
    gateway: Option<String>,
    why: Option<String>,
}

/// Every edit that is selected, and the shipped file as it is.
pub fn refused(
    site: &Site,
    postern: &Path,
    selection: &Selection,
    count: &mut Count,
) -> Result<()> {
    let shipped = std::fs::read_to_string(root().join("envoy/envoy.yaml"))?;
    let shipped = shipped.replace("/etc/postern/keys-ca.pem", &site.ca.display().to_string());
    for edit in edits()? {
        if !super::is_chosen(selection, &edit.row, &edit.name) {
            continue;
        }
        let lines = edit.judge(&shipped, site, postern);
        let name = format!("attacks/{}/{} on host", edit.row, edit.name);
        let lines = lines.unwrap_or_else(|error| vec![format!("{error:#}")]);
        count.report(&name, &lines);
        if !lines.is_empty() {
            println!("        {}", edit.note);
        }
    }
    if super::is_chosen(selection, "S18", "shipped") {
        count.report("attacks/S18/shipped on host", &good(&shipped, site, postern)?);
    }
    Ok(())
}

/// The file that is attacked has nothing that the rows are about.
pub fn holds(text: &str, site: &Site, postern: &Path, name: &str, count: &mut Count) -> Result<()> {
    count.report(&format!("attacks/{name}"), &good(text, site, postern)?);
    Ok(())
}

fn edits() -> Result<Vec<Edit>> {
    let file = super::cases().join("config/refused.yaml");
    let text = std::fs::read_to_string(&file).context("refused.yaml")?;
    serde_saphyr::from_str(&text).context("refused.yaml")
}

fn good(text: &str, site: &Site, postern: &Path) -> Result<Vec<String>> {
    let (code, said) = postern_on(text, site, postern, CHECK)?;
    Ok(if code == 0 { Vec::new() } else { vec![said] })
}

/// Development is allowed, so that what is found is the edit.
const CHECK: &[&str] = &["check", "--allow-simulated", "--allow-plain-upstream"];
const GATEWAY: &[&str] = &["gateway", "--check", "--no-cache", "--config"];

impl Edit {
    fn judge(&self, shipped: &str, site: &Site, postern: &Path) -> Result<Vec<String>> {
        ensure!(shipped.contains(&self.from), "the shipped file has no {:?}", self.from);
        let whole = self.check.is_some() && self.gateway.is_some();
        ensure!(whole || self.why.is_some(), "expected why where one of the two is absent");
        let edited = shipped.replacen(&self.from, &self.to, 1);
        let mut lines = Vec::new();
        let wanted = [("check", CHECK, &self.check), ("gateway", GATEWAY, &self.gateway)];
        for (what, words, want) in wanted {
            let Some(want) = want else { continue };
            let (code, said) = postern_on(&edited, site, postern, words)?;
            // 3: it is refused after its files were read.
            if !matches!(code, 1 | 3) || !said.contains(want.as_str()) {
                lines.push(format!("{what}: want a refusal with {want:?}, got {code}: {said}"));
            }
        }
        Ok(lines)
    }
}

/// Exit code and everything that a command of `postern` says of a file.
fn postern_on(text: &str, site: &Site, postern: &Path, words: &[&str]) -> Result<(i32, String)> {
    let file = site.world.folder.path().join("edited.yaml");
    postern_files::write_atomic(&file, text.as_bytes())?;
    let mut command = Command::new(postern);
    command.args(words).arg(&file).current_dir(root()).stdin(Stdio::null());
    let output = command.output().context("postern")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    Ok((output.status.code().unwrap_or(-1), said))
}
