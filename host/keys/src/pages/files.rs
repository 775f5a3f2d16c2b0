//! The two files: a style sheet and a script. In the program, so that nothing is served that
//! the measurement does not cover.

use super::Page;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

pub(super) fn style() -> Page {
    Page::of(200, "text/css; charset=utf-8", STYLE.into())
}

pub(super) fn script() -> Page {
    Page::of(200, "text/javascript; charset=utf-8", SCRIPT.into())
}
