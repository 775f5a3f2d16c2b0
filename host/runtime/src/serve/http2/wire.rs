//! Fields between the codec's types and lines.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use crate::http1::Unsendable;
use crate::proxy::fields::{Came, Content, RequestHead};
use crate::view::Pairs;

/// The lines of a message, those of one name together.
pub(super) fn pairs(fields: &HeaderMap) -> Pairs {
    let lines = fields.iter();
    lines.map(|(name, value)| (name.as_str().into(), value.as_bytes().into())).collect()
}

/// The fields of a message, without pseudo fields.
pub(super) fn fields(pairs: &Pairs) -> Result<HeaderMap, Unsendable> {
    collect(pairs.iter())
}

fn collect<'p>(
    lines: impl Iterator<Item = &'p (Vec<u8>, Vec<u8>)>,
) -> Result<HeaderMap, Unsendable> {
    let mut fields = HeaderMap::with_capacity(lines.size_hint().1.unwrap_or_default());
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name).map_err(|_| Unsendable::Name)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Unsendable::Value)?;
        fields.try_append(name, value).map_err(|_| Unsendable::Framing)?;
    }
    Ok(fields)
}

/// A request as it came.
pub(super) fn came(request: &http::request::Parts) -> Came {
    let uri = &request.uri;
    let path = uri.path_and_query().map(|path| path.as_str().into()).unwrap_or_default();
    Came {
        method: request.method.as_str().into(),
        scheme: uri.scheme_str().map(Into::into),
        authority: uri.authority().map(|authority| authority.as_str().into()),
        path,
        fields: pairs(&request.headers),
    }
}

/// A request as it leaves. Fields that frame HTTP/1.1 stay behind.
pub(super) fn request(head: &RequestHead) -> Result<Request<()>, Unsendable> {
    if head.content == Content::Tunnel {
        return Err(Unsendable::Framing);
    }
    let host = head.fields.iter().find(|(name, _)| name == b"host");
    let (_, authority) = host.ok_or(Unsendable::Target)?;
    // What stands behind it would be lost on the way.
    if head.target.contains(&b'#') {
        return Err(Unsendable::Target);
    }
    let uri = Uri::builder()
        .scheme(head.scheme.as_str())
        .authority(authority.as_slice())
        .path_and_query(head.target.as_slice());
    let uri = uri.build().map_err(|_| Unsendable::Target)?;
    let mut request = Request::new(());
    let method = http::Method::from_bytes(&head.method);
    *request.method_mut() = method.map_err(|_| Unsendable::Method)?;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    let stays = |name: &[u8]| match name {
        b"host" | b"transfer-encoding" => false,
        b"content-length" => head.told_length,
        _ => true,
    };
    *request.headers_mut() = collect(head.fields.iter().filter(|(name, _)| stays(name)))?;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::fields::request_leaves;

    fn line(name: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
        (name.into(), value.into())
    }

    #[test]
    fn what_frames_http_1_1_does_not_leave() {
        let pairs = [
            (":authority", "a.test"),
            (":path", "/a?b"),
            (":method", "POST"),
            (":scheme", "https"),
            ("x-a", "1"),
            ("te", "trailers"),
            ("x-a", "2"),
        ];
        let pairs: Pairs = pairs.map(|(name, value)| line(name, value)).into();
        for end in [true, false] {
            let request = request(&request_leaves(&pairs, end).unwrap()).unwrap();
            assert_eq!(request.uri().to_string(), "https://a.test/a?b");
            assert_eq!(request.method(), "POST");
            let want = [("x-a", "1"), ("x-a", "2"), ("te", "trailers")];
            let want: Pairs = want.map(|(name, value)| line(name, value)).into();
            assert_eq!(super::pairs(request.headers()), want);
        }
    }

    #[test]
    fn a_length_that_was_told_is_told() {
        let pairs = [
            (":authority", "a.test"),
            (":path", "/"),
            (":method", "POST"),
            ("content-length", "0"),
        ];
        let pairs: Pairs = pairs.map(|(name, value)| line(name, value)).into();
        let request = request(&request_leaves(&pairs, true).unwrap()).unwrap();
        assert_eq!(super::pairs(request.headers()), [line("content-length", "0")]);
    }

    #[test]
    fn a_target_that_would_lose_its_end_does_not_leave() {
        let pairs = [(":authority", "a"), (":path", "/a#b"), (":method", "GET")];
        let pairs: Pairs = pairs.map(|(name, value)| line(name, value)).into();
        let head = request_leaves(&pairs, true).unwrap();
        assert_eq!(request(&head).err(), Some(Unsendable::Target));
    }
}
