//! People: add, list, a new link, remove, remove a passkey, sign out.
//!
//! Invariant: every change leaves an event with the operator's id. Whoever has an operator's
//! key can make a person and use the link, and so be one: no rule here holds that up.

use postern_core::hex;
use postern_core::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::{Operator, bad_request, conflict, not_found};
use crate::fault::Fault;
use crate::people::{LINK_LIFE, LONGEST_LINK, PEOPLE, passkey_name};
use crate::random;
use crate::service::{HttpAnswer, Service};
use crate::store::approvals::{self, Ending};
use crate::store::people::{self, Record};
use crate::store::{Write, passkeys, sessions};

/// Most people of a tenant.
const MOST: usize = 1000;
/// Most characters of a name.
const MAX_NAME: usize = 128;

/// `POST /api/v1/people`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPerson {
    /// Name, as keys and tokens name the user.
    pub person: String,
    /// Organisation in which the role holds.
    pub organisation: String,
    /// `ADMIN` or `PLATFORM`.
    pub role: String,
    /// Life of the link, in seconds: at most a day. Default: ten minutes.
    #[serde(default)]
    pub link_seconds: Option<u32>,
}

/// `POST /api/v1/people/{id}/link`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLink {
    /// Life of the link, in seconds: at most a day. Default: ten minutes.
    #[serde(default)]
    pub link_seconds: Option<u32>,
}

fn acceptable(new: &NewPerson) -> bool {
    let text =
        |text: &str| (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control);
    // Decisions name operators and grants with a colon.
    let own = !["operator:", "grant:"].iter().any(|other| new.person.starts_with(other));
    own && text(&new.person) && text(&new.organisation) && PEOPLE.contains(&new.role.as_str())
}

/// When a link ends; `None` for a life that it may not have.
fn ends(seconds: Option<u32>, now: UnixMillis) -> Option<UnixMillis> {
    let life = seconds.map_or(LINK_LIFE, |seconds| Duration::from_secs(seconds.into()));
    (!life.is_zero() && life <= LONGEST_LINK).then(|| now.after(life))
}

impl Service {
    pub(super) async fn people_resource(
        &self,
        operator: &Operator,
        (method, rest): (&str, &[&str]),
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        match (method, rest) {
            ("GET", []) => self.list_people(operator, now).await,
            ("POST", []) => self.add_person(operator, body, now).await,
            (method, [id, rest @ ..]) => {
                let Some(handle) = hex::read(id.as_bytes()) else { return Ok(not_found()) };
                let mut db = self.inner.pool.write(operator.reach()).await?;
                let found = people::find(&mut db, &self.inner.rows, &handle).await?;
                let own = found.filter(|person| person.tenant == operator.tenant);
                let Some(person) = own else { return Ok(not_found()) };
                match (method, rest) {
                    ("DELETE", []) => self.remove_person(operator, db, &person, now).await,
                    ("POST", ["link"]) => self.new_link(operator, db, &person, body, now).await,
                    ("POST", ["sign-out"]) => {
                        self.sign_out_person(operator, db, &person, now).await
                    }
                    ("DELETE", ["passkeys", which]) => {
                        self.remove_passkey(operator, db, (&person, which), now).await
                    }
                    _ => Ok(not_found()),
                }
            }
            _ => Ok(not_found()),
        }
    }

