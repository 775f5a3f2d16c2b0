//! Back ends of the configuration, with their files.
//!
//! Invariant: a file with a secret is private (0600), and is read each time that it is needed;
//! a token of Kubernetes is as Kubernetes writes it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use postern_core::redacted::Redacted;
use postern_core::secret::Secret;
use postern_vaults::{
    AwsSettings, Backend, KeySource, Keys, Kv2, Login, Refused, SecretsManager, Source,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::{Hashicorp, HashicorpLogin, Vault, VaultMedium};
use crate::fault::Fault;

/// Largest file of certificates.
const MAX_PEM: usize = 256 << 10;
/// Largest file of a token.
const MAX_TOKEN: usize = 16 << 10;

/// The back end of a vault. Its login files need not be there yet.
pub(super) fn backend(vault: &Vault) -> Result<Box<dyn Backend>, Fault> {
    match &vault.medium {
        VaultMedium::Hashicorp(hashicorp) => {
            let settings = postern_vaults::Settings {
                server: hashicorp.address.clone(),
                mount: hashicorp.mount.clone(),
                namespace: hashicorp.namespace.clone(),
                login: login(hashicorp),
                roots: hashicorp.ca.as_deref().map(roots).transpose()?,
                patience: vault.timeout,
            };
            Ok(Box::new(Kv2::new(settings)))
        }
        VaultMedium::Aws(aws) => {
            let settings = AwsSettings {
                region: aws.region.clone(),
                server: aws.endpoint.clone(),
                keys: keys(aws.credentials.clone()),
                roots: aws.ca.as_deref().map(roots).transpose()?,
                patience: vault.timeout,
            };
            Ok(Box::new(SecretsManager::new(settings)))
        }
    }
}

fn login(Hashicorp { login, .. }: &Hashicorp) -> Login {
    match login {
        HashicorpLogin::Token(file) => Login::Token(private(file.clone(), "token file")),
        HashicorpLogin::AppRole { mount, role_id, secret_id } => Login::AppRole {
            mount: mount.clone(),
            role_id: role_id.clone(),
            secret_id: private(secret_id.clone(), "secret id file"),
        },
        HashicorpLogin::Kubernetes { mount, role, token } => Login::Kubernetes {
            mount: mount.clone(),
            role: role.clone(),
            token: shared(token.clone(), "service account token file"),
        },
    }
}

fn private(file: PathBuf, what: &'static str) -> Source {
    Box::new(move || line(&file, postern_files::read_private(&file, MAX_TOKEN), what))
}

fn shared(file: PathBuf, what: &'static str) -> Source {
    Box::new(move || line(&file, postern_files::read_bounded(&file, MAX_TOKEN), what))
}

/// One line. Why there is none is said in the log, with the file.
fn line(
    file: &Path,
    read: std::io::Result<Vec<u8>>,
    what: &'static str,
) -> Result<Secret, Refused> {
    let whole = read.map(Secret::new).map_err(|error| {
        tracing::error!(fault = %Fault::file(file, &error), "no login to the vault");
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::InvalidData => {
                Refused::LoginExpired(what)
            }
            // It says nothing about the login, so what is kept stays good.
            _ => Refused::Unreachable(Redacted::new("its login cannot be read now")),
        }
    })?;
    let line = Secret::new(whole.expose().trim_ascii().to_vec());
    if line.is_empty() {
        // It may be written anew this moment.
        tracing::error!(fault = %Fault::file(file, &"is empty"), "no login to the vault");
        return Err(Refused::Unreachable(Redacted::new("its login is empty now")));
    }
    Ok(line)
}

/// What is said of a file of keys that is not one.
const KEYS: &str = "credentials file";

fn keys(file: PathBuf) -> KeySource {
    Box::new(move || {
        let text = line(&file, postern_files::read_private(&file, MAX_TOKEN), KEYS)?;
        let keys = str::from_utf8(text.expose()).ok().and_then(of_profile);
        keys.ok_or_else(|| {
            let expected = "expected aws_access_key_id and aws_secret_access_key in [default]";
            tracing::error!(fault = %Fault::file(&file, &expected), "no login to the vault");
            Refused::LoginExpired(KEYS)
        })
    })
}

/// The profile `default` of the AWS command line's file: `name = value` under `[default]`.
fn of_profile(text: &str) -> Option<Keys> {
    let lines = text.lines().map(str::trim);
    let profile = lines.skip_while(|line| *line != "[default]").skip(1);
    let profile = profile.take_while(|line| !line.starts_with('['));
    let (mut id, mut secret, mut token) = (None, None, None);
    for (name, value) in profile.filter_map(|line| line.split_once('=')) {
        let value = value.trim();
        let kept = || Some(Secret::new(value.as_bytes().to_vec()));
        match name.trim() {
            "aws_access_key_id" => id = Some(value.to_owned()),
            "aws_secret_access_key" => secret = kept(),
            "aws_session_token" => token = kept(),
            _ => {}
        }
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    let id = id.filter(|id| !id.is_empty() && id.bytes().all(plain))?;
    Some(Keys { id, secret: secret.filter(|secret| !secret.is_empty())?, token })
}

fn roots(file: &Path) -> Result<Vec<Vec<u8>>, Fault> {
    let pem = postern_files::read_bounded(file, MAX_PEM).map_err(|e| Fault::file(file, &e))?;
    let read = CertificateDer::pem_slice_iter(&pem).map(|one| one.map(|der| der.to_vec()));
    let roots: Vec<Vec<u8>> = read
        .collect::<Result<_, _>>()
        .map_err(|_| Fault::file(file, &"expected certificates in PEM"))?;
    match roots.is_empty() {
        false => Ok(roots),
        true => Err(Fault::file(file, &"expected certificates in PEM")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::Path;

    use super::{line, of_profile};

    #[test]
    fn keys_are_those_of_the_profile_default() {
        let file = "[other]\naws_access_key_id=NO\n\n[default]\n# of the reader\nregion = x\n\
                    aws_access_key_id = AKIA1\naws_secret_access_key=s/e+c=\n\
                    aws_session_token = t\n[last]\naws_access_key_id=NO\n";
        let keys = of_profile(file).unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.expose()), ("AKIA1", b"s/e+c=".as_slice()));
        assert_eq!(keys.token.unwrap().expose(), b"t");
        for bad in [
            "",
            "aws_access_key_id=A\naws_secret_access_key=s",
            "[default]\naws_access_key_id=A",
            "[default]\naws_access_key_id=A\naws_secret_access_key=",
            "[default]\naws_access_key_id=A/B\naws_secret_access_key=s",
        ] {
            assert!(of_profile(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_moments_trouble_with_a_file_is_no_word_about_the_login() {
        let path = Path::new("token");
        for (kind, passes) in [
            (ErrorKind::NotFound, false),
            (ErrorKind::PermissionDenied, false),
            (ErrorKind::InvalidData, false),
            (ErrorKind::Interrupted, true),
            (ErrorKind::Other, true),
        ] {
            let read = line(path, Err(kind.into()), "token file");
            assert_eq!(read.err().unwrap().may_pass(), passes, "{kind}");
        }
        assert!(line(path, Ok(b" \n".to_vec()), "token file").err().unwrap().may_pass());
        assert_eq!(line(path, Ok(b"t\n".to_vec()), "token file").unwrap().expose(), b"t");
    }
}
