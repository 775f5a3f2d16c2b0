//! What the rules show and hide.

use super::{Rules, Shown};

const SECRET: &str = "s3cr3t-value";

fn text(text: &str) -> Shown {
    Shown::Text(text.to_owned())
}

#[test]
fn fields_that_hold_credentials_are_a_number_of_bytes() {
    let rules = Rules::hiding(["X-Mine", "x-our-*"]);
    for name in [
        "authorization",
        "Authorization",
        "cookie",
        "set-cookie",
        "proxy-authorization",
        "x-tap-key",
        "x-tap-anything",
        "x-api-key",
        "x-mine",
        "x-our-thing",
        "x-auth-token",
        "x-session-id",
        "x-amz-date",
        "jwt-assertion",
    ] {
        assert_eq!(rules.field(name.as_bytes(), SECRET.as_bytes()), Shown::Bytes(12), "{name}");
    }
    for value in ["Bearer abc", "basic abc", "x <CREDENTIAL:slack> y", "<credential:a>"] {
        let shown = rules.field(b"x-any", value.as_bytes());
        assert_eq!(shown, Shown::Bytes(value.len()), "{value}");
    }
}

#[test]
fn other_fields_are_shown_and_of_a_path_no_query() {
    let rules = Rules::default();
    assert_eq!(rules.field(b"accept", b"text/plain"), text("text/plain"));
    assert_eq!(rules.field(b"x-mine", b"a\nb\xff"), text("a\\nb\\xff"));
    assert_eq!(rules.field(b":authority", b"a.test"), text("a.test"));
    assert_eq!(rules.field(b":path", b"/a?token=1"), text("/a?[7 bytes]"));
    assert_eq!(rules.field(b"location", b"/a#token=1"), text("/a?[7 bytes]"));
    assert_eq!(rules.field(b"x-long", &[b'x'; 201]), Shown::Bytes(201));
}

#[test]
fn properties_are_shown_if_they_are_on_the_list() {
    let rules = Rules::hiding(["source.address"]);
    for (path, shown) in [
        ("request\0method", text("v")),
        ("request\0headers\0accept", text("v")),
        ("request\0headers\0cookie", Shown::Bytes(1)),
        ("xds\0cluster_name", text("v")),
        ("source\0address", Shown::Bytes(1)),
        ("filter_state\0wasm.a", Shown::Bytes(1)),
        ("connection\0peer_certificate", Shown::Bytes(1)),
        ("my-own-key", Shown::Bytes(1)),
        ("response\0headers\0x", text("v")),
        ("response\0trailers\0x-token", Shown::Bytes(1)),
        ("response\0code_details", Shown::Bytes(1)),
        ("request.method", Shown::Bytes(1)),
        ("request.headers.mine", Shown::Bytes(1)),
        ("plugin_mine", Shown::Bytes(1)),
    ] {
        assert_eq!(rules.property(path.as_bytes(), b"v"), shown, "{path:?}");
    }
    assert_eq!(rules.property(b"request\0path", b"/a?b"), text("/a?[1 bytes]"));
}
