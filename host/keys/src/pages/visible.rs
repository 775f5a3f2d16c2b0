//! Text of strangers, so that what it is can be seen.
//!
//! What an agent asks for was written by whoever wrote to the agent. Characters that do not
//! show, that change the order of others, or that look like another letter are shown by their
//! number; nothing becomes a link; what is too long is cut, and how much is missing is said.
//!
//! Invariant: what is shown has the order of the text, and work and output are bounded by the
//! limit, whatever the text is.

use maud::{Markup, html};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_security::confusable_detection::skeleton;

use crate::approvals::MOST_NAME;

/// Marks that a letter may carry.
const MARKS: usize = 2;

/// A part of what is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Plain(String),
    /// Does not show, or changes how others do.
    Hidden(char),
    /// Looks like something else in ASCII.
    Alike(char, String),
}

/// One line, or several where `lines` says that the text may have them.
pub(super) fn text(text: &str, limit: usize, lines: bool) -> Markup {
    let (shown, left) = cut(text, limit);
    html! {
        bdo.value dir="ltr" {
            @for piece in pieces(shown, lines) {
                @match piece {
                    Piece::Plain(text) => (text),
                    Piece::Hidden(c) => span.odd title=(format!("hidden character {}", number(c))) {
                        (number(c))
                    },
                    Piece::Alike(c, like) => span.odd title=(format!("{} looks like {like}", number(c))) {
                        (c) " " (number(c)) " looks like " (like)
                    },
                }
            }
        }
        @if left > 0 { " " span.left { "… " (left) " more bytes" } }
    }
}

/// A name on one line.
pub(super) fn name(text: &str) -> Markup {
    self::text(text, MOST_NAME, false)
}

fn number(c: char) -> String {
    format!("U+{:04X}", u32::from(c))
}

/// The first `limit` bytes, and how many are left.
fn cut(text: &str, limit: usize) -> (&str, usize) {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (text.get(..end).unwrap_or_default(), text.len() - end)
}

fn pieces(text: &str, lines: bool) -> Vec<Piece> {
    let mut pieces = Pieces::default();
    for word in words(text) {
        let disguised = is_disguised(word);
        let mut marks = None;
        for c in word.chars() {
            marks = if is_mark(c) { marks.map(|count: usize| count + 1) } else { letter(c) };
            let stray = is_mark(c) && marks.is_none_or(|count| count > MARKS);
            match c {
                '\n' if lines => pieces.plain(c),
                c if stray || is_hidden(c) => pieces.0.push(Piece::Hidden(c)),
                c if disguised && !c.is_ascii() && ascii_like(c).is_some() => {
                    pieces.0.push(Piece::Alike(c, ascii_like(c).unwrap_or_default()));
                }
                c => pieces.plain(c),
            }
        }
    }
    pieces.0
}

/// What marks can stand on.
fn letter(c: char) -> Option<usize> {
    (c.is_alphanumeric() && !is_hidden(c)).then_some(0)
}

#[derive(Default)]
struct Pieces(Vec<Piece>);

impl Pieces {
    fn plain(&mut self, c: char) {
        match self.0.last_mut() {
            Some(Piece::Plain(text)) => text.push(c),
            _ => self.0.push(Piece::Plain(c.into())),
        }
    }
}

/// Runs of letters, digits and marks, and what is between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let of_word = |c: char| c.is_alphanumeric() || is_mark(c) || is_format(c);
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let kind = of_word(first);
        let end = rest.find(|c| of_word(c) != kind).unwrap_or(rest.len());
        let (word, left) = rest.split_at(end);
        rest = left;
        Some(word)
    })
}

/// Letters of another script among Latin ones, or nothing but letters that look Latin.
fn is_disguised(word: &str) -> bool {
    !word.is_ascii()
        && (word.chars().any(|c| c.is_ascii_alphabetic())
            || word.chars().all(|c| c.is_ascii() || ascii_like(c).is_some()))
}

/// What this looks like in ASCII, by the tables of UTS 39; but for quotation marks and dashes,
/// which ordinary text is full of.
fn ascii_like(c: char) -> Option<String> {
    if matches!(c, '\u{2013}' | '\u{2014}' | '\u{2018}'..='\u{201f}' | '\u{2026}') {
        return None;
    }
    let mut buffer = [0; 4];
    let like: String = skeleton(c.encode_utf8(&mut buffer)).collect();
    (!c.is_ascii() && like.is_ascii() && !like.is_empty()).then_some(like)
}

