//! Lines of the log, and how bytes are shown in them.

use crate::abi;

/// Stands before each line and after it, so that a reader finds it whole.
const MARKS: (&str, &str) = ("<<", ">>");
/// Values longer than this are shown by their start, size and sum.
const LONGEST: usize = 120;

/// Writes a line of plugin `name` at level info.
pub fn line(name: &str, text: &str) {
    let line = format!("{}{name} {text}{}", MARKS.0, MARKS.1);
    abi::call("proxy_log", &[2, abi::address(line.as_ptr()), line.len() as u64]);
}

/// Bytes as text on one line, without a mark inside.
pub fn shown(bytes: &[u8]) -> String {
    if bytes.len() <= LONGEST {
        return escaped(bytes);
    }
    let start = bytes.get(..40).unwrap_or_default();
    format!("{}… {} bytes, sum {:08x}", escaped(start), bytes.len(), sum(bytes))
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'<' | b'>' | b'\\' => text.push_str(&format!("\\x{byte:02x}")),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// FNV-1a: enough to see that two values are not the same.
fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
