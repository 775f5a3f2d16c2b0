//! A reader of HTTP/1.1 that shares nothing with the gateway's, and takes less.
//!
//! What the gateway writes has to be in the one plainest form; anything else is a finding.

/// Names and values.
pub type Fields = Vec<(String, Vec<u8>)>;

/// A message that was read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Names and values.
    pub fields: Fields,
    /// Without framing.
    pub content: Vec<u8>,
    /// Fields behind chunks.
    pub trailers: Fields,
    /// Content goes on until the connection closes.
    pub until_close: bool,
}

impl Message {
    /// The only value of a field.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_slice())
    }

    /// A word of the first line.
    pub fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request.
    Request,
    /// An answer, and whether it may have content at all.
    Answer { content: bool },
}

/// The first message in `bytes` and its length; `None` if it is not whole yet.
pub fn read(bytes: &[u8], kind: Kind) -> Result<Option<(Message, usize)>, String> {
    let Some((start, mut at)) = line(bytes, 0)? else { return Ok(None) };
    let start = String::from_utf8(start.to_vec()).map_err(|_| "a first line of other bytes")?;
    check_start(&start, kind)?;
    let Some(fields) = section(bytes, &mut at)? else { return Ok(None) };
    let none = vec![];
    let mut message =
        Message { start, fields, content: none, trailers: vec![], until_close: false };
    let lengths: Vec<_> = values(&message, "content-length");
    let codings: Vec<_> = values(&message, "transfer-encoding");
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) if matches!(kind, Kind::Answer { content: true }) => message.until_close = true,
        ([], []) => {}
        (_, []) if kind == (Kind::Answer { content: false }) => {}
        // How content would be framed (RFC 9112, 6.3).
        ([], [coding]) if kind == (Kind::Answer { content: false }) && coding == b"chunked" => {}
        ([length], []) => {
            let digits = length.iter().all(u8::is_ascii_digit) && !length.is_empty();
            let length = String::from_utf8_lossy(length).parse::<usize>().ok().filter(|_| digits);
            let length = length.ok_or("a length that is none")?;
            let Some(content) = bytes.get(at..at + length) else { return Ok(None) };
            message.content = content.to_vec();
            at += length;
        }
        ([], [coding]) if coding == b"chunked" => {
            let Some(()) = chunks(bytes, &mut at, &mut message)? else { return Ok(None) };
        }
        _ => return Err(format!("framing: {lengths:?} {codings:?}")),
    }
    Ok(Some((message, at)))
}

fn check_start(start: &str, kind: Kind) -> Result<(), String> {
    let words: Vec<&str> = start.splitn(3, ' ').collect();
    let good = match (kind, words.as_slice()) {
        (Kind::Request, [method, target, "HTTP/1.1"]) => {
            let token =
                |byte: u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
            method.bytes().all(token)
                && target.bytes().all(|byte| byte.is_ascii_graphic())
                && !target.is_empty()
        }
        (Kind::Answer { .. }, ["HTTP/1.1", status, _]) => {
            status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit())
        }
        _ => false,
    };
    if good { Ok(()) } else { Err(format!("first line {start:?}")) }
}

fn values(message: &Message, name: &str) -> Vec<Vec<u8>> {
    let lines = message.fields.iter().filter(|(have, _)| have == name);
    lines.map(|(_, value)| value.clone()).collect()
}

fn chunks(bytes: &[u8], at: &mut usize, message: &mut Message) -> Result<Option<()>, String> {
    loop {
        let Some((size, after)) = line(bytes, *at)? else { return Ok(None) };
        let text = String::from_utf8_lossy(size).into_owned();
        let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(&text, 16).ok().filter(|_| digits);
        let size = size.ok_or_else(|| format!("size {text:?}"))?;
        *at = after;
        if size == 0 {
            let Some(trailers) = section(bytes, at)? else { return Ok(None) };
            message.trailers = trailers;
            return Ok(Some(()));
        }
        let Some(chunk) = bytes.get(*at..*at + size + 2) else { return Ok(None) };
        let Some(chunk) = chunk.strip_suffix(b"\r\n") else { return Err("chunk's end".into()) };
        message.content.extend_from_slice(chunk);
        *at += size + 2;
    }
}

/// Field lines until the empty one.
fn section(bytes: &[u8], at: &mut usize) -> Result<Option<Fields>, String> {
    let mut fields = Vec::new();
    loop {
        let Some((text, after)) = line(bytes, *at)? else { return Ok(None) };
        *at = after;
        if text.is_empty() {
            return Ok(Some(fields));
        }
        let colon = text.iter().position(|byte| *byte == b':').ok_or("a line without a colon")?;
        let (name, value) = (&text[..colon], &text[colon + 1..]);
        let token = |byte: &u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(byte)
        };
        if name.is_empty() || !name.iter().all(token) {
            return Err(format!("field name {:?}", name.escape_ascii().to_string()));
        }
        if value.iter().any(|byte| *byte < 32 && *byte != b'\t' || *byte == 127) {
            return Err(format!("field value {:?}", value.escape_ascii().to_string()));
        }
        let name = String::from_utf8_lossy(name).into_owned();
        fields.push((name, value.trim_ascii().to_vec()));
    }
}

/// The line at `at`, which ends with CR LF and has neither inside, and where the next begins.
fn line(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, String> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return Ok(None);
    };
    match &rest[end..] {
        [b'\r', b'\n', ..] => Ok(Some((&rest[..end], at + end + 2))),
        [b'\r'] => Ok(None),
        _ => Err("a bare CR or LF".into()),
    }
}