fn is_mark(c: char) -> bool {
    use GeneralCategory::{EnclosingMark, NonspacingMark, SpacingMark};
    matches!(c.general_category(), NonspacingMark | SpacingMark | EnclosingMark)
}

fn is_format(c: char) -> bool {
    c.general_category() == GeneralCategory::Format
}

fn is_hidden(c: char) -> bool {
    use GeneralCategory::{
        Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, SpaceSeparator, Surrogate,
        Unassigned,
    };
    match c.general_category() {
        Control | Format | LineSeparator | ParagraphSeparator | PrivateUse | Surrogate
        | Unassigned => true,
        SpaceSeparator => c != ' ',
        // Variation selectors, joiners and fillers: letters, marks and symbols that do not show.
        _ => matches!(
            c,
            '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
                | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fffc}'
                | '\u{e0100}'..='\u{e01ef}'
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let piece = |piece| match piece {
            Piece::Plain(text) => text,
            Piece::Hidden(c) => format!("[{}]", number(c)),
            Piece::Alike(c, like) => format!("[{}={like}]", number(c)),
        };
        pieces(text, false).into_iter().map(piece).collect()
    }

    #[test]
    fn what_does_not_show_is_shown_by_number() {
        for (text, want) in [
            ("plain text, 1 & 2", "plain text, 1 & 2"),
            ("a\u{202e}b", "a[U+202E]b"),
            ("a\u{2066}b\u{2069}", "a[U+2066]b[U+2069]"),
            ("a\u{200b}b\u{200d}c\u{feff}", "a[U+200B]b[U+200D]c[U+FEFF]"),
            ("a\r\n\tb\u{0}\u{7f}", "a[U+000D][U+000A][U+0009]b[U+0000][U+007F]"),
            ("a\u{a0}b\u{3000}c\u{2028}", "a[U+00A0]b[U+3000]c[U+2028]"),
            ("tag\u{e0041}", "tag[U+E0041]"),
            ("x\u{fe0f}\u{3164}\u{2800}", "x[U+FE0F][U+3164][U+2800]"),
            ("\u{e000}\u{378}", "[U+E000][U+0378]"),
            ("e\u{301}\u{301}\u{301}", "e\u{301}\u{301}[U+0301]"),
            ("\u{301}a -\u{301}", "[U+0301]a -[U+0301]"),
        ] {
            assert_eq!(shown(text), want, "{text:?}");
        }
    }

    #[test]
    fn letters_that_look_like_others_are_named_where_they_mislead() {
        for (text, want) in [
            ("p\u{430}ypal.com", "p[U+0430=a]ypal.com"),
            // All of it Cyrillic, none of it looks so.
            ("\u{430}\u{440}\u{440}\u{435}", "[U+0430=a][U+0440=p][U+0440=p][U+0435=e]"),
            // Words in other scripts are words.
            ("привет мир", "привет мир"),
            ("Αρχιμήδης", "Αρχιμήδης"),
            ("日本語 naïve Müller", "日本語 naïve Müller"),
            (
                "don\u{2019}t \u{2014} \u{201c}so\u{201d}",
                "don\u{2019}t \u{2014} \u{201c}so\u{201d}",
            ),
            ("a\u{2215}b evil\u{2024}com", "a[U+2215=/]b evil[U+2024=.]com"),
        ] {
            assert_eq!(shown(text), want, "{text:?}");
        }
    }

    #[test]
    fn nothing_of_the_text_is_markup_or_a_link() {
        let html = name("<a href=\"https://evil.example\">[ok](https://evil.example)</a>");
        let html = html.into_string();
        assert!(!html.contains("<a") && !html.contains("href=\""), "{html}");
    }

    #[test]
    fn a_megabyte_of_hostile_text_is_cut_and_counted() {
        let hostile = "\u{202e}".repeat(350_000);
        let html = text(&hostile, MOST_NAME, false).into_string();
        assert!(html.len() < 100 * 1024, "{}", html.len());
        let left = hostile.len() - MOST_NAME / 3 * 3;
        assert!(html.contains(&format!("{left} more bytes")));
        assert!(!html.contains('\u{202e}'));
    }
}
