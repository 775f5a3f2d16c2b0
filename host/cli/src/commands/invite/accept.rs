//! `postern invite accept`: at the gateway, with nothing but the invite.
//!
//! Invariant: what leaves is good for one holder's key, which is written to a private file
//! before anything is sent, so that an answer that is lost can be asked for again.

use std::path::PathBuf;
use std::time::Duration;

use postern_capability::mint::{self, Unsigned};
use postern_capability::proof;
use postern_core::api_key::PresentedKey;
use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::commands::token::files;
use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;
use crate::{random, span};

/// Longest wait for the gateway.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer.
const MAX_ANSWER: u64 = 64 << 10;
/// Largest file of certificates.
const MAX_CA: usize = 1 << 20;

/// Exchange an invite for a token.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern invite accept --invite invite --new-holder holder.key \\
      --url https://gateway.test/.postern/invites > token
  postern token sign --token token --key holder.key --method GET \\
      --url https://api.test/api/documents/q3-report

Exchanged again with --holder-key and the same key, an invite gives the same token until that
ends; with any other key it is refused. Anything that can sign a request (postern token sign,
RFC 9421) can do this without postern: the invite stands where a token would.

Exit codes: 0 exchanged, 1 refused, 2 called wrongly, 3 the gateway cannot be reached")]
pub struct AcceptArgs {
    /// File with the invite; - for stdin.
    #[arg(long, value_name = "FILE", default_value = "-")]
    invite: PathBuf,
    /// The gateway's endpoint for invites. Plain HTTP on this machine only.
    #[arg(long, value_parser = files::url)]
    url: files::Url,
    /// PEM of the authority that the gateway's certificate comes from. Default: the usual ones.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    holder: HolderArgs,
}

/// The key that the token is bound to.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct HolderArgs {
    /// Make the key and write it to this new file (mode 0600).
    #[arg(long, value_name = "FILE")]
    new_holder: Option<PathBuf>,
    /// A private key (mode 0600) of `postern token key`, or of an earlier try.
    #[arg(long, value_name = "FILE")]
    holder_key: Option<PathBuf>,
}

pub fn run(args: &AcceptArgs, out: Output) -> Outcome {
    let invite = files::token(&args.invite)?;
    if PresentedKey::parse_invite(invite.as_bytes()).is_none() {
        return Err(Failure::found("this is no invite: a character is wrong, missing or too many"));
    }
    if args.url.scheme != "https" && !is_local(&args.url) {
        return Err(Failure::usage("--url: expected https, or http on 127.0.0.1"));
    }
    let agent = args.agent()?;
    let file = match (&args.holder.new_holder, &args.holder.holder_key) {
        (Some(file), _) => {
            files::make_key(file)?;
            file
        }
        (None, Some(file)) => file,
        (None, None) => return Err(Failure::usage("expected --new-holder or --holder-key")),
    };
    let unsigned = Unsigned {
        method: "POST",
        scheme: &args.url.scheme,
        authority: &args.url.authority,
        target: &args.url.target,
        token: &invite,
        content: None,
        fields: &[],
    };
    let key = files::private_key(file)?;
    let signed = mint::sign_request(&unsigned, &key, span::now().seconds(), &random::bytes()?);
    let signed = signed.or_usage("--url")?;
    let url = format!("{}://{}{}", args.url.scheme, args.url.authority, args.url.target);
    let answer = agent
        .post(&url)
        .header(proof::FIELD, &invite)
        .header("signature-input", signed.signature_input)
        .header("signature", signed.signature)
        .send_empty();
    let mut answer = answer.or_environment(format_args!("cannot reach the gateway at {url}"))?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
    let body = body.or_environment("the gateway's answer cannot be read")?;
    let document: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    match (status, document.get("token").and_then(Value::as_str)) {
        (200, Some(token)) => {
            let token = token.to_owned();
            out.note(&format!("holder's key: {}", file.display()));
            out.result(&document, &token)
        }
        (401, _) => Err(Failure::found("the gateway refuses this invite, or does not know it")),
        (status, _) => Err(Failure::environment(format_args!("the gateway answered {status}"))),
    }
}

impl AcceptArgs {
    fn agent(&self) -> Outcome<Agent> {
        let mut config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE));
        if let Some(file) = &self.ca {
            let pem = postern_files::read_bounded(file, MAX_CA).or_environment("--ca")?;
            let ca = Certificate::from_pem(&pem).or_environment("--ca")?;
            let roots = RootCerts::new_with_certs(&[ca]);
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(config.build().into())
    }
}

/// Whether nobody but this machine sees what is sent.
fn is_local(url: &files::Url) -> bool {
    let name = url.authority.rsplit_once(':').map_or(url.authority.as_str(), |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let loopback = address.parse().is_ok_and(|it: std::net::IpAddr| it.is_loopback());
    loopback || name == "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        for (url, local) in [
            ("http://127.0.0.1:10000/a", true),
            ("http://[::1]:10000/a", true),
            ("http://localhost/a", true),
            ("http://gateway.test/a", false),
            ("http://127.0.0.1.test/a", false),
            ("http://10.0.0.1:80/a", false),
        ] {
            assert_eq!(is_local(&files::url(url).unwrap()), local, "{url}");
        }
    }
}
