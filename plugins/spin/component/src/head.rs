//! Header sections, from and to `wasi:http`.
//!
//! The core reads pseudo-fields; `wasi:http` has methods and paths instead. Invariant: what
//! WASI does not take is `None`, and nothing is left out.

use postern_core::fields::{Field, Fields};
use spin_sdk::wasip3::http::types::{self, Method, Request, Response, Scheme};

/// Fields that Spin adds about its route. Inbound copies are the caller's, and none of them
/// is the upstream's business.
const SPIN: &str = "spin-";
/// What proxies say of a caller's certificate. Nobody before us does, so it is the caller's.
const CERTIFICATE: &str = "x-forwarded-client-cert";

/// A request's section, pseudo-fields first.
pub fn of_request(request: &Request) -> Fields {
    let scheme = match request.get_scheme() {
        Some(Scheme::Https) => "https".to_owned(),
        Some(Scheme::Other(other)) => other,
        Some(Scheme::Http) | None => "http".to_owned(),
    };
    let pseudo = [
        (":method", method(&request.get_method())),
        (":scheme", scheme),
        (":authority", request.get_authority().unwrap_or_default()),
        (":path", request.get_path_with_query().unwrap_or_default()),
    ];
    let pseudo = pseudo.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes()));
    let lines = request.get_headers().copy_all();
    let ours = |name: &str| name.starts_with(SPIN) || name == CERTIFICATE;
    let lines = lines.into_iter().filter(|(name, _)| !ours(name));
    pseudo.chain(lines).collect()
}

/// A response's section, `:status` first.
pub fn of_response(response: &Response) -> Fields {
    let status = response.get_status_code().to_string().into_bytes();
    let lines = response.get_headers().copy_all();
    std::iter::once((":status".to_owned(), status)).chain(lines).collect()
}

/// Header or trailer lines as WASI has them.
pub fn of_lines(lines: &types::Fields) -> Fields {
    lines.copy_all().into_iter().collect()
}

/// Lines for WASI, without pseudo-fields; `None` when it does not take one of them.
pub fn lines(fields: &Fields) -> Option<types::Fields> {
    let real = fields.0.iter().filter(|field| !field.name.starts_with(b":"));
    let entries: Option<Vec<_>> = real.map(entry).collect();
    types::Fields::from_list(&entries?).ok()
}

fn entry(field: &Field) -> Option<(String, Vec<u8>)> {
    Some((String::from_utf8(field.name.clone()).ok()?, field.value.clone()))
}

/// Where a request goes, in WASI's words; `None` when it does not take one of them.
pub fn aim(request: &Request, fields: &Fields, plain: bool) -> Option<()> {
    let text = |name| str::from_utf8(fields.only(name)?).ok();
    let scheme = if plain { Scheme::Http } else { Scheme::Https };
    request.set_method(&of_method(text(":method")?)).ok()?;
    request.set_scheme(Some(&scheme)).ok()?;
    request.set_authority(Some(text(":authority")?)).ok()?;
    request.set_path_with_query(Some(text(":path")?)).ok()
}

fn method(method: &Method) -> String {
    let name = match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(other) => other,
    };
    name.to_owned()
}

fn of_method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}
