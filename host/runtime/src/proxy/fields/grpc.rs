//! Local replies to callers that speak gRPC: its status in the fields, as Envoy says it.

use super::line;
use crate::view::LocalReply;

/// Makes a reply one of gRPC: status 200, and the content as its message.
pub fn to_grpc(reply: &mut LocalReply) {
    let status = if reply.grpc_status < 0 { grpc_of_http(reply.status) } else { reply.grpc_status };
    let mut headers =
        vec![line("content-type", "application/grpc"), line("grpc-status", status.to_string())];
    if !reply.body.is_empty() {
        headers.push(line("grpc-message", message(&std::mem::take(&mut reply.body))));
    }
    headers.append(&mut reply.headers);
    reply.headers = headers;
    reply.status = 200;
}

/// The mapping of gRPC's own document on HTTP statuses.
pub fn grpc_of_http(status: u32) -> i32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// `grpc-message` is percent-encoded.
fn message(text: &[u8]) -> Vec<u8> {
    let encoded = text.iter().map(|byte| match byte {
        b'%' => "%25".to_owned(),
        b' '..=b'~' => char::from(*byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::chain::own;

    #[test]
    fn status_and_content_become_fields() {
        let mut reply = own(403, "", "50% \n");
        to_grpc(&mut reply);
        assert_eq!((reply.status, reply.body.len()), (200, 0));
        assert_eq!(
            reply.headers,
            [
                line("content-type", "application/grpc"),
                line("grpc-status", "7"),
                line("grpc-message", "50%25 %0A"),
            ]
        );
    }
}
