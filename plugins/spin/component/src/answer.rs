//! Answers that are made here.

use postern_core::denial::{DecisionId, Denial, Ours};
use postern_core::effect::Reply;
use postern_core::fields::Fields;
use spin_sdk::wasip3::http::types::{ErrorCode, Response};
use spin_sdk::wasip3::wit_bindgen::spawn;

use crate::content::{self, Outgoing};
use crate::head;

/// An instance without a configuration.
pub fn unconfigured() -> Result<Response, ErrorCode> {
    local(Denial::Internal(Ours::Unexpected).reply(&DecisionId([0; 16])))
}

/// Nothing but a status, as a proxy answers for an upstream that does not.
pub fn bare(status: u16) -> Result<Response, ErrorCode> {
    local(Reply { status, fields: Vec::new(), content: Vec::new(), details: "" })
}

/// An answer of the core's.
pub fn local(reply: Reply) -> Result<Response, ErrorCode> {
    let length = ("content-length".to_owned(), reply.content.len().to_string());
    let fields: Fields = reply.fields.into_iter().chain([length]).collect();
    let content = reply.content;
    if content.is_empty() {
        return begin(reply.status, &fields, None);
    }
    let (mut outgoing, source) = Outgoing::new();
    spawn(async move {
        if outgoing.send(content).await {
            outgoing.end(None).await;
        }
    });
    begin(reply.status, &fields, Some(source))
}

/// A response whose content comes from `source`, or has none.
pub fn begin(
    status: u16,
    fields: &Fields,
    source: Option<content::Source>,
) -> Result<Response, ErrorCode> {
    let lines = head::lines(fields).ok_or(ErrorCode::InternalError(None))?;
    let response = match source {
        Some((bytes, ending)) => Response::new(lines, Some(bytes), ending).0,
        None => Response::new(lines, None, content::none()).0,
    };
    let set = response.set_status_code(status);
    set.map(|()| response).map_err(|()| ErrorCode::InternalError(None))
}
