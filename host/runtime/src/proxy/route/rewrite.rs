//! What the router makes of a request, and where it sends a caller instead.

use super::{Taken, matching, split_query};
use crate::config::{Action, AppendAction, Body, FieldEdits, Forward, PathRewrite, Redirect};
use crate::proxy::fields;
use crate::view::{Direction, Pairs};

impl Taken<'_> {
    /// Where the request goes, if it goes anywhere.
    pub fn forward(&self) -> Option<&Forward> {
        match &self.route.action {
            Action::Forward(forward) => Some(forward),
            Action::Reply(_) | Action::Redirect(_) => None,
        }
    }

    /// The path as it leaves, if the route replaces it.
    pub fn path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let rewrite = match &self.route.action {
            Action::Forward(forward) => forward.path_rewrite.as_ref(),
            Action::Redirect(redirect) => redirect.path_rewrite.as_ref(),
            Action::Reply(_) => None,
        };
        let (bare, query) = split_query(path);
        let bare = match rewrite? {
            PathRewrite::Prefix(text) => {
                let length = matching::matched(&self.route.condition, bare)?;
                [text.as_bytes(), bare.get(length..)?].concat()
            }
            PathRewrite::Pattern(pattern, text) => pattern.replaced(bare, text),
        };
        Some([bare, query.to_vec()].concat())
    }

    /// The authority as it leaves, if the route replaces it.
    pub fn authority(&self) -> Option<Vec<u8>> {
        Some(self.forward()?.host_rewrite.as_ref()?.as_bytes().to_vec())
    }

    /// Status, fields and content of the answer, if the route has one; `field` gives a field
    /// of the request.
    pub fn answer(&self, field: impl Fn(&str) -> Option<Vec<u8>>) -> Option<(u16, Pairs, Vec<u8>)> {
        match &self.route.action {
            Action::Forward(_) => None,
            Action::Reply(reply) => {
                let body = match &reply.body {
                    Body::Inline(body) => body.clone(),
                    // Files are fetched before the first request.
                    Body::File(..) => Vec::new(),
                };
                Some((reply.status, Pairs::new(), body))
            }
            Action::Redirect(redirect) => {
                let location = self.location(redirect, field);
                let line = (b"location".to_vec(), location);
                Some((redirect.status, vec![line], Vec::new()))
            }
        }
    }

    fn location(&self, to: &Redirect, field: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<u8> {
        let came = |name: &str| field(name).unwrap_or_default();
        let scheme = to.scheme.clone().map_or_else(|| came(":scheme"), String::into_bytes);
        let host = match &to.host {
            Some(host) => host.clone().into_bytes(),
            None => host(&came(":authority"), &scheme, &came("x-forwarded-proto"), to.port),
        };
        let port = to.port.map(|port| format!(":{port}")).unwrap_or_default();
        let path = self.elsewhere(to, &came(":path"));
        [scheme, b"://".to_vec(), host, port.into_bytes(), path].concat()
    }

    fn elsewhere(&self, to: &Redirect, path: &[u8]) -> Vec<u8> {
        let (_, query) = split_query(path);
        match &to.path {
            Some(other) if other.contains('?') => return other.clone().into_bytes(),
            Some(other) if to.strip_query => return other.clone().into_bytes(),
            Some(other) => return [other.as_bytes(), query].concat(),
            None => {}
        }
        let path = self.path(path).unwrap_or_else(|| path.to_vec());
        if to.strip_query { split_query(&path).0.to_vec() } else { path }
    }
}

/// The caller's host for another scheme or port: the port goes that was one of the old.
fn host(authority: &[u8], scheme: &[u8], came_by: &[u8], port: Option<u16>) -> Vec<u8> {
    let in_brackets = authority.first() == Some(&b'[');
    let colon = authority.iter().rposition(|byte| *byte == b':');
    let colon = colon.filter(|at| !in_brackets || authority.get(at.wrapping_sub(1)) == Some(&b']'));
    let Some((host, old)) = colon.map(|at| authority.split_at(at)) else {
        return authority.to_vec();
    };
    let usual = matches!((came_by, old), (b"https", b":443") | (b"http", b":80"));
    let goes = port.is_some() || (scheme != came_by && usual);
    if goes { host.to_vec() } else { authority.to_vec() }
}

/// Changes the fields of a message; what is removed goes first, then what replaces others,
/// then what is added.
pub fn edit(edits: &FieldEdits, direction: Direction, pairs: &mut Pairs) {
    let names: Vec<&str> = edits.remove.iter().map(String::as_str).collect();
    fields::remove(pairs, &names);
    let (mut replace, mut append) = (Vec::new(), Vec::new());
    for add in &edits.add {
        let is_there = pairs.iter().any(|(name, _)| name == add.name.as_bytes());
        match (add.action, is_there) {
            (AppendAction::Append, _) | (AppendAction::AddIfAbsent, false) => append.push(add),
            (AppendAction::Overwrite, _) | (AppendAction::OverwriteIfPresent, true) => {
                replace.push(add);
            }
            (AppendAction::AddIfAbsent, true) | (AppendAction::OverwriteIfPresent, false) => {}
        }
    }
    for add in replace {
        fields::overwrite(pairs, direction, &add.name, add.value.as_bytes());
    }
    for add in append {
        fields::append(pairs, direction, &add.name, add.value.as_bytes());
    }
}
