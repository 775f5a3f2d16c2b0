//! Properties: cutting the bytes changes nothing, and what is written is what is read.

use bytes::BytesMut;
use proptest::prelude::*;
use proptest::sample::Index;

use super::LIMITS;
use crate::http1::{
    Decoder, Encoder, Framing, Malformed, Piece, RequestHead, Unsendable, request_framing,
    request_head, response_framing, response_head,
};
use crate::view::Pairs;

/// All that was read of one request and what follows it.
#[derive(Debug, Default, PartialEq)]
struct Reading {
    head: Option<RequestHead>,
    content: Vec<u8>,
    trailers: Option<Pairs>,
    done: bool,
    refused: Option<Malformed>,
    rest: Vec<u8>,
}

/// Reads a request that comes in these parts, and then the end of the connection.
fn read(parts: &[&[u8]]) -> Reading {
    let mut reading = Reading::default();
    let mut buffer = BytesMut::new();
    let mut decoder = None;
    for (index, part) in parts.iter().enumerate() {
        buffer.extend_from_slice(part);
        let eof = index + 1 == parts.len();
        let step = reading.step(&mut decoder, &mut buffer, eof);
        reading.refused = reading.refused.or(step.err());
    }
    if reading.refused.is_none() {
        reading.rest = buffer.to_vec();
    }
    reading
}

impl Reading {
    fn step(
        &mut self,
        decoder: &mut Option<Decoder>,
        buffer: &mut BytesMut,
        eof: bool,
    ) -> Result<(), Malformed> {
        if self.refused.is_some() {
            return Ok(());
        }
        if decoder.is_none() {
            let Some(head) = request_head(buffer, &LIMITS)? else { return Ok(()) };
            *decoder = Some(Decoder::new(request_framing(&head)?, &LIMITS));
            self.head = Some(head);
        }
        let Some(decoder) = decoder else { return Ok(()) };
        while let Some(piece) = decoder.decode(buffer, eof)? {
            match piece {
                Piece::Data(data) => self.content.extend_from_slice(&data),
                Piece::Trailers(fields) => self.trailers = Some(fields),
                Piece::End => {}
            }
        }
        self.done = decoder.is_done();
        Ok(())
    }
}

fn cut<'b>(bytes: &'b [u8], cuts: &[Index]) -> Vec<&'b [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let starts = std::iter::once(0).chain(ends.clone());
    starts.zip(ends).map(|(start, end)| &bytes[start..end]).collect()
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let free = |name: &String| name != "host" && name != "connection";
    "[a-z0-9!#$%&'*+.^_`|~-]{1,12}".prop_filter("has a meaning", free).prop_map(Into::into)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8];
    prop::collection::vec(byte, 0..20).prop_map(|value| value.trim_ascii().to_vec())
}

fn pairs() -> impl Strategy<Value = Pairs> {
    prop::collection::vec((name(), value()), 0..6)
}

fn contents() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5)
}

/// A framing that suits the content.
fn framing(contents: &[Vec<u8>], chunked: bool) -> Framing {
    let length = contents.iter().map(Vec::len).sum::<usize>() as u64;
    if chunked { Framing::Chunked } else { Framing::Length(length) }
}

fn write(
    mut encoder: Encoder,
    out: &mut BytesMut,
    contents: &[Vec<u8>],
    trailers: &Pairs,
) -> Result<(), Unsendable> {
    for content in contents {
        encoder.data(out, content)?;
    }
    encoder.trailers(out, trailers)
}

/// Heads and content, good and bad, that are worth cutting everywhere.
const MESSAGES: &[&str] = &[
    "GET / HTTP/1.1\r\nhost: h\r\n\r\nGET /next",
    "\r\n\r\nPOST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET",
    "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\nGET",
    "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloo\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\n\r\n",
    "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
    "POST / HTTP/1.1\r\nhost: h\nx: \0\r\n\r\n",
    "POST / HTTP/1.1\r\rhost: h\r\n\r\n",
    "\r\n\rPOST / HTTP/1.1\r\n\r\n",
    "GETX / HTTP/1.1\n\r\n",
    "GET / HTTP/1.1\r\nx y: z\r\n\r\n",
];

