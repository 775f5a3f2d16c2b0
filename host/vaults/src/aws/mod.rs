//! AWS Secrets Manager.
//!
//! `PATH` is the secret's name, or what follows its folder; `FIELD` is a member of a secret that
//! is a JSON object, or `SecretString` for the whole text of it. Invariant: the one action is
//! `GetSecretValue`; keys are asked of their source for each request.

pub mod call;
pub mod sigv4;

use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_core::time::UnixMillis;

use self::sigv4::Keys;
use crate::backend::within;
use crate::http::{Http, secret_field};
use crate::kv2::call::Call;
use crate::{Backend, Place, Reading, Refused, ServerUrl, Value, Version};

/// What the keys are read from, each time that they are needed.
pub type KeySource = Box<dyn Fn() -> Result<Keys, Refused> + Send + Sync>;

/// What a back end needs to know.
pub struct AwsSettings {
    /// Region: `eu-west-1`.
    pub region: String,
    /// Where the service is: `https://secretsmanager.REGION.amazonaws.com`.
    pub server: ServerUrl,
    /// What signs.
    pub keys: KeySource,
    /// Roots in DER in place of the built-in ones.
    pub roots: Option<Vec<Vec<u8>>>,
    /// Longest wait for one value.
    pub patience: Duration,
}

/// Secrets Manager of one region.
pub struct SecretsManager(Arc<Engine>);

struct Engine {
    settings: AwsSettings,
    http: Http,
}

impl SecretsManager {
    /// With these settings. Asks nothing yet.
    #[must_use]
    pub fn new(settings: AwsSettings) -> Self {
        let http = Http::new(settings.roots.as_deref());
        Self(Arc::new(Engine { settings, http }))
    }
}

impl Backend for SecretsManager {
    fn read<'a>(
        &'a self,
        place: &'a Place,
        version: Option<&'a Version>,
        now: UnixMillis,
    ) -> Reading<'a> {
        let patience = self.0.settings.patience;
        Box::pin(async move {
            let (engine, place, version) = (Arc::clone(&self.0), place.clone(), version.cloned());
            within(patience, move |deadline| engine.read(&place, version.as_ref(), now, deadline))
                .await
        })
    }
}

impl Engine {
    fn read(
        &self,
        place: &Place,
        version: Option<&Version>,
        now: UnixMillis,
        deadline: Instant,
    ) -> Result<Value, Refused> {
        let AwsSettings { server, region, keys, .. } = &self.settings;
        let keys = keys()?;
        let body = call::content(place.path(), version);
        let stamp = sigv4::stamp(now);
        let authority = server.authority();
        let mut signed: Vec<(&'static str, &[u8])> = vec![
            ("content-type", call::TYPE.as_bytes()),
            ("host", authority.as_bytes()),
            ("x-amz-date", stamp.as_bytes()),
        ];
        if let Some(token) = &keys.token {
            signed.push(("x-amz-security-token", token.expose()));
        }
        signed.push(("x-amz-target", call::TARGET.as_bytes()));
        let authorization = sigv4::authorization(&signed, &body, &keys, region, &stamp);
        let refused = || Refused::LoginExpired(call::KEYS);
        let field = |(name, value): (&'static str, &[u8])| secret_field(name, value);
        let fields = signed.into_iter().map(field).collect::<Option<Vec<_>>>();
        let mut fields = fields.ok_or_else(refused)?;
        let authorization = secret_field("authorization", authorization.as_bytes());
        fields.push(authorization.ok_or_else(refused)?);
        let call = Call { url: format!("{server}/"), body: Some(body) };
        let answer = self.http.send(&call, fields, deadline)?;
        call::value(&answer, place.field(), version)
    }
}
