//! Sites: where a credential stands in a request, and what stands around it.
//!
//! Invariant: a site is one field, or one named value inside the query, the cookies or
//! the content; never a field that frames, routes or names the request.

use serde::{Deserialize, Serialize};

use super::signing::{Payload, SignatureMethod, Signing};
use crate::config::{ConfigError, Problems};
use crate::placeholder::Frame;

/// A site as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteWire {
    /// Header field. Default `Authorization`, where no other place is named.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub header: Option<String>,
    /// How the value is written in a header field. Required there, and only there.
    pub style: Option<Style>,
    /// Text with one `{}` for the value. Style `template`: the field's value, required.
    /// `basic_user` (`{}:other`) and `basic_password` (`other:{}`): the pair before it is
    /// encoded; default: the other half is empty. `bearer`: none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub template: Option<String>,
    /// Instead of a field: the value of this query parameter, percent-encoded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub query: Option<String>,
    /// Instead of a field: the value of this cookie.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cookie: Option<String>,
    /// Instead of a field: the string at this JSON pointer (RFC 6901) of the content, which
    /// the gate must hold (`body: hold`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub json: Option<String>,
    /// Instead of a field: the value of this form field of the content, which the gate
    /// must hold.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub form: Option<String>,
    /// Style `sigv4`: region of the service, such as `eu-west-1`. Required there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub region: Option<String>,
    /// Style `sigv4`: name that the service signs under, such as `s3`. Required there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<String>,
    /// Style `sigv4`: whether the signature covers the content. Default `signed`, which
    /// needs a gate that holds it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload: Option<Payload>,
    /// Style `oauth1`: signature method. Default `hmac-sha1`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub method: Option<SignatureMethod>,
    /// Style `oauth1`: realm of the protected resource. Default: none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub realm: Option<String>,
}

/// What holds the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A header field, by its lower-case name.
    Header(String),
    /// A query parameter.
    Query(String),
    /// A cookie.
    Cookie(String),
    /// A string of a JSON document, by its pointer.
    Json(String),
    /// A field of a form.
    Form(String),
}

impl Place {
    /// The name in permits: a field name as it is, else `query:`, `cookie:`, `json:` or
    /// `form:` and the name. No field name has a colon.
    pub fn key(&self) -> String {
        match self {
            Self::Header(name) => name.clone(),
            Self::Query(name) => format!("query:{name}"),
            Self::Cookie(name) => format!("cookie:{name}"),
            Self::Json(pointer) => format!("json:{pointer}"),
            Self::Form(name) => format!("form:{name}"),
        }
    }

    /// Whether it is in the content.
    pub fn in_content(&self) -> bool {
        matches!(self, Self::Json(_) | Self::Form(_))
    }
}

/// How a credential is written into its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// `Bearer <value>` (RFC 6750 2.1).
    Bearer,
    /// The user-id of `Basic` (RFC 7617).
    BasicUser,
    /// The password of `Basic` (RFC 7617).
    BasicPassword,
    /// A text around the value.
    Template,
    /// No value: a signature over the request, AWS Signature Version 4.
    #[serde(rename = "sigv4")]
    SigV4,
    /// No value: a signature over the request, OAuth 1.0a (RFC 5849).
    #[serde(rename = "oauth1")]
    OAuth1,
}

/// Where a credential stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    place: Place,
    key: String,
    style: Style,
    template: Option<String>,
    frame: Frame,
    signing: Option<Signing>,
}

impl Site {
    /// What holds the value.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// [`Place::key`]; of a header field its lower-case name.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How the value is written.
    pub fn style(&self) -> Style {
        self.style
    }

    /// The template as written.
    pub fn template(&self) -> Option<&str> {
        self.template.as_deref()
    }

    /// How the request is signed, where a signature takes the place of a value. A caller
    /// names such a credential by the credential field only.
    pub fn signing(&self) -> Option<&Signing> {
        self.signing.as_ref()
    }

    /// What stands around the value when the caller names the credential by the credential
    /// field and writes nothing in the site itself.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }
}

impl From<&Site> for SiteWire {
    fn from(site: &Site) -> Self {
        let bare = site.signing.as_ref().map(Signing::wire).unwrap_or_default();
        match site.place.clone() {
            Place::Header(name) => {
                let (style, template) = (Some(site.style), site.template.clone());
                Self { header: Some(name), style, template, ..bare }
            }
            Place::Query(name) => Self { query: Some(name), ..bare },
            Place::Cookie(name) => Self { cookie: Some(name), ..bare },
            Place::Json(pointer) => Self { json: Some(pointer), ..bare },
            Place::Form(name) => Self { form: Some(name), ..bare },
        }
    }
}

impl TryFrom<SiteWire> for Site {
    type Error = ConfigError;

