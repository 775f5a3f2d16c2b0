//! A browser at the pages of one key service.

use postern_browser::{Browser, pictures, violations};

/// A browser that takes the service's certificate.
pub struct Visit {
    pub browser: Browser,
    origin: String,
}

impl Visit {
    /// `key` is the pin of the certificate.
    pub fn new(origin: &str, key: &str) -> Self {
        Self { browser: Browser::start(key).unwrap(), origin: origin.to_owned() }
    }

    pub fn go(&self, path: &str) {
        self.browser.go(&format!("{}/.postern/{path}", self.origin)).unwrap();
    }

    /// Waits for a page by its heading, and looks at it.
    pub fn on(&self, heading: &str) {
        self.browser.named("h1", heading).unwrap();
        let found = violations(&self.browser).unwrap();
        assert!(found.is_empty(), "{heading}: {found:#?}");
    }

    pub fn press(&self, button: &str) {
        self.browser.click(&self.browser.named("button", button).unwrap()).unwrap();
    }

    pub fn text(&self) -> String {
        self.browser.text_of_page().unwrap()
    }

    pub fn picture(&self, name: &str) {
        let Some(folder) = pictures() else { return };
        let picture = self.browser.picture().unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        postern_files::write_atomic(folder.join(format!("{name}.png")), &picture).unwrap();
    }

    /// Registers by a link.
    pub fn register(&self, link: &str) {
        self.browser.go(link).unwrap();
        self.on("Register a passkey");
        self.press("Continue");
        self.browser.find("#label").unwrap();
        self.on("Register a passkey");
        self.press("Register a passkey");
        self.on("Passkey registered");
    }

    pub fn sign_in(&self, to: &str) {
        self.go(&format!("sign-in?to={to}"));
        self.on("Sign in");
        self.press("Sign in with a passkey");
    }
}
