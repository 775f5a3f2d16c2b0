//! Modules of a few bytes, written by hand (WebAssembly 1.0, binary format).

use std::path::PathBuf;

use anyhow::Result;

use crate::gateway::Site;

const I32: u8 = 0x7f;

/// One instruction that traps.
pub const UNREACHABLE: u8 = 0x00;
/// `loop br 0 end`, and what would be reached behind it.
pub const LOOP: &[u8] = &[0x03, 0x40, 0x0c, 0x00, 0x0b, UNREACHABLE];
/// Stands for "trap if the request has the field `x-trap`, else go on".
pub const ON_TRAP_FIELD: u8 = 0xff;

/// What [`ON_TRAP_FIELD`] stands for: `proxy_get_header_map_value` (0, the request's fields;
/// the name, which a data segment puts at 16; where the value goes) is 0 when there is one.
const TRAP_ON_FIELD: &[u8] = &[
    0x41, 0x00, 0x41, 0x10, 0x41, 0x06, 0x41, 0x20, 0x41, 0x24, 0x10, 0x00, 0x45, 0x04, 0x40, 0x00,
    0x0b, 0x41, 0x00,
];

/// A module that does nothing but one thing in one callback.
pub struct Module {
    callback: &'static str,
    parameters: u8,
    results: u8,
    code: Vec<u8>,
    pages: usize,
}

impl Module {
    /// Runs `code` when the fields of a request come.
    pub fn gate(code: &[u8]) -> Self {
        Self::new("proxy_on_request_headers", (3, 1), code)
    }

    /// Runs `code` when a request is over.
    pub fn audit(code: &[u8]) -> Self {
        Self::new("proxy_on_log", (1, 0), code)
    }

    /// Starts with so many pages of 64 KiB.
    pub fn with_pages(self, pages: usize) -> Self {
        Self { pages, ..self }
    }

    fn new(callback: &'static str, (parameters, results): (u8, u8), code: &[u8]) -> Self {
        let code = if code == [ON_TRAP_FIELD] { TRAP_ON_FIELD } else { code };
        let code = [code, &[0x0b]].concat();
        Self { callback, parameters, results, code, pages: 2 }
    }

    /// Writes it to a file of its own.
    pub fn written(&self, site: &Site, name: &str) -> Result<PathBuf> {
        let path = site.world.folder.path().join(format!("{name}.wasm"));
        postern_files::write_atomic(&path, &self.bytes())?;
        Ok(path)
    }

    /// Types, the import, functions, memory, exports, code, data.
    fn bytes(&self) -> Vec<u8> {
        let returns_one: &[u8] = &[0x41, 0x01, 0x0b];
        let nothing: &[u8] = &[0x0b];
        // Memory for the host: one fixed place is enough for what it hands over here.
        let somewhere: &[u8] = &[0x41, 0x80, 0x08, 0x0b];
        let functions: [(&str, Vec<u8>, &[u8]); 6] = [
            ("proxy_abi_version_0_2_1", function(0, 0), nothing),
            ("malloc", function(1, 1), somewhere),
            ("proxy_on_context_create", function(2, 0), nothing),
            ("proxy_on_vm_start", function(2, 1), returns_one),
            ("proxy_on_configure", function(2, 1), returns_one),
            (self.callback, function(self.parameters, self.results), &self.code),
        ];
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        let kinds = functions.iter().map(|(_, kind, _)| kind.clone());
        section(&mut module, 1, std::iter::once(function(5, 1)).chain(kinds));
        let import = [name("env"), name("proxy_get_header_map_value"), vec![0, 0]].concat();
        section(&mut module, 2, [import]);
        section(&mut module, 3, (1..=6).map(|kind| vec![kind]));
        section(&mut module, 5, [[vec![0x00], length(self.pages)].concat()]);
        let exports = functions.iter().zip(1..).map(|((name, ..), index)| export(name, 0, index));
        section(&mut module, 7, exports.chain([export("memory", 2, 0)]));
        let code = functions
            .iter()
            .map(|(_, _, code)| [length(code.len() + 1), vec![0], code.to_vec()].concat());
        section(&mut module, 10, code);
        section(&mut module, 11, [[vec![0x00, 0x41, 0x10, 0x0b], name("x-trap")].concat()]);
        module
    }
}

pub(super) fn function(parameters: u8, results: u8) -> Vec<u8> {
    let list = |count: u8| [vec![count], vec![I32; usize::from(count)]].concat();
    [vec![0x60], list(parameters), list(results)].concat()
}

pub(super) fn section(module: &mut Vec<u8>, id: u8, items: impl IntoIterator<Item = Vec<u8>>) {
    let items: Vec<Vec<u8>> = items.into_iter().collect();
    let content = [length(items.len()), items.concat()].concat();
    module.push(id);
    module.extend(length(content.len()));
    module.extend(content);
}

pub(super) fn export(of: &str, kind: u8, index: u8) -> Vec<u8> {
    [name(of), vec![kind, index]].concat()
}

pub(super) fn name(text: &str) -> Vec<u8> {
    [length(text.len()), text.as_bytes().to_vec()].concat()
}

/// Unsigned LEB128.
pub(super) fn length(mut value: usize) -> Vec<u8> {
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
