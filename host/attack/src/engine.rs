//! Goes through the cases, several at a time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postern_rig::message::Message;
use postern_rig::wait::until;
use sha2::{Digest, Sha256};

use crate::caller::{Came, Order, Target};
use crate::case::Case;
use crate::judge::{self, Outcome, Seen, Verdict};
use crate::profile::Profile;
use crate::report::Run;
use crate::seek::Seeker;
use crate::template::{self, Scope};
use crate::upstream::{DIGITS, MARK, Script, Upstream};

/// A gateway that has just started may still be fetching what it needs.
const START: Duration = Duration::from_secs(15);
/// What is still on its way to the upstream when the last answer is here arrives within this.
const LATE: Duration = Duration::from_millis(400);

/// Why nothing was attacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The upstream's address is taken.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// A plain good request does not get through, so that no refusal would mean anything.
    #[error("{0}")]
    Probe(String),
    /// A thread or runtime is missing.
    #[error("cannot start: {0}")]
    Start(std::io::Error),
}

/// How to run.
pub struct Options {
    /// The gateway.
    pub target: Target,
    /// Where the upstream listens.
    pub listen: SocketAddr,
    /// Cases at a time.
    pub at_once: usize,
}

/// A running upstream and a gateway in front of it.
pub struct Engine {
    profile: Arc<Profile>,
    target: Target,
    upstream: Upstream,
    runtime: tokio::runtime::Runtime,
    at_once: usize,
    uses: AtomicUsize,
}

