//! Sites: the field a credential stands in, and what stands around it.
//!
//! Invariant: a site is never a field that frames, routes or names the request.

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, Problems};
use crate::placeholder::Frame;

/// A site as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteWire {
    /// Header field. Default `Authorization`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub header: Option<String>,
    /// How the value is written there. Required.
    pub style: Option<Style>,
    /// Text with one `{}` for the value. Style `template`: the field's value, required.
    /// `basic_user` (`{}:other`) and `basic_password` (`other:{}`): the pair before it is
    /// encoded; default: the other half is empty. `bearer`: none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub template: Option<String>,
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
}

/// Where a credential stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    header: String,
    style: Style,
    template: Option<String>,
    frame: Frame,
}

impl Site {
    /// Lower-case field name.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// How the value is written.
    pub fn style(&self) -> Style {
        self.style
    }

    /// The template as written.
    pub fn template(&self) -> Option<&str> {
        self.template.as_deref()
    }

    /// What stands around the value when the caller names the credential by the credential
    /// field and writes nothing in the site itself.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }
}

impl From<&Site> for SiteWire {
    fn from(site: &Site) -> Self {
        Self {
            header: Some(site.header.clone()),
            style: Some(site.style),
            template: site.template.clone(),
        }
    }
}

impl TryFrom<SiteWire> for Site {
    type Error = ConfigError;

    fn try_from(wire: SiteWire) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
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
        problems.finish(read.map(|(style, frame)| Self { header, style, template, frame }))
    }
}

fn frame(style: Style, template: Option<&str>) -> Result<Frame, &'static str> {
    let (before, after) = match (style, template) {
        (Style::Bearer, Some(_)) => return Err("expected none with style bearer"),
        (Style::Template, None) => return Err("missing: style template needs one"),
        (Style::Bearer, None) => ("Bearer ", ""),
        (Style::BasicUser, None) => ("", ":"),
        (Style::BasicPassword, None) => (":", ""),
        (_, Some(text)) => around(text)?,
    };
    let fits = match style {
        Style::BasicUser => before.is_empty() && after.starts_with(':'),
        Style::BasicPassword => after.is_empty() && before.find(':') == before.len().checked_sub(1),
        Style::Bearer | Style::Template => true,
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
        SiteWire { header: Some(header.into()), style: Some(style), template }.try_into()
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
            assert_eq!(site.header(), "authorization");
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
