//! Fuzz target: bytes that a stranger sends, as request, as response and as content.
//!
//! Invariant: any bytes may come, and a head that is taken says the same once it is written
//! again.

use bytes::BytesMut;

use super::{
    Decoder, Encoder, Framing, Limits, Malformed, Scheme, request_framing, request_head,
    request_target, response_framing, response_head,
};
use crate::view::Pairs;

const LIMITS: Limits = Limits { max_fields: 16, max_head: 2048 };

/// Takes any bytes and may only return.
pub fn fuzz_http1(bytes: &[u8]) {
    request(bytes);
    response(bytes);
    for framing in [Framing::Length(7), Framing::Chunked, Framing::UntilClose] {
        content(&mut BytesMut::from(bytes), framing);
    }
}

fn request(bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    let Ok(Some(head)) = request_head(&mut buffer, &LIMITS) else { return };
    let _ = request_target(&head.method, &head.target, Scheme::Https);
    let Ok(framing) = request_framing(&head) else { return };
    let mut out = BytesMut::new();
    let written = Encoder::request(&mut out, &head.method, &head.target, &head.fields, framing);
    assert!(written.is_ok(), "a request that was read can be written: {written:?}");
    let again = request_head(&mut out, &roomy()).ok().flatten();
    let again = again.map(|again| {
        assert_eq!(request_framing(&again), Ok(framing), "framing of a request");
        (again.method, again.target, kept(&again.fields))
    });
    assert_eq!(again, Some((head.method, head.target, kept(&head.fields))), "request");
    content(&mut buffer, framing);
}

fn response(bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    let Ok(Some(head)) = response_head(&mut buffer, &LIMITS) else { return };
    let Ok(framing) = response_framing(&head, false) else { return };
    let mut out = BytesMut::new();
    let written = Encoder::response(&mut out, head.status, &head.fields, framing);
    assert!(written.is_ok(), "a response that was read can be written: {written:?}");
    let again = response_head(&mut out, &roomy()).ok().flatten();
    let again = again.map(|again| {
        assert_eq!(response_framing(&again, false), Ok(framing), "framing of a response");
        (again.status, kept(&again.fields))
    });
    assert_eq!(again, Some((head.status, kept(&head.fields))), "response");
    content(&mut buffer, framing);
}

/// Decodes as if the peer had closed; every piece takes bytes or ends.
fn content(buffer: &mut BytesMut, framing: Framing) {
    let mut decoder = Decoder::new(framing, &LIMITS);
    let mut steps = buffer.len() + 1;
    while let Ok(Some(_)) = decoder.decode(buffer, true) {
        steps = steps.saturating_sub(1);
        assert!(steps > 0 || decoder.is_done(), "a piece without bytes");
    }
    let end: Result<_, Malformed> = decoder.decode(buffer, true);
    assert_eq!(decoder.is_done(), end == Ok(None), "done or refused");
}

/// The writer adds a framing field.
fn roomy() -> Limits {
    Limits { max_fields: LIMITS.max_fields + 1, max_head: LIMITS.max_head + 1024 }
}

/// The fields that are not the writer's own.
fn kept(fields: &Pairs) -> Pairs {
    let own: [&[u8]; 3] = [b"connection", b"content-length", b"transfer-encoding"];
    fields.iter().filter(|(name, _)| !own.contains(&name.as_slice())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Good and bad messages that the alphabet and the mutations start from.
    const CORPUS: &[&str] = &[
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "\r\nPOST /a?b HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET",
        "PUT http://u/v HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nb\r\n0\r\nx: y\r\n\r\n",
        "OPTIONS * HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nset-cookie: a\r\nset-cookie: b\r\n\r\nabc",
        "HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.0 304 Not Modified\r\ncontent-length: 3\r\n\r\n",
        "HTTP/1.1 204 \r\nx: \u{e9}\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "0\r\ntrailer: a\r\nx: y\r\n\r\n",
    ];

    /// Words that make up heads and chunks, so that random rows come near good ones.
    const WORDS: &[&str] = &[
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        ":",
        ": ",
        ",",
        ";",
        "GET",
        "POST",
        "HTTP/1.1",
        "HTTP/1.0",
        "HTTP/1.1 200 OK",
        "/",
        "*",
        "http://",
        "host",
        "content-length",
        "transfer-encoding",
        "chunked",
        "connection",
        "close",
        "0",
        "1",
        "a",
        "ff",
        "\0",
        "\t",
        "\u{e9}",
    ];

    #[test]
    fn the_corpus_is_read_and_written_alike() {
        for row in CORPUS {
            fuzz_http1(row.as_bytes());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            fuzz_http1(&bytes);
        }

        #[test]
        fn no_words_do_either(words in prop::collection::vec(0..WORDS.len(), 0..40)) {
            let bytes: String = words.into_iter().map(|word| WORDS[word]).collect();
            fuzz_http1(bytes.as_bytes());
        }

        #[test]
        fn nearly_good_messages_do_not_either(
            row in 0..CORPUS.len(), at: prop::sample::Index, byte: u8, insert: bool,
        ) {
            let mut bytes = CORPUS[row].as_bytes().to_vec();
            let at = at.index(bytes.len());
            if insert {
                bytes.insert(at, byte);
            } else {
                bytes[at] = byte;
            }
            fuzz_http1(&bytes);
        }
    }
}