impl Engine {
    /// Starts the upstream.
    pub fn start(profile: Profile, options: Options) -> Result<Self, Error> {
        let listen = options.listen;
        let upstream = Upstream::start(listen).map_err(|error| Error::Listen(listen, error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(Error::Start)?;
        let Options { target, at_once, .. } = options;
        let (profile, uses) = (Arc::new(profile), AtomicUsize::new(0));
        Ok(Self { profile, target, upstream, runtime, at_once, uses })
    }

    /// Where the upstream listens.
    pub fn listens(&self) -> SocketAddr {
        self.upstream.address()
    }

    /// Aims at another gateway, whose requests come to the same upstream.
    pub fn aim(&mut self, target: Target) {
        self.upstream.forget();
        self.target = target;
    }

    /// Sends one good request and waits until it gets through.
    pub fn probe(&self) -> Result<(), Error> {
        let said = Mutex::new(String::new());
        let count = AtomicUsize::new(0);
        let through = until(START, || {
            let id = id(&format!("probe {}", count.fetch_add(1, Ordering::Relaxed)));
            let came = self.exchange(&plain(), &id).map_err(|error| error.to_string());
            if self.upstream.requests(&id).len() == 1 {
                return Some(());
            }
            *said.lock().unwrap_or_else(PoisonError::into_inner) = match came {
                Err(error) => error,
                Ok(came) => match (came.answers.first(), came.trouble) {
                    (Some(answer), _) => {
                        let body = String::from_utf8_lossy(&answer.content).into_owned();
                        format!("it answered {} {}", answer.status(), body.trim())
                    }
                    (None, trouble) => trouble.unwrap_or_else(|| "it closed".into()),
                },
            };
            None
        });
        let said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
        through.ok_or_else(|| {
            let place = self.target.address();
            Error::Probe(format!("a good request to {place} did not reach the upstream: {said}"))
        })
    }

    /// Runs the cases and judges them; `progress` is told how many are done.
    pub fn run(&self, cases: Vec<Case>, progress: &(dyn Fn(usize) + Sync)) -> Run {
        let cases: Vec<Arc<Case>> = cases.into_iter().map(Arc::new).collect();
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let seen = Mutex::new(BTreeMap::new());
        std::thread::scope(|scope| {
            for _ in 0..self.at_once.max(1) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(case) = cases.get(index) else { return };
                        let one = self.see(case);
                        seen.lock().unwrap_or_else(PoisonError::into_inner).insert(index, one);
                        progress(done.fetch_add(1, Ordering::Relaxed) + 1);
                    }
                });
            }
        });
        // Refused means that nothing comes later either.
        let _ = until(LATE * 10, || (self.upstream.quiet() >= LATE).then_some(()));
        let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut outcomes: Vec<Outcome> = cases
            .iter()
            .zip(seen.into_values())
            .map(|(case, seen)| self.judge(case, seen))
            .collect();
        judge::constant(&mut outcomes, &self.profile);
        Run { outcomes, strays: self.upstream.strays().iter().map(stray).collect() }
    }

    /// Sends a good request with the credential of this role: what the upstream got.
    pub fn use_once(&self, role: &str) -> Result<Option<Message>, template::Error> {
        let id = id(&format!("use {}", self.uses.fetch_add(1, Ordering::Relaxed)));
        self.exchange(&with(role), &id)?;
        Ok(self.upstream.requests(&id).pop())
    }

    /// Sends a case and looks at what came back.
    fn see(&self, case: &Arc<Case>) -> Result<Seen, template::Error> {
        let lacking = case.needs.iter().find(|need| !self.profile.has(need));
        if let Some(need) = lacking {
            let why = self.profile.without.get(need);
            let why = why.map_or_else(|| need.clone(), |why| format!("{need}: {why}"));
            return Err(template::Error::Absent(why));
        }
        let id = id(&case.name);
        let scope = self.scope(case, &id);
        let want = judge::expected(case, scope)?;
        for role in &case.send.after {
            self.exchange(&with(role), &self::id(&format!("{} after {role}", case.name)))?;
        }
        let came = self.exchange(case, &id)?;
        let leak = self.leak(case, &came);
        Ok(Seen { id, came, want, leak, requests: Vec::new() })
    }

    fn exchange(&self, case: &Case, id: &str) -> Result<Came, template::Error> {
        let order = Order::of(case, self.scope(case, id))?;
        self.script(case, id)?;
        Ok(order.send(&self.target, &self.runtime))
    }

    fn scope<'a>(&'a self, case: &'a Case, id: &'a str) -> Scope<'a> {
        let (profile, credential) = (self.profile.as_ref(), case.send.credential.as_str());
        Scope { profile, id, credential, request: None }
    }

    /// What the upstream will answer; a text that is wrong is found here.
    fn script(&self, case: &Case, id: &str) -> Result<(), template::Error> {
        let sample = Scope { request: Some(b""), ..self.scope(case, id) };
        Script::of(&case.answer, sample)?;
        let (profile, answer) = (Arc::clone(&self.profile), case.answer.clone());
        let (own, credential) = (id.to_owned(), case.send.credential.clone());
        self.upstream.script(id, move |request: &Message| {
            let request = Some(request.raw.as_slice());
            let scope = Scope { profile: &profile, id: &own, credential: &credential, request };
            Script::of(&answer, scope)
        });
        Ok(())
    }

    /// Looks for secrets in everything that came back: deep for the case's own, as it stands
    /// for the others.
    fn leak(&self, case: &Case, came: &Came) -> Option<String> {
        let own = self.profile.credentials.get(&case.send.credential);
        let mut values: Vec<(&str, &[u8])> = Vec::new();
        if let Some(own) = own {
            values.push((own.name.as_str(), own.secret.as_bytes()));
            values.extend(own.former.as_ref().map(|former| ("a former value", former.as_bytes())));
        }
        let deep = Seeker::new(values);
        let others = self.profile.credentials.values().filter(|other| other.secret.len() >= 12);
        let others: Vec<_> = others.collect();
        came.answers.iter().flat_map(judge::texts).find_map(|(part, text)| {
            let plain = || {
                let shown = others
                    .iter()
                    .find(|other| memchr::memmem::find(&text, other.secret.as_bytes()).is_some());
                shown.map(|other| format!("the value of {}", other.name))
            };
            deep.find(&text)
                .or_else(plain)
                .map(|found| format!("the caller sees {found}, in {part}"))
        })
    }

    fn judge(&self, case: &Arc<Case>, seen: Result<Seen, template::Error>) -> Outcome {
        let case = Arc::clone(case);
        match seen {
            Err(template::Error::Absent(what)) => {
                let why = template::Error::Absent(what).to_string();
                Outcome { case, verdict: Verdict::NotApplicable(why), seen: None }
            }
            Err(error) => {
                Outcome { case, verdict: Verdict::Failed(vec![error.to_string()]), seen: None }
            }
            Ok(mut seen) => {
                seen.requests = self.upstream.requests(&seen.id);
                let lines = judge::differences(&case, &self.profile, &seen);
                let verdict = Verdict::of(lines, case.pending.as_ref());
                Outcome { case, verdict, seen: Some(seen) }
            }
        }
    }
}

/// The same for a name in every run, so that two gateways can be compared.
fn id(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let digits: String = digest.iter().map(|byte| char::from(b'g' + byte % 20)).collect();
    format!("{MARK}{}", digits.get(..DIGITS).unwrap_or_default())
}

fn plain() -> Case {
    let case = serde_json::json!({"row": "-", "name": "probe", "note": "a good request"});
    serde_json::from_value(case).unwrap_or_else(|_| unreachable!("a case of defaults"))
}

/// The same with the credential of this role.
fn with(role: &str) -> Case {
    let mut case = plain();
    case.send.credential = role.to_owned();
    case.send.path = format!("${{path {role}}}");
    case
}

fn stray(request: &Message) -> String {
    String::from_utf8_lossy(&request.start).into_owned()
}
