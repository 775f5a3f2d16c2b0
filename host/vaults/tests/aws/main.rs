//! Values from moto's AWS Secrets Manager, run for real on loopback, which checks each signature
//! and what its user may do by botocore's own code.
//!
//! Needs the libraries of `cargo xtask setup` (`target/tools/python`).

mod site;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_vaults::{
    AwsSettings, Backend, Keys, Place, Refused, SecretsManager, ServerUrl, Version,
};
use serde_json::json;
use site::Site;

fn of(site: &Site, user: &str, change: fn(Keys) -> Keys) -> SecretsManager {
    let (id, secret) = site.keys(user);
    SecretsManager::new(AwsSettings {
        region: "eu-west-1".to_owned(),
        server: ServerUrl::parse(&site.url(), true).unwrap(),
        keys: Box::new(move || {
            let secret = Secret::new(secret.clone().into_bytes());
            Ok(change(Keys { id: id.clone(), secret, token: None }))
        }),
        roots: None,
        patience: Duration::from_secs(20),
    })
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMillis(u64::try_from(since.as_millis()).unwrap())
}

fn read(
    backend: &SecretsManager,
    place: &str,
    version: Option<&str>,
) -> Result<(String, String), Refused> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let version = version.map(|text| Version::new(text).unwrap());
    let place = Place::parse(place).unwrap();
    let value = runtime.block_on(backend.read(&place, version.as_ref(), now()))?;
    let text = String::from_utf8(value.secret.expose().to_vec()).unwrap();
    Ok((text, value.version.to_string()))
}

#[test]
fn values_versions_and_refusals_of_a_service_that_checks_signatures() {
    let mut site = Site::start();
    let name = "acme/stripe";
    let first = json!({"api_key": "sk_\"live\"_\u{e9}", "n": 7}).to_string();
    let one = site.does("create_secret", &json!({"Name": name, "SecretString": first}));
    let reader = of(&site, "reader", |keys| keys);
    let got = read(&reader, "acme/stripe#api_key", None);
    assert_eq!(got, Ok(("sk_\"live\"_\u{e9}".to_owned(), one.clone())));
    let whole = read(&reader, "acme/stripe#SecretString", None).unwrap();
    assert_eq!(whole, (first, one.clone()));

    let second = json!({"api_key": "sk_live_second"}).to_string();
    let two = site.does("put_secret_value", &json!({"SecretId": name, "SecretString": second}));
    assert_ne!(one, two);
    let got = read(&reader, "acme/stripe#api_key", None);
    assert_eq!(got, Ok(("sk_live_second".to_owned(), two)));
    let old = read(&reader, "acme/stripe#api_key", Some(&one)).unwrap();
    assert_eq!(old.1, one);

    let missing = read(&reader, "acme/other#api_key", None);
    assert_eq!(missing, Err(Refused::NotFound("secret or version")));
    let field = read(&reader, "acme/stripe#other", None);
    assert_eq!(field, Err(Refused::NotFound("field")));

    // May not; another secret key; no such key. moto says so in XML, where AWS names a reason in
    // JSON: by the status alone all three are the same.
    let other_secret = |keys| Keys { secret: Secret::new(b"x".to_vec()), ..keys };
    let other_id = |keys| Keys { id: "AKIAUNKNOWN".to_owned(), ..keys };
    for backend in [
        of(&site, "nobody", |keys| keys),
        of(&site, "reader", other_secret),
        of(&site, "reader", other_id),
    ] {
        assert_eq!(read(&backend, "acme/stripe#api_key", None), Err(Refused::Forbidden));
    }
    let broken = of(&site, "reader", |keys| Keys { id: "AKIA\r\nx: 1".to_owned(), ..keys });
    let refused = Err(Refused::LoginExpired("access key"));
    assert_eq!(read(&broken, "acme/stripe#api_key", None), refused);

    site.does("delete_secret", &json!({"SecretId": name}));
    let gone = read(&reader, "acme/stripe#api_key", None);
    assert!(matches!(gone, Err(Refused::NotFound(_))), "{gone:?}");
    drop(site);
    assert!(read(&reader, "acme/stripe#api_key", None).unwrap_err().may_pass());
}
