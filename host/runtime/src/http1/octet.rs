//! The alphabets of HTTP, one predicate each.
//!
//! Invariant: what is read and what is written are held to the same alphabets.

/// A byte of a token: a method or a field name (RFC 9110, 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A control byte that has no place in a head: all but the tab and the line ends.
pub(super) fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r' | b'\n')
}

/// A byte of a field value or of a chunk extension (RFC 9110, 5.5): visible, blank, or of a
/// charset that nobody knows.
pub(super) fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

/// A byte of a request target. More than RFC 3986 allows, as in Envoy: `<`, `"`, `#` and the
/// like are for the reader of the path to judge.
pub(super) fn is_target(byte: u8) -> bool {
    byte.is_ascii_graphic()
}