#[test]
fn a_cut_anywhere_changes_nothing() {
    for message in MESSAGES {
        let bytes = message.as_bytes();
        let whole = read(&[bytes]);
        for at in 0..=bytes.len() {
            let (front, back) = bytes.split_at(at);
            assert_eq!(read(&[front, back]), whole, "{message:?} cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), whole, "{message:?} byte by byte");
    }
}

#[test]
fn content_that_comes_byte_by_byte_is_read_in_one_pass() {
    // Quadratic, this would look at a tenth of a million bytes for each one that comes.
    let name = "t".repeat(100_000);
    let limits = crate::http1::Limits { max_fields: 1, max_head: 1 << 20 };
    let bytes = format!("0\r\n{name}: v\r\n\r\n");
    let mut decoder = Decoder::new(Framing::Chunked, &limits);
    let mut buffer = BytesMut::new();
    let mut last = None;
    for byte in bytes.bytes() {
        buffer.extend_from_slice(&[byte]);
        last = decoder.decode(&mut buffer, false).unwrap();
    }
    assert_eq!(last, Some(Piece::Trailers(vec![(name.into_bytes(), b"v".to_vec())])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_spoilt_message_is_refused_alike_however_it_is_cut(
        which in 0..MESSAGES.len(), at: Index, byte in prop::sample::select(&b"\r\n\0 :;0a_\xff"[..]),
        cuts: Vec<Index>,
    ) {
        let mut bytes = MESSAGES[which].as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        prop_assert_eq!(read(&cut(&bytes, &cuts)), read(&[&bytes]));
    }

    #[test]
    fn a_request_is_read_as_it_was_written(
        target in "/[!-~]{0,30}", fields in pairs(), contents in contents(), trailers in pairs(),
        chunked: bool, cuts: Vec<Index>,
    ) {
        let framing = framing(&contents, chunked);
        let mut out = BytesMut::new();
        let encoder =
            Encoder::request(&mut out, b"POST", target.as_bytes(), &fields, framing).unwrap();
        write(encoder, &mut out, &contents, &trailers).unwrap();
        out.extend_from_slice(b"next");
        let reading = read(&cut(&out, &cuts));
        prop_assert_eq!(reading.refused, None);
        let head = reading.head.unwrap();
        prop_assert_eq!(request_framing(&head), Ok(framing));
        prop_assert_eq!(head.target, target.as_bytes());
        prop_assert_eq!(&head.fields[..fields.len()], &fields[..]);
        prop_assert_eq!(head.fields.len(), fields.len() + 1);
        prop_assert_eq!(reading.content, contents.concat());
        let trailers = Some(trailers).filter(|fields| chunked && !fields.is_empty());
        prop_assert_eq!(reading.trailers, trailers);
        prop_assert_eq!((reading.done, reading.rest), (true, b"next".to_vec()));
    }

    #[test]
    fn a_response_is_read_as_it_was_written(
        status in prop::sample::select(vec![200_u16, 206, 404, 500, 599, 999]),
        fields in pairs(), contents in contents(), kind in 0..3_usize,
    ) {
        let framing = if kind == 2 { Framing::UntilClose } else { framing(&contents, kind == 1) };
        let mut out = BytesMut::new();
        let encoder = Encoder::response(&mut out, status, &fields, framing).unwrap();
        write(encoder, &mut out, &contents, &Pairs::new()).unwrap();
        let head = response_head(&mut out, &LIMITS).unwrap().unwrap();
        prop_assert_eq!(head.status, status);
        prop_assert_eq!(response_framing(&head, false), Ok(framing));
        prop_assert_eq!(&head.fields[..fields.len()], &fields[..]);
        let mut decoder = Decoder::new(framing, &LIMITS);
        let read = super::drain(&mut decoder, &mut out);
        prop_assert_eq!(read, Ok((contents.concat(), Pairs::new())));
        prop_assert!(decoder.is_done());
    }
}