    fn try_from(wire: SiteWire) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let inside =
            [wire.query.is_some(), wire.cookie.is_some(), wire.json.is_some(), wire.form.is_some()];
        if inside.contains(&true) {
            return inner(wire);
        }
        if let Some(style @ (Style::SigV4 | Style::OAuth1)) = wire.style {
            return signed(style, wire);
        }
        Signing::none(&wire, &mut problems);
        let header = wire.header.unwrap_or_else(|| "authorization".to_owned()).to_ascii_lowercase();
        if !is_field_name(&header) || is_reserved(&header) {
            problems.note("header", "expected a header field that does not frame or route");
        }
        let style = problems.required("style", wire.style);
        let frame = style.and_then(|style| {
            let frame = frame(style, wire.template.as_deref());
            problems.scalar("template", frame)
        });
        // The gate refuses a comma in this field, since it joins lines (RFC 9110 5.3).
        let joined = |frame: &Frame| frame.before.contains(',') || frame.after.contains(',');
        if header == "authorization" && frame.as_ref().is_some_and(joined) {
            problems.note("template", "expected no comma in authorization");
        }
        let template = wire.template;
        let read = style.zip(frame);
        problems.finish(read.map(|(style, frame)| {
            let key = header.clone();
            Self { place: Place::Header(header), key, style, template, frame, signing: None }
        }))
    }
}

/// A signature: always in `Authorization`, with nothing around it.
fn signed(style: Style, wire: SiteWire) -> Result<Site, ConfigError> {
    let mut problems = Problems::default();
    let elsewhere = |name: &String| !name.eq_ignore_ascii_case("authorization");
    if wire.header.as_ref().is_some_and(elsewhere) {
        problems.note("header", "expected none: a signature stands in Authorization");
    }
    if wire.template.is_some() {
        problems.note("template", "expected none: a signature has no text around it");
    }
    let signing = problems.part("", Signing::read(style, wire));
    let key = "authorization".to_owned();
    let frame = Frame { basic: false, before: String::new(), after: String::new() };
    problems.finish(signing.map(|signing| Site {
        place: Place::Header(key.clone()),
        key,
        style,
        template: None,
        frame,
        signing: Some(signing),
    }))
}

/// A site inside of something: one place, and nothing around the value.
fn inner(wire: SiteWire) -> Result<Site, ConfigError> {
    let mut problems = Problems::default();
    Signing::none(&wire, &mut problems);
    let SiteWire { header, style, template, query, cookie, json, form, .. } = wire;
    for (name, written) in
        [("header", header.is_some()), ("style", style.is_some()), ("template", template.is_some())]
    {
        if written {
            problems.note(name, "expected none beside query, cookie, json or form");
        }
    }
    let named = |name: &str| (1..=64).contains(&name.len()) && name.bytes().all(is_plain);
    let pointed = |pointer: &str| {
        let printable = pointer.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        pointer.starts_with('/') && pointer.len() <= 256 && printable
    };
    let places = [
        ("query", query.map(Place::Query)),
        ("cookie", cookie.map(Place::Cookie)),
        ("json", json.map(Place::Json)),
        ("form", form.map(Place::Form)),
    ];
    let mut found = Vec::new();
    for (path, place) in places {
        let fits = match &place {
            None | Some(Place::Header(_)) => continue,
            Some(Place::Json(pointer)) => pointed(pointer),
            Some(Place::Query(name) | Place::Cookie(name) | Place::Form(name)) => named(name),
        };
        if !fits {
            problems.note(path, "expected a plain name, or a JSON pointer that begins with /");
        }
        found.extend(place);
    }
    if found.len() > 1 {
        problems.note("query", "expected one of query, cookie, json and form");
    }
    let frame = Frame { basic: false, before: String::new(), after: String::new() };
    let site = found.pop().map(|place| {
        let key = place.key();
        Site { place, key, style: Style::Template, template: None, frame, signing: None }
    });
    problems.finish(site)
}

/// Characters that no query, form or cookie parser reads as anything else.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~[]".contains(&byte)
}

fn frame(style: Style, template: Option<&str>) -> Result<Frame, &'static str> {
    let (before, after) = match (style, template) {
        (Style::Bearer, Some(_)) => return Err("expected none with style bearer"),
        (Style::Template, None) => return Err("missing: style template needs one"),
        (Style::Bearer, None) => ("Bearer ", ""),
        (Style::BasicUser, None) => ("", ":"),
        (Style::BasicPassword, None) => (":", ""),
        // Read by itself; it has no frame.
        (Style::SigV4 | Style::OAuth1, _) => return Err("expected none with a signature"),
        (_, Some(text)) => around(text)?,
    };
    let fits = match style {
        Style::BasicUser => before.is_empty() && after.starts_with(':'),
        Style::BasicPassword => after.is_empty() && before.find(':') == before.len().checked_sub(1),
        Style::Bearer | Style::Template | Style::SigV4 | Style::OAuth1 => true,
    };
    if !fits {
        return Err("expected \"{}:other\" for basic_user, \"other:{}\" for basic_password");
    }
    let basic = matches!(style, Style::BasicUser | Style::BasicPassword);
    Ok(Frame { basic, before: before.to_owned(), after: after.to_owned() })
}

