//! A service with pages, and browsers that are nothing but their cookies.

use std::net::IpAddr;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::time::UnixMillis;
use tempfile::TempDir;

use super::authenticator::Authenticator;
use super::postgres;
use crate::config::{Database, People};
use crate::pages::{Page, Request};
use crate::people::ceremony::Challenge;
use crate::store::people::Record;
use crate::store::{Reach, people};
use crate::{Config, Service};

pub const ORIGIN: &str = "https://approve.example";
/// Of now, since the library has a clock of its own.
pub const NOW: UnixMillis = UnixMillis(1_795_332_600_000);

pub fn later(ms: u64) -> UnixMillis {
    UnixMillis(NOW.0 + ms)
}

pub struct World {
    pub service: Service,
    _folder: TempDir,
}

/// What a browser holds.
#[derive(Clone, Debug)]
pub struct Browser {
    pub session: String,
    pub visit: String,
    pub origin: Option<&'static str>,
    pub site: Option<&'static str>,
    pub peer: Option<IpAddr>,
}

impl Default for Browser {
    fn default() -> Self {
        let origin = Some(ORIGIN);
        Self { session: String::new(), visit: String::new(), origin, site: None, peer: None }
    }
}

pub fn text(page: &Page) -> String {
    String::from_utf8(page.body.clone()).unwrap()
}

pub fn field(page: &Page, name: &str) -> Option<String> {
    page.fields.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone())
}