    async fn list_people(&self, operator: &Operator, now: UnixMillis) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.read(operator.reach()).await?;
        let rows = &self.inner.rows;
        let mut list = Vec::new();
        for person in people::all(&mut db, rows, &operator.tenant).await? {
            let passkeys = passkeys::of(&mut db, rows, &person.handle).await?;
            let passkeys: Vec<serde_json::Value> = passkeys
                .into_iter()
                .map(|passkey| {
                    serde_json::json!({
                        "id": passkey_name(&passkey.credential), "label": passkey.label,
                        "created": passkey.created.0, "used": passkey.used.map(|used| used.0),
                    })
                })
                .collect();
            let sessions = sessions::of(&mut db, rows, &person.handle).await?;
            let sessions = sessions.iter().filter(|session| session.expires > now).count();
            list.push(serde_json::json!({
                "id": hex::lower(&person.handle), "person": person.person,
                "organisation": person.organisation, "role": person.role,
                "created": person.created.0, "passkeys": passkeys, "sessions": sessions,
            }));
        }
        Ok(HttpAnswer::json(&serde_json::json!({ "people": list })))
    }

    async fn add_person(
        &self,
        operator: &Operator,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let Ok(new) = serde_json::from_slice::<NewPerson>(body) else {
            return Ok(bad_request("Expected person, organisation and role"));
        };
        let Some(ends) = ends(new.link_seconds, now) else {
            return Ok(bad_request("Expected a link that lives for at most a day"));
        };
        if !acceptable(&new) {
            return Ok(bad_request("Expected short names and the role ADMIN or PLATFORM"));
        }
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let (rows, tenant) = (&self.inner.rows, operator.tenant.clone());
        if people::all(&mut db, rows, &tenant).await?.len() >= MOST {
            return Ok(conflict("There are 1 000 people; remove one first"));
        }
        let person = Record {
            handle: random::bytes()?,
            tenant,
            person: new.person,
            organisation: new.organisation,
            role: new.role,
            created: now,
        };
        if !people::add(&mut db, rows, &person).await? {
            return Ok(conflict("There is a person of this name"));
        }
        let event = of(operator, "person_added", &person)
            .with("organisation", person.organisation.as_str())
            .with("role", person.role.as_str());
        self.inner.audit.append(&mut db, event, now).await?;
        self.linked(operator, db, &person, ends, now).await
    }

    async fn new_link(
        &self,
        operator: &Operator,
        db: Write,
        person: &Record,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let new =
            if body.is_empty() { Ok(NewLink::default()) } else { serde_json::from_slice(body) };
        let ends = new.ok().and_then(|new: NewLink| ends(new.link_seconds, now));
        let Some(ends) = ends else {
            return Ok(bad_request("Expected a link that lives for at most a day"));
        };
        self.linked(operator, db, person, ends, now).await
    }

    /// Makes the link, and shows it this once.
    async fn linked(
        &self,
        operator: &Operator,
        mut db: Write,
        person: &Record,
        ends: UnixMillis,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let Some(people) = &self.inner.people else {
            return Ok(conflict("Expected people.origin in keys.yaml: there are no pages"));
        };
        let code = self.inner.link_for(&mut db, &person.handle, ends).await?;
        let event = of(operator, "person_link_made", person).with("until", ends.0.to_string());
        self.recorded(db, event, now).await?;
        Ok(HttpAnswer::json(&serde_json::json!({
            "id": hex::lower(&person.handle), "person": person.person,
            "link": code.link(&people.settings.origin), "ends": ends.0,
        })))
    }

    /// What this person has said yes to ends too: who had to go may have been somebody else.
    async fn remove_person(
        &self,
        operator: &Operator,
        mut db: Write,
        person: &Record,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        people::remove(&mut db, &person.tenant, &person.handle).await?;
        let theirs = Ending::By(&person.tenant, &person.person);
        let ended = approvals::end_open(&mut db, &self.inner.rows, theirs, now).await?;
        let event = of(operator, "person_removed", person).with("approvals", ended.to_string());
        self.recorded(db, event, now).await?;
        self.inner.epochs.mark_deleted();
        Ok(HttpAnswer::empty(204))
    }

    /// Removes a passkey and ends all sessions: whoever took it may be signed in.
    async fn remove_passkey(
        &self,
        operator: &Operator,
        mut db: Write,
        (person, which): (&Record, &str),
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let all = passkeys::of(&mut db, &self.inner.rows, &person.handle).await?;
        let found = all.iter().find(|passkey| passkey_name(&passkey.credential) == which);
        let Some(found) = found else { return Ok(not_found()) };
        passkeys::remove(&mut db, &person.handle, &found.credential).await?;
        sessions::end_all(&mut db, &person.handle).await?;
        let event = of(operator, "passkey_removed", person).with("passkey", which);
        self.recorded(db, event, now).await?;
        Ok(HttpAnswer::empty(204))
    }

    async fn sign_out_person(
        &self,
        operator: &Operator,
        mut db: Write,
        person: &Record,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let ended = sessions::end_all(&mut db, &person.handle).await?;
        let event = of(operator, "signed_out", person).with("sessions", ended.to_string());
        self.recorded(db, event, now).await?;
        Ok(HttpAnswer::json(&serde_json::json!({ "sessions": ended })))
    }
}

fn of(operator: &Operator, kind: &'static str, person: &Record) -> crate::audit::Event {
    operator.event(kind).with("person", person.person.as_str())
}