fn around(template: &str) -> Result<(&str, &str), &'static str> {
    const EXPECTED: &str = "expected printable ASCII with exactly one {}";
    let (before, after) = template.split_once("{}").ok_or(EXPECTED)?;
    let printable = template.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let plain = !before.contains(['{', '}', '<', '>']) && !after.contains(['{', '}', '<', '>']);
    // A codec drops white space at the ends, so such a template would never match.
    let trimmed = !before.starts_with(' ') && !after.ends_with(' ');
    if printable && plain && trimmed { Ok((before, after)) } else { Err(EXPECTED) }
}

/// A lower-case field name (RFC 9110 5.1).
pub(crate) fn is_field_name(name: &str) -> bool {
    let token = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
    };
    !name.is_empty() && name.bytes().all(token)
}

/// Fields that frame, route or name the request, or that the proxy takes orders from.
pub(crate) fn is_reserved(name: &str) -> bool {
    const NAMES: [&str; 20] = [
        "host",
        "content-length",
        "content-type",
        "content-encoding",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "cookie",
        "range",
        "via",
        "forwarded",
        "user-agent",
        "referer",
        "accept-encoding",
        "x-tap-credential",
    ];
    const PREFIXES: [&str; 5] =
        ["x-envoy-", "x-forwarded-", "postern-", "x-postern-", "x-request-"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(header: &str, style: Style, template: Option<&str>) -> Result<Site, ConfigError> {
        let template = template.map(str::to_owned);
        let header = Some(header.into());
        SiteWire { header, style: Some(style), template, ..SiteWire::default() }.try_into()
    }

    #[test]
    fn each_style_has_its_frame() {
        for (style, template, basic, before, after) in [
            (Style::Bearer, None, false, "Bearer ", ""),
            (Style::BasicUser, None, true, "", ":"),
            (Style::BasicUser, Some("{}:x"), true, "", ":x"),
            (Style::BasicPassword, None, true, ":", ""),
            (Style::BasicPassword, Some("api:{}"), true, "api:", ""),
            (Style::Template, Some("GenieKey {}"), false, "GenieKey ", ""),
        ] {
            let site = site("Authorization", style, template).unwrap();
            let (before, after) = (before.to_owned(), after.to_owned());
            assert_eq!(site.frame(), &Frame { basic, before, after }, "{style:?} {template:?}");
            assert_eq!(site.key(), "authorization");
        }
    }

    #[test]
    fn a_site_inside_has_one_place_and_nothing_around_the_value() {
        let read = |text: &str| Site::try_from(serde_json::from_str::<SiteWire>(text).unwrap());
        for (text, key) in [
            (r#"{"query": "api_key"}"#, "query:api_key"),
            (r#"{"cookie": "session"}"#, "cookie:session"),
            (r#"{"json": "/auth/0/token"}"#, "json:/auth/0/token"),
            (r#"{"form": "client[secret]"}"#, "form:client[secret]"),
        ] {
            let site = read(text).unwrap();
            assert_eq!(site.key(), key);
            assert_eq!(Site::try_from(SiteWire::from(&site)), Ok(site));
        }
        for text in [
            r#"{"query": "a&b"}"#,
            r#"{"query": ""}"#,
            r#"{"cookie": "a=b"}"#,
            r#"{"json": "token"}"#,
            r#"{"form": "a", "query": "b"}"#,
            r#"{"query": "a", "style": "bearer"}"#,
            r#"{"query": "a", "header": "x-key"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sites_that_cannot_work_or_would_route_are_refused() {
        for (header, style, template) in [
            ("Host", Style::Bearer, None),
            (":path", Style::Bearer, None),
            ("x-envoy-upstream-alt-stat-name", Style::Bearer, None),
            ("x y", Style::Bearer, None),
            ("x-key", Style::Bearer, Some("{}")),
            ("x-key", Style::Template, None),
            ("x-key", Style::Template, Some("no place")),
            ("x-key", Style::Template, Some("{}{}")),
            ("x-key", Style::Template, Some("a\r\nb: {}")),
            ("x-key", Style::Template, Some(" {}")),
            ("x-key", Style::BasicUser, Some("a:{}")),
            ("x-key", Style::BasicPassword, Some("a:b:{}")),
            ("authorization", Style::Template, Some("OAuth a={}, b=c")),
        ] {
            assert!(site(header, style, template).is_err(), "{header} {style:?} {template:?}");
        }
    }
}