/// The value of an attribute behind `before`.
pub fn between(html: &str, before: &str) -> Option<String> {
    let (_, rest) = html.split_once(before)?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

/// What a form of a page has to bring back.
#[derive(Clone, Debug)]
pub struct Given {
    pub form: String,
    pub ends: String,
    pub challenge: Challenge,
}

pub fn given(page: &Page) -> Given {
    let html = text(page);
    let challenge = between(&html, "data-challenge=\"").unwrap_or_default();
    Given {
        form: between(&html, "name=\"form\" value=\"").unwrap_or_default(),
        ends: between(&html, "name=\"ends\" value=\"").unwrap_or_default(),
        challenge: B64.decode(challenge).unwrap().try_into().unwrap_or_default(),
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_, _| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::local(&folder.path().join("data"));
        config.database = Database::Memory;
        config.people = Some(People::at(ORIGIN).unwrap());
        if postgres::is_asked_for() {
            let made = postgres::cluster().await.database().await;
            config.database = Database::Postgres(made);
        }
        change(&mut config, folder.path());
        let service = Service::open(&config, NOW).await.unwrap();
        for tenant in ["acme", "globex"] {
            service.mint(tenant, NOW).await.unwrap();
        }
        Self { service, _folder: folder }
    }

    pub async fn person(&self, tenant: &str, name: &str, role: &str, handle: u8) -> Record {
        let record = self.record(tenant, name, role, handle);
        self.add(&record).await;
        record
    }

    pub fn record(&self, tenant: &str, name: &str, role: &str, handle: u8) -> Record {
        Record {
            handle: [handle; 16],
            tenant: tenant.into(),
            person: name.into(),
            organisation: tenant.into(),
            role: role.into(),
            created: NOW,
        }
    }

    pub async fn add(&self, record: &Record) {
        let mut db = self.service.inner.pool.write(Reach::All).await.unwrap();
        assert!(people::add(&mut db, &self.service.inner.rows, record).await.unwrap());
        db.commit().await.unwrap();
    }

    /// A code for a person, without its link.
    pub async fn code(&self, person: &Record, ends: UnixMillis) -> String {
        let mut db = self.service.inner.pool.write(Reach::All).await.unwrap();
        let code = self.service.inner.link_for(&mut db, &person.handle, ends).await.unwrap();
        db.commit().await.unwrap();
        code.link("").split_once('#').unwrap().1.to_owned()
    }

    /// A request; cookies that are set are kept.
    pub async fn ask(
        &self,
        browser: &mut Browser,
        method: &str,
        path: &str,
        body: &str,
        now: UnixMillis,
    ) -> Page {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let cookies = [
            format!("__Host-postern={}", browser.session),
            format!("__Host-postern-visit={}", browser.visit),
        ];
        let request = Request {
            method,
            path,
            query,
            cookies: cookies.iter().map(String::as_str).collect(),
            origin: browser.origin.filter(|_| method == "POST"),
            site: browser.site,
            body: body.as_bytes(),
            peer: browser.peer,
        };
        let page = self.service.page(&request, now).await;
        for (_, cookie) in page.fields.iter().filter(|(name, _)| *name == "set-cookie") {
            let (name, rest) = cookie.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap().to_owned();
            match name {
                "__Host-postern" => browser.session = value,
                "__Host-postern-visit" => browser.visit = value,
                other => panic!("{other}"),
            }
        }
        page
    }

    pub async fn get(&self, browser: &mut Browser, path: &str, now: UnixMillis) -> Page {
        self.ask(browser, "GET", path, "", now).await
    }

    pub async fn post(
        &self,
        browser: &mut Browser,
        path: &str,
        fields: &[(&str, String)],
        now: UnixMillis,
    ) -> Page {
        let body = {
            // Not held while it waits: it is for one thread.
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(fields).finish()
        };
        self.ask(browser, "POST", path, &body, now).await
    }

    /// What the page to sign in gives.
    pub async fn to_sign_in(&self, browser: &mut Browser, now: UnixMillis) -> Given {
        given(&self.get(browser, "/.postern/sign-in?again", now).await)
    }

    pub async fn sign_in_with(
        &self,
        browser: &mut Browser,
        given: &Given,
        answer: Vec<(&'static str, String)>,
        now: UnixMillis,
    ) -> Page {
        let mut fields = vec![("form", given.form.clone()), ("ends", given.ends.clone())];
        fields.extend(answer);
        self.post(browser, "/.postern/sign-in", &fields, now).await
    }

    /// Registers an authenticator for a person by a code.
    pub async fn register(&self, person: &Record, key: &mut Authenticator) -> Page {
        let code = self.code(person, later(600_000)).await;
        let mut browser = Browser::default();
        let form = given(&self.get(&mut browser, "/.postern/register", NOW).await).form;
        let fields = [("form", form), ("code", code.clone())];
        let page = self.post(&mut browser, "/.postern/register", &fields, NOW).await;
        let given = given(&page);
        key.handle = Some(person.handle);
        let mut fields = vec![("form", given.form), ("ends", given.ends), ("code", code)];
        fields.extend(key.attest(&given.challenge));
        self.post(&mut browser, "/.postern/register/passkey", &fields, NOW).await
    }

    /// A browser of somebody who has a passkey and is signed in.
    pub async fn signed_in(&self, person: &Record, key: &mut Authenticator) -> Browser {
        assert_eq!(self.register(person, key).await.status, 200);
        self.sign_in(key, NOW).await
    }

    pub async fn sign_in(&self, key: &mut Authenticator, now: UnixMillis) -> Browser {
        let mut browser = Browser::default();
        let given = self.to_sign_in(&mut browser, now).await;
        let answer = key.assert(&given.challenge);
        let page = self.sign_in_with(&mut browser, &given, answer, now).await;
        assert_eq!((page.status, browser.session.len()), (303, 43), "{}", text(&page));
        browser
    }

    /// How many events there are of a kind.
    pub async fn events(&self, kind: &str) -> usize {
        let mut db = self.service.inner.pool.read(Reach::All).await.unwrap();
        let rows: Vec<(Vec<u8>,)> =
            sqlx::query_as("SELECT bytes FROM audit_events").fetch_all(&mut *db).await.unwrap();
        let kind = format!("\"kind\":\"{kind}\"");
        rows.iter().filter(|(bytes,)| String::from_utf8_lossy(bytes).contains(&kind)).count()
    }
}
