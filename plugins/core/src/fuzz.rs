//! Fuzz targets: the codecs of what travels between modules, and what callers write into
//! fields.

use crate::api_key;
use crate::authority::Authority;
use crate::path::RequestPath;
use crate::permit;
use crate::placeholder::Reference;
use crate::record::Draft;
use crate::time::UnixMillis;

/// Permits, drafts of records, and the small texts. What opens has one form.
pub fn fuzz_codecs(bytes: &[u8]) {
    permit::fuzz_body(bytes);
    if let Ok(draft) = Draft::decode(bytes) {
        let again = Draft::decode(&draft.encode());
        assert_eq!(again.as_ref(), Ok(&draft), "a draft that was read reads back");
    }
    let cut = |texts: Draft| Draft { method: text(bytes), route: text(bytes), ..texts };
    let cut = cut(Draft::new(UnixMillis(1)));
    assert!(Draft::decode(&cut.encode()).is_ok(), "a draft that was written reads back");
    texts(bytes);
}

fn texts(bytes: &[u8]) {
    let text = text(bytes);
    if let Some(reference) = Reference::parse(&text) {
        let again = format!("<CREDENTIAL:{reference}>");
        assert_eq!(again, text, "a placeholder has one form");
    }
    drop(api_key::PresentedKey::parse(bytes, &["pk_".to_owned()]));
    if let Some(authority) = Authority::parse(&text) {
        let again = Authority::parse(&authority.with_port());
        assert!(again.is_some_and(|again| again == authority), "an authority reads back");
    }
    if let Some(path) = RequestPath::parse(bytes) {
        drop(path.without_parameters());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
