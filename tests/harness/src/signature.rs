//! Signatures that an upstream got, verified as the upstream would, by code of its own.
//!
//! A signature has the time in it, so no two boundaries give the same bytes: what was verified
//! is written in words (`TIME`, `NONCE`, `valid`), and what was not says why. Knows nothing of
//! how the product signs.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use postern_core::time::UnixMillis;
use sha2::{Digest, Sha256};

use crate::observation::Seen;
use crate::template::percent;
use crate::world::Base;

/// Between the clock of the signer and that of the upstream, in seconds.
const SKEW: u64 = 60;

/// Verifies the signature of a request, if it has one.
pub fn settle(seen: &mut Seen, base: &Base, now: UnixMillis) {
    let Some([value]) = seen.fields.get("authorization").map(Vec::as_slice) else { return };
    let settled = match value.split_once(' ') {
        Some(("AWS4-HMAC-SHA256", rest)) => aws(seen, rest, base, now),
        Some(("OAuth", rest)) => oauth(seen, rest, base, now),
        _ => return,
    };
    let text = settled.unwrap_or_else(|why| format!("invalid: {why:#}: {value}"));
    if text.starts_with("AWS4-HMAC-SHA256") {
        seen.fields.insert("x-amz-date".to_owned(), vec!["TIME".to_owned()]);
    }
    seen.fields.insert("authorization".to_owned(), vec![text]);
}

/// The fields of the credential whose `field` is `value`.
fn keys<'a>(base: &'a Base, field: &str, value: &str) -> Result<&'a BTreeMap<String, String>> {
    let mut all = base.credentials.values().map(|credential| &credential.fields);
    all.find(|fields| fields.get(field).is_some_and(|have| have == value)).context("unknown key")
}

