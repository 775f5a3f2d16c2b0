//! `postern upstream`: something to call while trying a gateway.
//!
//! Invariant: what a request carried goes back to its caller and nowhere else; the line on
//! stderr has the length of a credential and not its value.

use std::net::SocketAddr;

use axum::Router;
use axum::http::{HeaderMap, Method, Uri};
use serde_json::json;
use tokio::net::TcpListener;

use super::keys;
use crate::ending::Ending;
use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;

/// Run a small upstream.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern upstream
  postern upstream --listen 127.0.0.1:9100

It answers every request with the fields that it got. Through a gateway, its line shows that
the credential was there, and its answer that the credential does not come back. Plain HTTP,
on this machine only.")]
pub struct Args {
    /// Address of this machine; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Stop when stdin ends, so that whoever started this cannot leave it behind.
    #[arg(long, hide = true)]
    while_stdin: bool,
}

/// Serves until it is told to stop.
pub fn run(args: &Args, out: Output) -> Outcome {
    if !args.listen.ip().is_loopback() {
        return Err(Failure::usage("--listen: expected a loopback address"));
    }
    keys::runtime()?.block_on(async {
        let mut ending = Ending::watch(args.while_stdin)?;
        let listener = TcpListener::bind(args.listen).await.or_environment(args.listen)?;
        let url = format!("http://{}", listener.local_addr().or_environment(args.listen)?);
        out.result(&json!({"url": url}), &format!("listening on {url}"))?;
        let echo = move |method, uri, fields| async move { echo(&method, &uri, &fields, out) };
        let server = axum::serve(listener, Router::new().fallback(echo));
        tokio::select! {
            ended = async { server.await } => ended.or_environment("cannot serve"),
            () = ending.asked() => Ok(()),
        }
    })
}

/// The request line and every field, one a line.
fn echo(method: &Method, uri: &Uri, fields: &HeaderMap, out: Output) -> String {
    let credential = fields.get("authorization").map_or(0, |value| value.as_bytes().len());
    out.note(&format!("{method} {}: authorization of {credential} bytes", uri.path()));
    let mut text = format!("{method} {uri}\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_comes_back() {
        let mut fields = HeaderMap::new();
        fields.insert("authorization", "Bearer x".parse().unwrap());
        fields.append("a", "1".parse().unwrap());
        fields.append("a", "2".parse().unwrap());
        let text = echo(&Method::GET, &"/api?q".parse().unwrap(), &fields, Output { json: true });
        assert_eq!(text, "GET /api?q\nauthorization: Bearer x\na: 1\na: 2\n");
    }
}
