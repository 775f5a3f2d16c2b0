//! A WebDriver client: a browser, what is on its page, and an authenticator.
//!
//! W3C WebDriver, and of WebAuthn Level 3 section 11. Invariant: the browser ends with the
//! value, and every call has a deadline.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;

/// The name under which WebDriver hands out elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a look for an element waits for it, in milliseconds.
const IMPLICIT: u32 = 5000;

/// A Chromium of its own, as a phone.
pub struct Browser {
    driver: Child,
    session: String,
    agent: Agent,
    _profile: TempDir,
}

/// An element of a page.
#[derive(Clone, Debug)]
pub struct Element(String);

/// A virtual authenticator.
#[derive(Clone, Debug)]
pub struct Authenticator(String);

impl Browser {
    /// Starts one that takes the certificate with this key (base64 of the SHA-256 of its
    /// SubjectPublicKeyInfo) and no other that it does not know.
    ///
    /// # Errors
    /// When Debian's `chromium-driver` is not installed or does not start.
    pub fn start(key: &str) -> Result<Self> {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("no chromedriver: run `cargo xtask setup`")?;
        let output = driver.stdout.take().context("output")?;
        let port = port_of(BufReader::new(output));
        let profile = tempfile::tempdir()?;
        let agent = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build();
        let mut browser =
            Self { driver, session: String::new(), agent: agent.into(), _profile: profile };
        let base = format!("http://127.0.0.1:{}", port?);
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            "--no-first-run".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--user-data-dir={}", browser._profile.path().display()),
            format!("--ignore-certificate-errors-spki-list={key}"),
        ];
        let options = json!({
            "args": arguments,
            "mobileEmulation": {"deviceMetrics": {"width": 412, "height": 1280, "pixelRatio": 1.0}},
        });
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options,
            "webauthn:virtualAuthenticators": true,
            "timeouts": {"implicit": IMPLICIT, "pageLoad": 20_000, "script": 20_000},
        }}});
        let made = browser.ask("POST", &format!("{base}/session"), Some(&wanted))?;
        let id = made.get("sessionId").and_then(Value::as_str).context("session")?;
        browser.session = format!("{base}/session/{id}");
        Ok(browser)
    }

    /// Loads a page.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn go(&self, url: &str) -> Result<()> {
        self.post("/url", &json!({"url": url})).map(drop)
    }

    /// Where it is.
    ///
    /// # Errors
    /// When the browser is gone.
    pub fn url(&self) -> Result<String> {
        text(self.get("/url")?)
    }

    /// The element that `css` selects; waits for it.
    ///
    /// # Errors
    /// When it does not come.
    pub fn find(&self, css: &str) -> Result<Element> {
        let using = json!({"using": "css selector", "value": css});
        let found = self.post("/element", &using).with_context(|| {
            let url = self.url().unwrap_or_default();
            format!("{css} on {url}: {}", self.text_of_page().unwrap_or_default())
        })?;
        found.get(ELEMENT).and_then(Value::as_str).map(|id| Element(id.to_owned())).context("id")
    }

    /// How many elements `css` selects now.
    ///
    /// # Errors
    /// When the browser is gone.
    pub fn count(&self, css: &str) -> Result<u64> {
        let script = "return document.querySelectorAll(arguments[0]).length";
        self.run(script, &[json!(css)])?.as_u64().context("count")
    }

    /// The element with this text, of those that `tag` names; waits for it.
    ///
    /// # Errors
    /// When it does not come.
    pub fn named(&self, tag: &str, text: &str) -> Result<Element> {
        let path = format!("//{tag}[normalize-space(.)='{text}']");
        let found = self.post("/element", &json!({"using": "xpath", "value": path}));
        let found = found.with_context(|| {
            format!("{tag} {text:?} in: {}", self.text_of_page().unwrap_or_default())
        })?;
        found.get(ELEMENT).and_then(Value::as_str).map(|id| Element(id.to_owned())).context("id")
    }

    /// Clicks it.
    ///
    /// # Errors
    /// When it cannot be clicked.
    pub fn click(&self, element: &Element) -> Result<()> {
        self.post(&format!("/element/{}/click", element.0), &json!({})).map(drop)
    }

    /// Types into it.
    ///
    /// # Errors
    /// When it takes no text.
    pub fn write(&self, element: &Element, text: &str) -> Result<()> {
        self.post(&format!("/element/{}/value", element.0), &json!({"text": text})).map(drop)
    }

    /// Presses keys where the focus is, as a keyboard does.
    ///
    /// # Errors
    /// When the browser is gone.
    pub fn press(&self, keys: &str) -> Result<()> {
        let mut actions = Vec::new();
        for key in keys.chars() {
            for kind in ["keyDown", "keyUp"] {
                actions.push(json!({"type": kind, "value": key.to_string()}));
            }
        }
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.post("/actions", &json!({"actions": [keyboard]})).map(drop)
    }

    /// Its text, as it is shown.
    ///
    /// # Errors
    /// When it is gone.
    pub fn text(&self, element: &Element) -> Result<String> {
        text(self.get(&format!("/element/{}/text", element.0))?)
    }

    /// All text of the page, as it is shown.
    ///
    /// # Errors
    /// When the browser is gone.
    pub fn text_of_page(&self) -> Result<String> {
        text(self.run("return document.body.innerText", &[])?)
    }

    /// Runs a script in the page.
    ///
    /// # Errors
    /// When it throws.
    pub fn run(&self, script: &str, arguments: &[Value]) -> Result<Value> {
        self.post("/execute/sync", &json!({"script": script, "args": arguments}))
    }

    /// Runs a script that answers by its last argument.
    ///
    /// # Errors
    /// When it throws or does not answer.
    pub fn run_async(&self, script: &str, arguments: &[Value]) -> Result<Value> {
        self.post("/execute/async", &json!({"script": script, "args": arguments}))
    }

    /// Cookies of the page, those that scripts cannot see too.
    ///
    /// # Errors
    /// When the browser is gone.
    pub fn cookies(&self) -> Result<Vec<Value>> {
        self.get("/cookie")?.as_array().cloned().context("cookies")
    }

    /// Plants a cookie.
    ///
    /// # Errors
    /// When the browser refuses it.
    pub fn plant(&self, cookie: &Value) -> Result<()> {
        self.post("/cookie", &json!({"cookie": cookie})).map(drop)
    }

    /// A picture of what is shown, in PNG.
    ///
    /// # Errors
    /// When the browser is gone.
    pub fn picture(&self) -> Result<Vec<u8>> {
        Ok(BASE64_STANDARD.decode(text(self.get("/screenshot")?)?)?)
    }

    /// Adds an authenticator that keeps passkeys and verifies its user.
    ///
    /// # Errors
    /// When the browser has none.
    pub fn authenticator(&self) -> Result<Authenticator> {
        let wanted = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true,
            "hasUserVerification": true, "isUserConsenting": true, "isUserVerified": true,
        });
        text(self.post("/webauthn/authenticator", &wanted)?).map(Authenticator)
    }

    /// Takes an authenticator away, with its passkeys.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, authenticator: &Authenticator) -> Result<()> {
        let path = format!("{}/webauthn/authenticator/{}", self.session, authenticator.0);
        self.ask("DELETE", &path, None).map(drop)
    }

    /// Whether it will verify its user from now on.
    ///
    /// # Errors
    /// When it is not there.
    pub fn verify_user(&self, authenticator: &Authenticator, verify: bool) -> Result<()> {
        let path = format!("/webauthn/authenticator/{}/uv", authenticator.0);
        self.post(&path, &json!({"isUserVerified": verify})).map(drop)
    }

    /// What comes next is about the first frame of the page.
    ///
    /// # Errors
    /// When there is none.
    pub fn enter_frame(&self) -> Result<()> {
        self.post("/frame", &json!({"id": 0})).map(drop)
    }

    /// Its passkeys.
    ///
    /// # Errors
    /// When it is not there.
    pub fn passkeys(&self, authenticator: &Authenticator) -> Result<Vec<Value>> {
        let path = format!("/webauthn/authenticator/{}/credentials", authenticator.0);
        self.get(&path)?.as_array().cloned().context("credentials")
    }

    /// Puts a passkey into it.
    ///
    /// # Errors
    /// When it is not of its form.
    pub fn put(&self, authenticator: &Authenticator, passkey: &Value) -> Result<()> {
        let path = format!("/webauthn/authenticator/{}/credential", authenticator.0);
        self.post(&path, passkey).map(drop)
    }

    fn get(&self, path: &str) -> Result<Value> {
        self.ask("GET", &format!("{}{path}", self.session), None)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask("POST", &format!("{}{path}", self.session), Some(body))
    }

    fn ask(&self, method: &str, url: &str, body: Option<&Value>) -> Result<Value> {
        let request = ureq::http::Request::builder().method(method).uri(url);
        let request = request.header("content-type", "application/json");
        let content = body.map(ToString::to_string).unwrap_or_default();
        let mut answer = self.agent.run(request.body(content)?)?;
        let status = answer.status();
        let value: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
        let value = value.get("value").cloned().unwrap_or_default();
        if !status.is_success() {
            let part = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or("?");
            let message = part("message").lines().next().unwrap_or_default();
            bail!("{}: {message}", part("error"));
        }
        Ok(value)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.ask("DELETE", &self.session, None);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// `ChromeDriver was started successfully on port N.`, within the deadline.
fn port_of(output: impl BufRead + Send + 'static) -> Result<u16> {
    let (sender, receiver) = channel();
    // Also what it says later is read, so that it does not stop because of it.
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if let Some((_, port)) = line.split_once("successfully on port ") {
                let _ = sender.send(port.trim_end_matches('.').parse::<u16>());
            }
        }
    });
    receiver.recv_timeout(PATIENCE).context("chromedriver does not start")?.context("its port")
}

fn text(value: Value) -> Result<String> {
    value.as_str().map(str::to_owned).context("text")
}
