//! Any bytes as frames: how they are cut changes nothing, and what was read is written so
//! that it reads back.

use super::{Fault, Opcode, Piece, Reader, Side, frame};

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Message(Vec<u8>),
    Control(Opcode, Vec<u8>),
}

const MOST: usize = 300;

/// What is in `bytes`, given in pieces of `cut` bytes.
fn hear(from: Side, bytes: &[u8], cut: usize) -> (Vec<Heard>, Result<(), Fault>, bool) {
    let mut reader = Reader::new(from, MOST);
    let (mut heard, mut open) = (Vec::new(), Vec::new());
    for chunk in bytes.chunks(cut) {
        let read = reader.feed(chunk, &mut |piece| {
            match piece {
                Piece::Text(text) => open.extend_from_slice(text),
                Piece::End => heard.push(Heard::Message(std::mem::take(&mut open))),
                Piece::Control(opcode, payload) => {
                    heard.push(Heard::Control(opcode, payload.to_vec()));
                }
            }
            true
        });
        assert!(open.len() <= MOST, "a message has a greatest length");
        if read.is_err() {
            assert_eq!(reader.feed(b"\x81\x00", &mut |_| true), read, "a fault stays");
            return (heard, read, false);
        }
    }
    (heard, Ok(()), reader.is_between())
}

/// Takes any bytes; the first says who sends and how they are cut.
pub fn fuzz_websocket(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let from = if first & 1 == 0 { Side::Client } else { Side::Server };
    let whole = hear(from, bytes, bytes.len().max(1));
    let cut = usize::from(first >> 1).max(1);
    assert_eq!(hear(from, bytes, cut), whole, "how bytes are cut changes nothing");
    let written: Vec<u8> = whole.0.iter().flat_map(write).collect();
    let (again, result, between) = hear(Side::Server, &written, written.len().max(1));
    assert_eq!((&again, result, between), (&whole.0, Ok(()), true), "it reads back");
}

fn write(heard: &Heard) -> Vec<u8> {
    match heard {
        Heard::Message(text) => frame(Opcode::Text, text),
        Heard::Control(opcode, payload) => frame(*opcode, payload),
    }
}
