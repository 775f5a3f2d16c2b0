//! Modules that trap, played by a module of a few bytes that does nothing else.

use std::path::PathBuf;

use anyhow::Result;

use super::{Caller, Seen, code, expect};
use crate::gateway::{Gateway, Site};

/// A gate that traps in every request: 503, nothing forwarded, and still a record.
pub fn gate(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let module = trapping(site, "trapping-gate.wasm", "proxy_on_request_headers", 3)?;
    let mut config = site.config(None)?;
    config.plugin("gate", |plugin| {
        plugin["vm_config"]["code"]["local"]["filename"] = module.display().to_string().into();
    });
    let gateway = Gateway::with(site, &config)?;
    let caller = Caller::new(site, "trapped_gate")?;
    let mut lines = Vec::new();
    site.world.take_records()?;
    for _ in 0..3 {
        let answer = gateway.ask(&caller.request(site, "api.test", "/api/a", Some("slack")))?;
        expect(&mut lines, "status", 503, answer.status());
    }
    expect(&mut lines, "requests forwarded", 0, site.take_forwarded().len());
    for record in site.wait_for_records(3)? {
        let record: serde_json::Value = serde_json::from_slice(&record)?;
        expect(&mut lines, "reason", "\"draft_absent\"".to_owned(), record["reason"].to_string());
    }
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// A logger that traps: the first request is not covered, every later one is refused.
pub fn audit(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let module = trapping(site, "trapping-audit.wasm", "proxy_on_log", 1)?;
    let mut config = site.config(None)?;
    config.plugin("audit", |plugin| {
        plugin["vm_config"]["code"]["local"]["filename"] = module.display().to_string().into();
    });
    let gateway = Gateway::with(site, &config)?;
    let caller = Caller::new(site, "trapped_audit")?;
    let request = caller.request(site, "api.test", "/api/a", Some("slack"));
    let mut lines = Vec::new();
    expect(&mut lines, "first", 200, gateway.ask(&request)?.status());
    for _ in 0..3 {
        let answer = gateway.ask(&request)?;
        let want = (503, "audit_unavailable".to_owned());
        expect(&mut lines, "later", want, (answer.status(), code(&answer)));
    }
    expect(&mut lines, "requests forwarded", 1, site.take_forwarded().len());
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// Writes a module whose callback `name` (of `parameters` i32) is `unreachable`.
fn trapping(site: &Site, file: &str, name: &str, parameters: u8) -> Result<PathBuf> {
    let path = site.world.folder.path().join(file);
    postern_files::write_atomic(&path, &module(name, parameters))?;
    Ok(path)
}

/// WebAssembly 1.0 binary format: types, functions, one memory, exports, code.
fn module(trap: &str, parameters: u8) -> Vec<u8> {
    const I32: u8 = 0x7f;
    let function = |parameters: u8, results: u8| {
        let mut kind = vec![0x60, parameters];
        kind.extend(std::iter::repeat_n(I32, usize::from(parameters)));
        kind.push(results);
        kind.extend(std::iter::repeat_n(I32, usize::from(results)));
        kind
    };
    let returns_one: &[u8] = &[0x41, 0x01, 0x0b];
    let unreachable: &[u8] = &[0x00, 0x0b];
    let nothing: &[u8] = &[0x0b];
    // Memory for the host: one fixed place is enough for what it hands over here.
    let somewhere: &[u8] = &[0x41, 0x80, 0x08, 0x0b];
    let functions: [(&str, Vec<u8>, &[u8]); 6] = [
        ("proxy_abi_version_0_2_1", function(0, 0), nothing),
        ("malloc", function(1, 1), somewhere),
        ("proxy_on_context_create", function(2, 0), nothing),
        ("proxy_on_vm_start", function(2, 1), returns_one),
        ("proxy_on_configure", function(2, 1), returns_one),
        (trap, function(parameters, u8::from(trap != "proxy_on_log")), unreachable),
    ];
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(&mut module, 1, functions.iter().map(|(_, kind, _)| kind.clone()));
    section(&mut module, 3, (0..6).map(|index| vec![index]));
    section(&mut module, 5, [vec![0x00, 0x02]]);
    let exports = functions.iter().zip(0..).map(|((name, ..), index)| export(name, 0, index));
    section(&mut module, 7, exports.chain([export("memory", 2, 0)]));
    let code = functions.iter().map(|(_, _, code)| {
        let mut body = length(code.len() + 1);
        body.push(0);
        body.extend_from_slice(code);
        body
    });
    section(&mut module, 10, code);
    module
}

fn section(module: &mut Vec<u8>, id: u8, items: impl IntoIterator<Item = Vec<u8>>) {
    let items: Vec<Vec<u8>> = items.into_iter().collect();
    let content = [length(items.len()), items.concat()].concat();
    module.push(id);
    module.extend(length(content.len()));
    module.extend(content);
}

fn export(name: &str, kind: u8, index: u8) -> Vec<u8> {
    let mut item = length(name.len());
    item.extend_from_slice(name.as_bytes());
    item.extend([kind, index]);
    item
}

/// Unsigned LEB128.
fn length(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}
