//! A module of a few bytes that tells the upstream what properties a request has
//! (WebAssembly 1.0, binary format).
//!
//! Property number N becomes the field `p-N` if it is there.

use std::path::PathBuf;

use anyhow::Result;

use super::module::{export, function, length, name, section};
use crate::gateway::Site;

/// Where texts begin, and where the host puts what it hands over.
const TEXTS: usize = 4096;
const ROOM: usize = 65_536;
/// Where a hostcall writes address and length of a value.
const VALUE: usize = 1024;
const VALUE_LENGTH: usize = 1028;

/// Writes the module that tells these properties, whose segments are joined by NUL.
pub fn written(site: &Site, properties: &[&str]) -> Result<PathBuf> {
    let path = site.world.folder.path().join("telling.wasm");
    postern_files::write_atomic(&path, &bytes(properties))?;
    Ok(path)
}

fn bytes(properties: &[&str]) -> Vec<u8> {
    let (code, texts) = code(properties);
    let nothing: Vec<u8> = Vec::new();
    let returns_one = constant(1);
    let functions: [(&str, Vec<u8>, Vec<u8>); 6] = [
        ("proxy_abi_version_0_2_1", function(0, 0), nothing.clone()),
        ("malloc", function(1, 1), allocate()),
        ("proxy_on_context_create", function(2, 0), nothing),
        ("proxy_on_vm_start", function(2, 1), returns_one.clone()),
        ("proxy_on_configure", function(2, 1), returns_one),
        ("proxy_on_request_headers", function(3, 1), code),
    ];
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    let kinds = functions.iter().map(|(_, kind, _)| kind.clone());
    section(&mut module, 1, [function(4, 1), function(5, 1)].into_iter().chain(kinds));
    let import = |what: &str, kind: u8| [name("env"), name(what), vec![0, kind]].concat();
    let imports = [import("proxy_get_property", 0), import("proxy_add_header_map_value", 1)];
    section(&mut module, 2, imports);
    section(&mut module, 3, (2..=7).map(|kind| vec![kind]));
    section(&mut module, 5, [vec![0x00, 0x40]]);
    // The next free byte.
    section(&mut module, 6, [[vec![0x7f, 0x01], constant(ROOM), vec![0x0b]].concat()]);
    let exports = functions.iter().zip(2..).map(|((of, ..), index)| export(of, 0, index));
    section(&mut module, 7, exports.chain([export("memory", 2, 0)]));
    let bodies = functions
        .iter()
        .map(|(.., code)| [length(code.len() + 2), vec![0], code.clone(), vec![0x0b]].concat());
    section(&mut module, 10, bodies);
    let data = [vec![0x00], constant(TEXTS), vec![0x0b], length(texts.len()), texts].concat();
    section(&mut module, 11, [data]);
    module
}

/// The callback's code and the texts that it uses.
fn code(properties: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let mut texts = Vec::new();
    let mut put = |text: &str| {
        let at = TEXTS + texts.len();
        texts.extend_from_slice(text.as_bytes());
        [constant(at), constant(text.len())].concat()
    };
    // What was handed over for the last request is not needed any more.
    let mut code = [constant(ROOM), vec![0x24, 0x00]].concat();
    for (number, property) in properties.iter().enumerate() {
        let (path, field) = (put(property), put(&format!("p-{number}")));
        code.extend([path, constant(VALUE), constant(VALUE_LENGTH), vec![0x10, 0x00]].concat());
        let value = [load(VALUE), load(VALUE_LENGTH)].concat();
        // If the status is 0: adds the field to the request's, and drops the status of that.
        code.extend([vec![0x45, 0x04, 0x40], constant(0), field, value].concat());
        code.extend([0x10, 0x01, 0x1a, 0x0b]);
    }
    code.extend(constant(0));
    (code, texts)
}

/// Gives the next free byte and moves past what is wanted, in steps of 16.
fn allocate() -> Vec<u8> {
    let aligned = [constant(16), vec![0x6a], vec![0x41, 0x70], vec![0x71]].concat();
    [vec![0x23, 0x00, 0x23, 0x00, 0x20, 0x00, 0x6a], aligned, vec![0x24, 0x00]].concat()
}

fn load(at: usize) -> Vec<u8> {
    [constant(at), vec![0x28, 0x02, 0x00]].concat()
}

/// `i32.const` (signed LEB128).
fn constant(mut value: usize) -> Vec<u8> {
    let mut bytes = vec![0x41];
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        let done = value == 0 && low & 0x40 == 0;
        bytes.push(if done { low } else { low | 0x80 });
        if done {
            return bytes;
        }
    }
}
