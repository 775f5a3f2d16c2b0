//! HashiCorp Vault's KV secrets engine, version 2.
//!
//! Owns the login. Invariant: a read logs in at most once more, and only where the vault says
//! that the token it has been using is gone; nobody logs in while another does.

pub mod call;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use ureq::http::HeaderValue;

use self::call::{Answer, Call};
use crate::backend::within;
use crate::http::{Field, Http, secret_field};
use crate::{Backend, Path, Place, Reading, Refused, ServerUrl, Value, Version};

/// Where a secret of the login is read from, each time that it is needed: a file that others
/// may write anew.
pub type Source = Box<dyn Fn() -> Result<Secret, Refused> + Send + Sync>;

/// How to log in.
pub enum Login {
    /// A token that somebody else keeps alive, as Vault Agent does in a sink.
    Token(Source),
    /// `AppRole`.
    AppRole {
        /// Where the method is mounted: `approle`.
        mount: Path,
        /// Which role. No secret.
        role_id: String,
        /// Its secret id.
        secret_id: Source,
    },
    /// The token of the service account that this runs as in Kubernetes.
    Kubernetes {
        /// Where the method is mounted: `kubernetes`.
        mount: Path,
        /// Which role. No secret.
        role: String,
        /// The account's token, which Kubernetes writes anew.
        token: Source,
    },
}

/// What a back end needs to know.
pub struct Settings {
    /// The vault.
    pub server: ServerUrl,
    /// Where the engine is mounted: `secret`.
    pub mount: Path,
    /// The namespace of both the engine and the login, where it is not the root.
    pub namespace: Option<Path>,
    /// How to log in.
    pub login: Login,
    /// Roots in DER in place of the built-in ones.
    pub roots: Option<Vec<Vec<u8>>>,
    /// Longest wait for one value, logins included.
    pub patience: Duration,
}

/// A KV engine of version 2.
pub struct Kv2(Arc<Engine>);

impl Kv2 {
    /// With these settings. Asks nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let http = Http::new(settings.roots.as_deref());
        Self(Arc::new(Engine { settings, http, session: Mutex::default() }))
    }
}

impl Backend for Kv2 {
    fn read<'a>(
        &'a self,
        place: &'a Place,
        version: Option<&'a Version>,
        now: UnixMillis,
    ) -> Reading<'a> {
        let patience = self.0.settings.patience;
        Box::pin(async move {
            let (engine, place, version) = (Arc::clone(&self.0), place.clone(), version.cloned());
            within(patience, move |deadline| {
                engine.read(&place, version.as_ref(), Moment { now, deadline })
            })
            .await
        })
    }
}

#[derive(Clone, Copy)]
struct Moment {
    now: UnixMillis,
    deadline: Instant,
}

#[derive(Clone)]
struct Session {
    token: Arc<Secret>,
    end: Option<UnixMillis>,
}

struct Engine {
    settings: Settings,
    http: Http,
    session: Mutex<Option<Session>>,
}

impl Engine {
    fn read(&self, place: &Place, version: Option<&Version>, at: Moment) -> Result<Value, Refused> {
        let call = call::read(&self.settings.server, &self.settings.mount, place, version);
        let token = self.token(at)?;
        let mut answer = self.send(call, Some(&token), at)?;
        // Vault says 403 to a token that is gone and to one that may not.
        if answer.status == 403 && !self.lives(&token, at)? {
            let token = self.another(&token, at)?;
            let call = call::read(&self.settings.server, &self.settings.mount, place, version);
            answer = self.send(call, Some(&token), at)?;
        }
        call::value(&answer, place.field(), version)
    }

    fn send(&self, call: Call, token: Option<&Secret>, at: Moment) -> Result<Answer, Refused> {
        let fields = fields(self.settings.namespace.as_ref(), token, call.body.is_some())?;
        self.http.send(&call, fields, at.deadline)
    }

    /// Every token may look itself up by Vault's default policy.
    fn lives(&self, token: &Secret, at: Moment) -> Result<bool, Refused> {
        let answer = self.send(call::lookup_self(&self.settings.server), Some(token), at)?;
        match answer.status {
            200 => Ok(true),
            403 => Ok(false),
            status => Err(Refused::of_status(status, answer.wait)),
        }
    }

    /// The token in use, or that of a new login when it ends.
    fn token(&self, at: Moment) -> Result<Arc<Secret>, Refused> {
        if let Login::Token(source) = &self.settings.login {
            return source().map(Arc::new);
        }
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let lives = |kept: &&Session| kept.end.is_none_or(|end| at.now < end);
        if let Some(kept) = session.as_ref().filter(lives) {
            return Ok(Arc::clone(&kept.token));
        }
        let (token, end) = self.logged_in(at)?;
        let token = Arc::new(token);
        *session = Some(Session { token: Arc::clone(&token), end });
        Ok(token)
    }

    fn logged_in(&self, at: Moment) -> Result<(Secret, Option<UnixMillis>), Refused> {
        let server = &self.settings.server;
        let (call, method) = match &self.settings.login {
            Login::Token(_) => return Err(Refused::LoginExpired("token")),
            Login::AppRole { mount, role_id, secret_id } => {
                (call::app_role(server, mount, role_id, &secret_id()?)?, call::APP_ROLE)
            }
            Login::Kubernetes { mount, role, token } => {
                (call::kubernetes(server, mount, role, &token()?)?, call::KUBERNETES)
            }
        };
        call::logged_in(&self.send(call, None, at)?, method, at.now)
    }

    /// In place of a token that is gone: one by a new login, unless another has had it already.
    fn another(&self, gone: &Arc<Secret>, at: Moment) -> Result<Arc<Secret>, Refused> {
        if matches!(self.settings.login, Login::Token(_)) {
            return Err(Refused::LoginExpired("token"));
        }
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if session.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.token, gone)) {
            *session = None;
        }
        drop(session);
        self.token(at)
    }
}

fn fields(
    namespace: Option<&Path>,
    token: Option<&Secret>,
    content: bool,
) -> Result<Vec<Field>, Refused> {
    let mut fields = vec![("x-vault-request", HeaderValue::from_static("true"))];
    if content {
        fields.push(("content-type", HeaderValue::from_static("application/json")));
    }
    if let Some(namespace) = namespace {
        let value = HeaderValue::from_str(namespace.as_str());
        fields.push(("x-vault-namespace", value.map_err(|_| Refused::Malformed("namespace"))?));
    }
    if let Some(token) = token {
        let field = secret_field("x-vault-token", token.expose());
        fields.push(field.ok_or(Refused::LoginExpired("token"))?);
    }
    Ok(fields)
}
