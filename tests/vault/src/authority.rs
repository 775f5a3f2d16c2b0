//! Certificates for the vault's TLS and for the signatures of what it releases.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, PKCS_RSA_SHA256, date_time_ymd,
};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaKeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const SIGNER: &[u8] = include_bytes!("../../attester/keys/uvm-leaf.pkcs8");

/// Issues for one test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = named("Postern test vault root", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a root"))
    }

    /// DER of the root.
    pub(crate) fn root(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// PEM of the root.
    pub(crate) fn root_pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn tls(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("a key");
        let leaf = named("vault", &["localhost"]).signed_by(&key, &self.0).expect("a leaf");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key);
        Arc::new(config.expect("a configuration"))
    }

    /// DER of the certificate of [`sign`]'s key, for `host`.
    pub(crate) fn signer(&self, host: &str, expired: bool) -> Vec<u8> {
        let key = PrivatePkcs8KeyDer::from(SIGNER);
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_RSA_SHA256).expect("a key");
        let mut params = named("vault signer", &[host]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        params.signed_by(&key, &self.0).expect("a leaf").der().to_vec()
    }
}

fn named(common: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("names");
    params.distinguished_name.push(DnType::CommonName, common);
    params
}

/// A signature by `alg`, as far as there is one.
pub(crate) fn sign(alg: &str, message: &[u8]) -> Vec<u8> {
    let key = RsaKeyPair::from_pkcs8(SIGNER).expect("a key");
    let scheme: &dyn ring::signature::RsaEncoding = match alg {
        "PS256" => &RSA_PSS_SHA256,
        "RS512" => &RSA_PKCS1_SHA512,
        _ => &RSA_PKCS1_SHA256,
    };
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(scheme, &SystemRandom::new(), message, &mut signature).expect("signs");
    signature
}
