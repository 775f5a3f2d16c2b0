//! The archive: tar (POSIX ustar) in gzip (RFC 1952), both ways.
//!
//! Invariant: what is unpacked is bounded, whole, and named by plain relative paths that
//! stand once; what is packed is the same bytes for the same files.

use std::io::{Read, Write};

use flate2::{Compression, GzBuilder, bufread::GzDecoder};

use super::{Files, Wrong};

/// Most bytes of an archive.
pub const LARGEST_PACKED: usize = 2 << 20;
/// Most bytes of what is in it.
const UNPACKED: u64 = 8 << 20;
/// Most files.
const FILES: usize = 512;
/// Size of a record.
const BLOCK: usize = 512;
/// Longest name that fits a header without its second field.
const NAME: usize = 100;

/// The files of an archive.
pub fn unpack(bytes: &[u8]) -> Result<Files, Wrong> {
    let archive = inflate(bytes)?;
    let mut files = Files::new();
    let mut rest = archive.as_slice();
    loop {
        let header = take(&mut rest, BLOCK)?;
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let size = check(header)?;
        let name = name(header)?;
        let content = take(&mut rest, size)?;
        take(&mut rest, padding(size))?;
        match header.get(156) {
            Some(b'0' | 0) => {}
            Some(b'5') if size == 0 => continue,
            _ => return Err(format!("archive: {name} is neither a file nor a folder")),
        }
        let name = plain(&name)?;
        if files.len() >= FILES {
            return Err(format!("archive: more than {FILES} files"));
        }
        if files.insert(name.clone(), content.to_vec()).is_some() {
            return Err(format!("archive: {name} stands twice"));
        }
    }
    // The end is two empty records; what follows may only fill up.
    take(&mut rest, BLOCK)?;
    if rest.iter().any(|byte| *byte != 0) || header_left(&archive, rest) {
        return Err("archive: bytes behind its end".to_owned());
    }
    Ok(files)
}

/// Whether the second of the two empty records has a byte.
fn header_left(archive: &[u8], rest: &[u8]) -> bool {
    let end = archive.len().saturating_sub(rest.len());
    let start = end.saturating_sub(BLOCK);
    archive.get(start..end).is_none_or(|record| record.iter().any(|byte| *byte != 0))
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, Wrong> {
    if bytes.len() > LARGEST_PACKED {
        return Err("archive: expected at most 2 MiB".to_owned());
    }
    let mut decoder = GzDecoder::new(bytes);
    let mut archive = Vec::new();
    let read = decoder.by_ref().take(UNPACKED.saturating_add(1)).read_to_end(&mut archive);
    read.map_err(|error| format!("archive: no gzip, or cut short: {error}"))?;
    if u64::try_from(archive.len()).map_or(true, |length| length > UNPACKED) {
        return Err("archive: expected at most 8 MiB when it is unpacked".to_owned());
    }
    if !decoder.into_inner().is_empty() {
        return Err("archive: bytes behind the gzip stream".to_owned());
    }
    Ok(archive)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], Wrong> {
    let (taken, left) = rest.split_at_checked(count).ok_or("archive: cut short")?;
    *rest = left;
    Ok(taken)
}

fn padding(size: usize) -> usize {
    size.next_multiple_of(BLOCK).saturating_sub(size)
}

/// The size of the file, of a header whose checksum is right.
fn check(header: &[u8]) -> Result<usize, Wrong> {
    let field = |at: usize, length: usize| header.get(at..at.saturating_add(length));
    let number = |at, length| field(at, length).and_then(octal).ok_or("archive: no header of tar");
    // The checksum is over the header with blanks in its place.
    let sum = header.iter().enumerate().fold(0_usize, |sum, (at, byte)| {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        sum.saturating_add(usize::from(byte))
    });
    if number(148, 8)? != sum {
        return Err("archive: a header with a wrong checksum".to_owned());
    }
    Ok(number(124, 12)?)
}

/// Octal digits, then a blank or zero byte, or nothing.
fn octal(field: &[u8]) -> Option<usize> {
    let text = str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    let digits = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    usize::from_str_radix(text, 8).ok().filter(|_| digits)
}

/// The name as it is written.
fn name(header: &[u8]) -> Result<String, Wrong> {
    let text = |at: usize, length: usize| {
        let field = header.get(at..at.saturating_add(length)).unwrap_or_default();
        let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
        str::from_utf8(text).map_err(|_| "archive: a name that is not UTF-8".to_owned())
    };
    let ustar = header.get(257..263) == Some(b"ustar\0".as_slice());
    let (prefix, name) = (if ustar { text(345, 155)? } else { "" }, text(0, NAME)?);
    Ok(if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") })
}

/// The name as a relative path; OPA writes names with a slash before them.
fn plain(name: &str) -> Result<String, Wrong> {
    let path = name.strip_prefix("./").or_else(|| name.strip_prefix('/')).unwrap_or(name);
    let part = |part: &str| !["", ".", ".."].contains(&part);
    let letters = path.chars().all(|letter| !letter.is_control() && !['\\', ':'].contains(&letter));
    if path.split('/').all(part) && letters {
        return Ok(path.to_owned());
    }
    Err(format!("archive: {} is no plain path", name.escape_debug()))
}

/// The archive of these files.
pub fn pack(files: &Files) -> Result<Vec<u8>, Wrong> {
    let mut archive = Vec::new();
    for (name, content) in files {
        let written = format!("/{}", plain(name)?);
        if written.len() > NAME {
            return Err(format!("{name}: expected at most {NAME} letters in a name"));
        }
        archive.extend(header(&written, content.len()));
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len().saturating_add(BLOCK.saturating_mul(2)), 0);
    // No time and no name of a system: the same files give the same bytes.
    let mut encoder =
        GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::new(9));
    let written = encoder.write_all(&archive).and_then(|()| encoder.finish());
    let packed = written.map_err(|error| error.to_string())?;
    unpack(&packed).map(|_| packed)
}

pub(super) fn header(name: &str, size: usize) -> Vec<u8> {
    let mut header = name.as_bytes().to_vec();
    header.resize(NAME, 0);
    let fields = format!("0000644\x000000000\x000000000\x00{size:011o}\x0000000000000\x00");
    header.extend(fields.as_bytes());
    header.extend(b"        0");
    header.resize(257, 0);
    header.extend(b"ustar\x0000");
    header.resize(BLOCK, 0);
    let sum = header.iter().fold(0_u32, |sum, byte| sum.saturating_add(u32::from(*byte)));
    let sum = format!("{sum:06o}\0 ");
    header.splice(148..156, sum.bytes());
    header
}
