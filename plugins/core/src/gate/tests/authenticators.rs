//! Several authenticators: who decides, what is refused, and how long anybody is waited for.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use super::fixture::*;
use crate::authenticator::{
    Attempt, Authenticator, Established, Presented, Progress, Sight, Verdict,
};
use crate::credential::tests::StarScrubbing;
use crate::denial::{Denial, PolicyReason, TokenReason};
use crate::effect::Flow;
use crate::event::Event;
use crate::fields::Fields;
use crate::gate::{Config, Pipeline};
use crate::identity::{Identity, Kind};
use crate::key_service::{CallId, CallResult};
use crate::limits::Limits;
use crate::record::Decision;
use crate::time::{Moment, UnixMillis};

/// How an authenticator of these tests goes on.
#[derive(Clone, Copy, PartialEq)]
enum Course {
    Knows(&'static str),
    Refuses(TokenReason),
    Waits(&'static str),
    Signed([u8; 32]),
    /// Only for this method, and only with this credential.
    Within(&'static str, &'static str),
}

#[derive(Debug)]
struct Only(&'static str, &'static str);

impl Limits for Only {
    fn admits(&self, method: &str, _: Option<&str>, path: &str) -> Result<(), PolicyReason> {
        assert!(path.starts_with('/') && !path.contains('?'), "{path}");
        (method == self.0).then_some(()).ok_or(PolicyReason::TokenMethod)
    }

    fn admits_credential(&self, name: &str) -> bool {
        name == self.1
    }

    fn covers(&self, field: &str) -> bool {
        field == "x-tap-credential"
    }
}

/// Recognises anything in its field.
struct Fake {
    kind: Kind,
    field: &'static str,
    course: Course,
    arrived: Rc<Cell<bool>>,
    abandoned: Rc<Cell<u32>>,
}

struct FakeAttempt {
    kind: Kind,
    course: Course,
    arrived: Rc<Cell<bool>>,
    abandoned: Rc<Cell<u32>>,
}

impl Authenticator for Fake {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn sight(&self, presented: &Presented<'_>) -> Sight {
        if !presented.fields.has(self.field) {
            return Sight::Absent;
        }
        let attempt = Box::new(FakeAttempt {
            kind: self.kind,
            course: self.course,
            arrived: Rc::clone(&self.arrived),
            abandoned: Rc::clone(&self.abandoned),
        });
        Sight::Recognised { place: self.field.to_owned(), attempt }
    }
}

impl FakeAttempt {
    fn established(&self, agent: &str, tenant: &str) -> Established {
        Established::verified(Identity {
            subject: format!("{}:{agent}", self.kind.as_str()),
            kind: self.kind,
            tenant: tenant.to_owned(),
            organisation: String::new(),
            user: String::new(),
            agent: agent.to_owned(),
            roles: Vec::new(),
            scopes: vec!["tap:write".to_owned()],
            trust: String::new(),
            clearance: None,
            document: None,
            token_id: String::new(),
            expires: None,
            platform: None,
        })
    }
}

impl Attempt for FakeAttempt {
    fn start(&mut self, _: Moment) -> Progress {
        match self.course {
            Course::Knows(agent) => {
                let (agent, tenant) = agent.split_once('@').unwrap_or((agent, "acme"));
                Progress::DoneForAll(Ok(self.established(agent, tenant)))
            }
            Course::Refuses(reason) => Progress::Done(Err(Denial::InvalidToken(reason))),
            Course::Waits(_) => Progress::Wait,
            Course::Within(method, credential) => {
                let limits = Rc::new(Only(method, credential));
                let established = self.established("bot", "acme");
                Progress::Done(Ok(established.within(limits, vec!["1:scopes".to_owned()])))
            }
            Course::Signed(digest) => {
                Progress::Done(Ok(self.established("bot", "acme").of_content(digest)))
            }
        }
    }

    fn heard(&mut self, _: CallId, _: CallResult, _: Moment) -> Progress {
        Progress::Wait
    }

    fn look(&mut self, _: UnixMillis) -> Option<Verdict> {
        let Course::Waits(agent) = self.course else { return None };
        self.arrived.get().then(|| Ok(self.established(agent, "acme")))
    }

    fn abandon(&mut self) {
        self.abandoned.set(self.abandoned.get() + 1);
    }

    fn late(&self) -> Denial {
        Denial::InvalidToken(TokenReason::Unknown)
    }
}

#[derive(Default)]
struct World {
    arrived: Rc<Cell<bool>>,
    abandoned: Rc<Cell<u32>>,
}

type Row = (Kind, &'static str, Course);

impl World {
    fn pipeline(&self, rows: &[Row], combine: &[Kind]) -> Rc<Pipeline> {
        let fake = |(kind, field, course): &Row| -> Rc<dyn Authenticator> {
            Rc::new(Fake {
                kind: *kind,
                field,
                course: *course,
                arrived: Rc::clone(&self.arrived),
                abandoned: Rc::clone(&self.abandoned),
            })
        };
        let document = document().to_string();
        let mut config = Config::parse(document.as_bytes()).unwrap();
        config.combine = combine.to_vec();
        let authenticators = rows.iter().map(fake).collect();
        let (list, scrubbing) = (FakeRevocations::none(), Rc::new(StarScrubbing));
        let keys = permit_keys();
        Pipeline::new(config, keys, authenticators, list, detector(), scrubbing, [0xee; 16])
    }

    fn run(&self, rows: &[Row], combine: &[Kind], head: &[(&str, &str)]) -> Run {
        let mut run = Run::new(self.pipeline(rows, combine).stream());
        run.event(headers(fields(&[&[("x-tap-key", "")], head].concat()), true));
        run
    }

    fn send(&self, rows: &[Row], combine: &[Kind], head: &[(&str, &str)]) -> Outcome {
        self.run(rows, combine, head).outcome()
    }
}

const JWT: Kind = Kind::Jwt;
const MTLS: Kind = Kind::Mtls;
const BOTH: &[(&str, &str)] = &[("x-a", "1"), ("x-b", "2")];

fn identity(run: &Run) -> serde_json::Value {
    let published = run.publications.iter().find_map(|one| one.identity.clone()).unwrap();
    serde_json::from_str(&published).unwrap()
}

#[test]
fn of_one_place_the_first_that_recognises_it_decides() {
    let rows = [
        (MTLS, "x-b", Course::Knows("other")),
        (JWT, "x-a", Course::Knows("first")),
        (Kind::Capability, "x-a", Course::Refuses(TokenReason::Mismatch)),
    ];
    let run = World::default().run(&rows, &[], &[("x-a", "1")]);
    assert_eq!(identity(&run)["agent"], "first");
    let reversed: Vec<Row> = rows.into_iter().rev().collect();
    let denied = World::default().send(&reversed, &[], &[("x-a", "1")]);
    assert_eq!(denied, refused(401, "invalid_token", "mismatch"));
}

#[test]
fn two_identities_need_a_rule() {
    let rows = [(MTLS, "x-a", Course::Knows("bot")), (JWT, "x-b", Course::Knows("bot"))];
    let ambiguous = refused(400, "request_ambiguous", "several_identities");
    for combine in [&[][..], &[JWT, Kind::ApiKey], &[MTLS, Kind::ApiKey]] {
        assert_eq!(World::default().send(&rows, combine, BOTH), ambiguous, "{combine:?}");
    }
    let twice = [(JWT, "x-a", Course::Knows("bot")), (JWT, "x-b", Course::Knows("bot"))];
    assert_eq!(World::default().send(&twice, &[MTLS, JWT], BOTH), ambiguous);
}

#[test]
fn of_combined_identities_the_last_of_the_rule_is_the_caller() {
    let rows = [(JWT, "x-b", Course::Knows("bot")), (MTLS, "x-a", Course::Knows("bot"))];
    for (combine, kind) in [([MTLS, JWT], "jwt"), ([JWT, MTLS], "mtls")] {
        let run = World::default().run(&rows, &combine, BOTH);
        assert_eq!(identity(&run)["kind"], kind);
    }
    // Each alone is fine as well.
    let run = World::default().run(&rows, &[MTLS, JWT], &[("x-a", "1")]);
    assert_eq!(identity(&run)["kind"], "mtls");
}

#[test]
fn an_agent_that_only_one_credential_names_is_the_callers() {
    let rows = [(MTLS, "x-a", Course::Knows("bot")), (JWT, "x-b", Course::Knows(""))];
    let run = World::default().run(&rows, &[MTLS, JWT], BOTH);
    assert_eq!((&identity(&run)["agent"], &identity(&run)["kind"]), (&json!("bot"), &json!("jwt")));
}

#[test]
fn combined_identities_that_differ_are_nobody() {
    let rows = |one, other| [(MTLS, "x-a", one), (JWT, "x-b", other)];
    let knows = Course::Knows;
    let signed = |byte| Course::Signed([byte; 32]);
    for (one, other, reason) in [
        (knows("bot"), knows("robot"), "combined"),
        (knows("bot@globex"), knows("bot"), "tenant"),
        (knows("bot"), knows("bot@globex"), "tenant"),
        (knows("bot"), Course::Refuses(TokenReason::Expired), "expired"),
        (Course::Refuses(TokenReason::Expired), knows("bot"), "expired"),
        (signed(1), signed(2), "combined"),
    ] {
        let outcome = World::default().send(&rows(one, other), &[MTLS, JWT], BOTH);
        assert_eq!(outcome, refused(401, "invalid_token", reason));
    }
}

#[test]
fn the_limits_of_every_credential_hold() {
    let slack = [("x-a", "1"), ("x-b", "2"), ("x-tap-credential", "slack")];
    let send = |one, other| {
        let rows = [(MTLS, "x-a", one), (JWT, "x-b", other)];
        World::default().run(&rows, &[MTLS, JWT], &slack)
    };
    let (open, knows) = (Course::Within("POST", "slack"), Course::Knows("bot"));
    let run = send(open, knows);
    assert!(matches!(run.outcome(), Outcome::Allowed { .. }));
    let caller = run.records.last().and_then(|record| record.caller.clone()).unwrap();
    assert_eq!((&caller.kind[..], &caller.widened[..]), ("jwt", &["1:scopes".to_owned()][..]));
    for closed in [Course::Within("GET", "slack"), Course::Within("POST", "maps")] {
        let denied = match closed {
            Course::Within("GET", _) => refused(403, "policy_denied", "token_method"),
            _ => refused(403, "credential_not_allowed", "credential_token"),
        };
        for (one, other) in [(closed, knows), (knows, closed), (open, closed), (closed, open)] {
            assert_eq!(send(one, other).outcome(), denied);
        }
    }
}

#[test]
fn a_field_that_names_a_credential_is_signed_where_the_caller_signs() {
    let send = |head: &[(&str, &str)]| {
        let rows = [(JWT, "x-a", Course::Within("POST", "slack"))];
        World::default().send(&rows, &[], &[&[("x-a", "1")], head].concat())
    };
    assert!(matches!(send(&[("x-tap-credential", "slack")]), Outcome::Allowed { .. }));
    let uncovered = send(&[("authorization", "Bearer <CREDENTIAL:slack>")]);
    assert_eq!(uncovered, refused(401, "invalid_token", "proof_field"));
}

#[test]
fn what_somebody_else_has_asked_for_is_found_with_time() {
    let world = World::default();
    let rows = [(JWT, "x-a", Course::Waits("bot"))];
    let mut run = world.run(&rows, &[], &[("x-a", "1")]);
    assert_eq!((run.outcome(), run.event(Event::Tick)), (Outcome::Waiting, Flow::Pause));
    world.arrived.set(true);
    assert_eq!(run.event(Event::Tick), Flow::Continue);
    assert_eq!(identity(&run)["agent"], "bot");
}

#[test]
fn nobody_is_waited_for_longer_than_two_seconds() {
    let world = World::default();
    let rows = [(JWT, "x-a", Course::Waits("bot")), (MTLS, "x-b", Course::Knows("bot"))];
    let mut run = world.run(&rows, &[MTLS, JWT], BOTH);
    run.advance(Duration::from_millis(1999));
    run.event(Event::Tick);
    assert_eq!(run.outcome(), Outcome::Waiting);
    run.advance(Duration::from_millis(1));
    run.event(Event::Tick);
    assert_eq!(run.outcome(), refused(401, "invalid_token", "unknown"));
    assert_eq!(world.abandoned.get(), 2);
}

#[test]
fn a_caller_who_leaves_is_asked_about_no_longer() {
    let world = World::default();
    let mut run = world.run(&[(JWT, "x-a", Course::Waits("bot"))], &[], &[("x-a", "1")]);
    run.event(Event::Done);
    assert_eq!(world.abandoned.get(), 1);
    assert_eq!(run.records.last().map(|record| &record.decision), Some(&Decision::Undecided));
}

#[test]
fn a_verdict_that_others_wait_for_wakes_them() {
    let run = World::default().run(&[(JWT, "x-a", Course::Knows("bot"))], &[], &[("x-a", "1")]);
    assert_eq!(run.wakes, 1);
}

#[test]
fn only_content_that_the_caller_has_signed_goes_on() {
    use sha2::{Digest, Sha256};
    let send = |digest: [u8; 32], chunks: &[&[u8]]| {
        let pipeline = World::default().pipeline(&[(JWT, "x-a", Course::Signed(digest))], &[]);
        let mut run = Run::new(pipeline.stream());
        run.event(headers(fields(&[("x-tap-key", ""), ("x-a", "1")]), chunks.is_empty()));
        for (index, chunk) in chunks.iter().enumerate() {
            let end = index + 1 == chunks.len();
            run.event(Event::RequestBody { chunk: chunk.to_vec(), end });
        }
        run.outcome()
    };
    let signed = Sha256::digest(b"abcd").into();
    assert!(matches!(send(signed, &[b"ab", b"cd"]), Outcome::Allowed { .. }));
    let other = refused(401, "invalid_token", "content");
    assert_eq!(send(signed, &[b"ab", b"c"]), other);
    assert_eq!(send(signed, &[]), other);
    assert!(matches!(send(Sha256::digest(b"").into(), &[]), Outcome::Allowed { .. }));
}

#[test]
fn a_field_with_two_lines_is_refused_before_anybody_looks() {
    let mut head: Fields = fields(&[]);
    head.0.extend(fields(&[("x-tap-key", "pk_other")]).0.into_iter().rev().take(1));
    let pipeline = World::default().pipeline(&[(JWT, "x-tap-key", Course::Knows("bot"))], &[]);
    let mut run = Run::new(pipeline.stream());
    run.event(headers(head, true));
    assert_eq!(run.outcome(), refused(401, "invalid_token", "repeated"));
}
