//! The scenarios of a boundary, shared among several processes: most of their time is waiting
//! for clocks, and each process has a world of its own.
//!
//! Invariant: what the parts print is shown line by line with what belongs to a line behind it,
//! and their counts add up.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};

use anyhow::{Context, Result, bail};

use crate::run::{Count, Part, Selection};
use crate::scenario::Boundary;

/// Reads `I/N`.
pub fn part(text: &str) -> Result<Part, String> {
    let numbers = text
        .split_once('/')
        .and_then(|(index, of)| Some(Part { index: index.parse().ok()?, of: of.parse().ok()? }));
    let part = numbers.filter(|part| part.index < part.of);
    part.ok_or_else(|| format!("expected I/N with I below N, got {text:?}"))
}

/// Runs a boundary in so many parts at once.
pub fn run(boundary: Boundary, selection: &Selection, parts: u8) -> Result<Count> {
    let (send, receive) = mpsc::channel();
    let mut children = Vec::new();
    for index in 0..parts {
        let mut child = start(boundary, selection, &format!("{index}/{parts}"))?;
        let (out, send) = (child.stdout.take().context("stdout")?, send.clone());
        std::thread::spawn(move || blocks(BufReader::new(out), &send));
        children.push(child);
    }
    drop(send);
    let mut count = Count::default();
    for block in receive {
        show(&block, &mut count);
    }
    children.into_iter().try_for_each(ended)?;
    println!("{}", count.closing(boundary.name()));
    Ok(count)
}

fn start(boundary: Boundary, selection: &Selection, part: &str) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--boundary", boundary.name(), "--part", part]);
    if let Some(only) = &selection.only {
        command.args(["--only", only]);
    }
    if selection.show {
        command.arg("--show");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().context("cannot start a part")
}

/// Exit 2 is a part that nothing was left for.
fn ended(mut child: Child) -> Result<()> {
    let status = child.wait()?;
    if !matches!(status.code(), Some(0..=2)) {
        bail!("a part ended with {status}");
    }
    Ok(())
}

/// Sends each line together with the indented ones behind it.
fn blocks(out: impl BufRead, send: &Sender<String>) {
    let mut block = String::new();
    for line in out.lines().map_while(Result::ok) {
        if !line.starts_with("    ") && !block.is_empty() {
            let _ = send.send(std::mem::take(&mut block));
        }
        block.push_str(&line);
        block.push('\n');
    }
    if !block.is_empty() {
        let _ = send.send(block);
    }
}

fn show(block: &str, count: &mut Count) {
    if block.starts_with("scenarios on ") {
        return;
    }
    count.passed += usize::from(block.starts_with("ok  "));
    count.failed += usize::from(block.starts_with("FAILED  "));
    print!("{block}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_below_how_many_there_are() {
        assert_eq!(part("1/2"), Ok(Part { index: 1, of: 2 }));
        for text in ["2/2", "1", "a/2", "0/0", "-1/2"] {
            assert!(part(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_piece_of_work_is_in_one_part() {
        let parts = [Part { index: 0, of: 3 }, Part { index: 1, of: 3 }, Part { index: 2, of: 3 }];
        for (number, live) in (0..10).flat_map(|number| [(number, false), (number, true)]) {
            let takes = |part: &&Part| part.takes(number, live);
            assert_eq!(parts.iter().filter(takes).count(), 1);
            assert!(!live || !parts[2].takes(number, live) && parts[2].is_last());
        }
        let whole = Part::default();
        assert!((0..10).all(|number| whole.takes(number, true)) && whole.is_last());
    }

    #[test]
    fn lines_are_counted_and_shown_with_what_belongs_to_them() {
        let (send, receive) = mpsc::channel();
        blocks(
            "ok      a\nFAILED  b\n        why\nscenarios on host: 1 passed\n".as_bytes(),
            &send,
        );
        drop(send);
        let blocks: Vec<String> = receive.iter().collect();
        assert_eq!(blocks[1], "FAILED  b\n        why\n");
        let mut count = Count::default();
        blocks.iter().for_each(|block| show(block, &mut count));
        assert_eq!(count, Count { passed: 1, failed: 1 });
    }
}
