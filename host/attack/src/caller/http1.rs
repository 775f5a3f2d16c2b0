//! HTTP/1.1, written as a case wants it and read leniently.

use std::io::{self, Write};
use std::time::Duration;

use postern_rig::client;
use postern_rig::message::{Direction, Reader};

use super::target::Wire;
use super::{Came, Request, Target};

/// Between two writes, so that they are read one by one.
const PACE: Duration = Duration::from_millis(2);

/// One request on a connection of its own.
pub(super) fn ask(target: &Target, request: &Request) -> io::Result<Came> {
    let mut fields = vec![(b"host".to_vec(), request.authority.clone())];
    fields.extend(request.fields.iter().cloned());
    let written = client::Request {
        method: request.method.clone(),
        target: request.target.clone(),
        fields,
        content: request.content.clone(),
    };
    let mut connection = Reader::new(target.connect(b"http/1.1")?);
    write(connection.connection(), &written.pieces());
    if let Some(limit) = request.stop_after {
        return part(connection, limit);
    }
    let to_head = request.method.eq_ignore_ascii_case("HEAD");
    Ok(read(&mut connection, to_head, 1))
}

/// These bytes, and up to `answers` answers.
pub(super) fn raw(target: &Target, pieces: &[Vec<u8>], answers: usize) -> io::Result<Came> {
    let mut connection = Reader::new(target.connect(b"http/1.1")?);
    write(connection.connection(), pieces);
    Ok(read(&mut connection, false, answers))
}

/// An early answer may close the connection under our feet; it is still readable.
fn write(to: &mut Wire, pieces: &[Vec<u8>]) {
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            std::thread::park_timeout(PACE);
        }
        if to.write_all(piece).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

fn read(connection: &mut Reader<Wire>, to_head: bool, most: usize) -> Came {
    let mut came = Came::default();
    while came.answers.len() < most {
        match connection.next(Direction::Answer { to_head }) {
            Ok(Some(message)) => match message.status() {
                // 101 is the last thing that HTTP says on a connection.
                100 | 102..=199 => came.interim.push(message.status()),
                _ => came.answers.push(message),
            },
            Ok(None) => break,
            Err(error) => {
                came.trouble = Some(error.to_string());
                break;
            }
        }
    }
    came
}

/// The beginning of an answer that has no end.
fn part(mut connection: Reader<Wire>, limit: usize) -> io::Result<Came> {
    let mut bytes = Vec::new();
    let mut block = [0; 16 << 10];
    let from = connection.connection();
    while bytes.len() < limit {
        let size = io::Read::read(from, &mut block)?;
        if size == 0 {
            break;
        }
        bytes.extend_from_slice(block.get(..size).unwrap_or_default());
    }
    let answer = Reader::new(bytes.as_slice()).next(Direction::Answer { to_head: false })?;
    Ok(Came { answers: answer.into_iter().collect(), ..Came::default() })
}