fn aws(seen: &Seen, text: &str, base: &Base, now: UnixMillis) -> Result<String> {
    let parts: BTreeMap<&str, &str> =
        text.split(", ").filter_map(|part| part.split_once('=')).collect();
    let part = |name: &str| parts.get(name).copied().with_context(|| format!("no {name}"));
    let (scope, names) = (part("Credential")?, part("SignedHeaders")?);
    let scope: Vec<&str> = scope.split('/').collect();
    let [id, date, region, service, "aws4_request"] = scope[..] else { bail!("scope") };
    let keys = keys(base, "access_key_id", id)?;
    let time = only(seen, "x-amz-date")?;
    ensure!(time.starts_with(date) && (stamp(&time)?).abs_diff(now.seconds()) <= SKEW, "time");
    let content = only(seen, "x-amz-content-sha256")?;
    ensure!(
        content == "UNSIGNED-PAYLOAD" || content == hex(&Sha256::digest(&seen.body)),
        "content"
    );
    let mut canonical = vec![seen.method.clone()];
    let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
    canonical.push(match service {
        "s3" => slashes(&unescaped(path, false)?),
        _ => slashes(path.as_bytes()),
    });
    canonical.push(sorted(parameters(query, false)?));
    for name in names.split(';') {
        let lines = if name == "host" { vec![seen.authority.clone()] } else { all(seen, name) };
        let words: Vec<_> = lines.iter().map(|line| line.split_whitespace()).collect();
        let words: Vec<String> =
            words.into_iter().map(|words| words.collect::<Vec<_>>().join(" ")).collect();
        canonical.push(format!("{name}:{}", words.join(",")));
    }
    canonical.extend([String::new(), names.to_owned(), content]);
    // Whatever of these is there and not covered could have been changed on the way.
    let must = |name: &&String| name.starts_with("x-amz-") || *name == "content-type";
    let open = seen.fields.keys().filter(must).find(|name| !names.split(';').any(|n| n == *name));
    ensure!(open.is_none(), "not covered: {open:?}");
    let hash = hex(&Sha256::digest(canonical.join("\n")));
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
    let secret = keys.get("secret_access_key").context("no secret")?;
    let mut key = format!("AWS4{secret}").into_bytes();
    for step in [date, region, service, "aws4_request", &to_sign] {
        key = mac::<Hmac<Sha256>>(&key, step)?;
    }
    ensure!(part("Signature")? == hex(&key), "signature");
    let scope = format!("{id}/TIME/{region}/{service}/aws4_request");
    Ok(format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={names}, Signature=valid"))
}

fn oauth(seen: &Seen, text: &str, base: &Base, now: UnixMillis) -> Result<String> {
    let mut sent: Vec<(String, Vec<u8>)> = Vec::new();
    for part in text.split(", ") {
        let (name, value) = part.split_once('=').context("parameter")?;
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).context("quotes")?;
        sent.push((name.to_owned(), unescaped(value, false)?));
    }
    let find = |name: &str| {
        let found = sent.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    let part = |name: &str| find(name).with_context(|| format!("no {name}"));
    let keys = keys(base, "consumer_key", &part("oauth_consumer_key")?)?;
    ensure!(find("oauth_token") == keys.get("token").cloned(), "token");
    let time: u64 = part("oauth_timestamp")?.parse()?;
    ensure!(time.abs_diff(now.seconds()) <= SKEW, "time");
    ensure!(part("oauth_nonce")?.len() >= 16, "nonce");
    let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
    let mut all = parameters(query, true)?;
    let form = "application/x-www-form-urlencoded";
    if self::all(seen, "content-type").iter().any(|kind| kind.starts_with(form)) {
        all.extend(parameters(&seen.body, true)?);
    }
    let signed = sent.iter().filter(|(name, _)| name != "oauth_signature" && name != "realm");
    all.extend(signed.map(|(name, value)| (name.clone().into_bytes(), value.clone())));
    let uri = format!("https://{}{path}", seen.authority.to_lowercase());
    let text = [seen.method.as_str(), &escaped(uri.as_bytes()), &escaped(sorted(all).as_bytes())];
    let (text, method) = (text.join("&"), part("oauth_signature_method")?);
    let secret = |name| escaped(keys.get(name).map_or(&b""[..], |value| value.as_bytes()));
    let key = format!("{}&{}", secret("consumer_secret"), secret("token_secret"));
    let made = match method.as_str() {
        "HMAC-SHA1" => mac::<Hmac<sha1::Sha1>>(key.as_bytes(), &text)?,
        "HMAC-SHA256" => mac::<Hmac<Sha256>>(key.as_bytes(), &text)?,
        _ => bail!("method"),
    };
    ensure!(part("oauth_signature")? == STANDARD.encode(made), "signature");
    let shown = sent.iter().map(|(name, value)| match name.as_str() {
        "oauth_timestamp" => format!("{name}=TIME"),
        "oauth_nonce" => format!("{name}=NONCE"),
        "oauth_signature" => format!("{name}=valid"),
        _ => format!("{name}={}", String::from_utf8_lossy(value)),
    });
    Ok(format!("OAuth {}", shown.collect::<Vec<_>>().join(", ")))
}

fn all(seen: &Seen, name: &str) -> Vec<String> {
    seen.fields.get(name).cloned().unwrap_or_default()
}

fn only(seen: &Seen, name: &str) -> Result<String> {
    match all(seen, name).as_slice() {
        [value] => Ok(value.clone()),
        lines => bail!("{} lines of {name}", lines.len()),
    }
}

/// `20150830T123600Z` in seconds, counting the leap days of this century.
fn stamp(text: &str) -> Result<u64> {
    let number = |from: usize, to: usize| -> Result<u64> {
        Ok(text.get(from..to).context("short")?.parse()?)
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let month_starts = before.get(usize::try_from(month)?.wrapping_sub(1)).context("month")?;
    let leap = u64::from(year.is_multiple_of(4) && month > 2);
    let days = (year - 1970) * 365 + (year - 1969) / 4 + month_starts + leap + day - 1;
    Ok(days * 86_400 + number(9, 11)? * 3600 + number(11, 13)? * 60 + number(13, 15)?)
}

fn parameters(text: &str, plus: bool) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let pairs = text.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Ok((unescaped(name, plus)?, unescaped(value, plus)?))
    });
    pairs.collect()
}

fn sorted(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> String {
    let mut pairs: Vec<_> =
        pairs.iter().map(|(name, value)| (escaped(name), escaped(value))).collect();
    pairs.sort();
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join("&")
}

fn slashes(path: &[u8]) -> String {
    escaped(path).replace("%2F", "/")
}

fn escaped(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&percent(bytes)).into_owned()
}

fn unescaped(text: &str, plus: bool) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, more @ ..] = rest {
        rest = more;
        match (byte, more) {
            (b'%', [high, low, more @ ..]) => {
                out.push(u8::from_str_radix(str::from_utf8(&[*high, *low])?, 16)?);
                rest = more;
            }
            (b'%', _) => bail!("escape"),
            (b'+', _) if plus => out.push(b' '),
            _ => out.push(*byte),
        }
    }
    Ok(out)
}

fn mac<M: KeyInit + Mac>(key: &[u8], text: &str) -> Result<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key)?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
