//! HashiCorp Vault's KV secrets engine, version 2.
//!
//! Owns the login. Invariant: a read logs in at most once more, and only where the vault says
//! that the token it has been using is gone; nobody logs in while another does.

pub mod call;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postern_core::redacted::Redacted;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use self::call::{Answer, Call};
use crate::http::Http;
use crate::{Backend, Path, Place, Reading, Refused, ServerUrl, Value};

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
    fn read<'a>(&'a self, place: &'a Place, version: Option<u64>, now: UnixMillis) -> Reading<'a> {
        let patience = self.0.settings.patience;
        Box::pin(async move {
            let (engine, place) = (Arc::clone(&self.0), place.clone());
            let reading = tokio::task::spawn_blocking(move || {
                let moment = Moment { now, deadline: Instant::now() + patience };
                engine.read(&place, version, moment)
            });
            // Also while it waits for a thread, or for the login of another.
            match tokio::time::timeout(patience, reading).await {
                Err(_) => Err(Refused::late()),
                Ok(Err(_)) => Err(Refused::Unreachable(Redacted::new("the reading thread ended"))),
                Ok(Ok(read)) => read,
            }
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
    fn read(&self, place: &Place, version: Option<u64>, at: Moment) -> Result<Value, Refused> {
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
        let namespace = self.settings.namespace.clone();
        self.http.send(&Call { namespace, ..call }, token, at.deadline)
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
        let (mount, role_id, secret_id) = match &self.settings.login {
            Login::Token(source) => return source().map(Arc::new),
            Login::AppRole { mount, role_id, secret_id } => (mount, role_id, secret_id),
        };
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let lives = |kept: &&Session| kept.end.is_none_or(|end| at.now < end);
        if let Some(kept) = session.as_ref().filter(lives) {
            return Ok(Arc::clone(&kept.token));
        }
        let call = call::app_role(&self.settings.server, mount, role_id, &secret_id()?)?;
        let (token, end) = call::logged_in(&self.send(call, None, at)?, at.now)?;
        let token = Arc::new(token);
        *session = Some(Session { token: Arc::clone(&token), end });
        Ok(token)
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
