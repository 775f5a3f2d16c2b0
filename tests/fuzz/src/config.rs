//! The file of the gateway: any text, and the shipped file with any lines changed.

use postern_runtime::config::Gateway;

use crate::source::Source;

const SHIPPED: &str = include_str!("../../../envoy/envoy.yaml");

/// Takes any bytes and may only return. Those that start with 0 are text as it is; others
/// edit the shipped file line by line, which gets past its outer layers.
pub fn fuzz_config(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, text)) => read(&String::from_utf8_lossy(text)),
        Some(_) => read(&edited(&mut Source::new(bytes))),
        None => {}
    }
}

fn read(text: &str) {
    match Gateway::parse(text) {
        Ok(gateway) => assert!(!gateway.listeners.is_empty(), "a gateway without a listener"),
        Err(problems) => {
            assert!(!problems.0.is_empty(), "refused without a problem");
            let lines = text.lines().count() as u64 + 1;
            assert!(problems.0.iter().all(|problem| problem.line <= lines), "{problems}");
        }
    }
}

/// Each edit: a line, what happens to it, and a text that does.
fn edited(source: &mut Source<'_>) -> String {
    let mut lines: Vec<String> = SHIPPED.lines().map(str::to_owned).collect();
    while !source.is_empty() && !lines.is_empty() {
        let at = (source.below(256) << 8 | source.below(256)) % lines.len();
        let other = (source.below(256) << 8 | source.below(256)) % lines.len();
        match source.below(6) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[other].clone()),
            2 => lines.swap(at, other),
            3 => lines[at] = with_value(&lines[at], &String::from_utf8_lossy(source.block())),
            4 => lines[at].push_str(&String::from_utf8_lossy(source.block())),
            _ => lines[at] = with_value(&lines[at], value(&lines[other])),
        }
    }
    lines.join("\n")
}

fn value(line: &str) -> &str {
    line.split_once(": ").map_or(line, |(_, value)| value)
}

fn with_value(line: &str, value: &str) -> String {
    let key = line.split_once(':').map_or(line, |(key, _)| key);
    format!("{key}: {value}")
}
