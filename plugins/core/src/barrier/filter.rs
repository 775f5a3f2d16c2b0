//! Removes sections from JSON while it streams.
//!
//! What is left is the text as it came, byte for byte, without the removed sections and
//! the commas that belong to them: an element goes from its array, a member from its object,
//! and a whole document becomes `null`. A section is held from its first byte until all its
//! tags were read, and no longer; of what is removed nothing is held.
//!
//! Invariant: of a text that is not refused, what leaves does not depend on how it was cut into
//! chunks, nor does whether it is refused; how much has left before a refusal does. Memory is bounded by what may be held, one chunk, and
//! [`MOST_NAMES`] numbers.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use super::lexer::{Lexer, Token};
use super::{Fault, Framework, Reader, Section};

/// Deepest nesting of arrays and objects.
pub const MOST_DEPTH: usize = 64;
/// Most members that the objects which are open have together.
pub const MOST_NAMES: usize = 16 * 1024;
/// Longest name or tag, as it is written.
const LONGEST_NAME: usize = 1024;

/// Filters one answer.
pub struct Filter {
    framework: Rc<Framework>,
    sections: Rc<[Section]>,
    reader: Reader,
    /// Most bytes of a section that wait for its tags.
    hold: usize,
    lexer: Lexer,
    stack: Vec<Frame>,
    expect: Expect,
    /// A number or word is open.
    scalar: bool,
    /// A member's name, or a tag, as it is written.
    written: Vec<u8>,
    /// What the tag that is being read answers.
    tag: Vec<Asked>,
    /// Text that was not released; `released` bytes were before it.
    out: Vec<u8>,
    released: usize,
    /// Where the comma, or name, before the next value begins.
    lead: Option<usize>,
    /// A value is being dropped that began when this many containers were open.
    dropping: Option<usize>,
    /// Members of open objects.
    names: usize,
    removed: u64,
}

/// What may come, whitespace apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    /// The first element, or the end of the array.
    Element,
    /// The first name, or the end of the object.
    Member,
    Name,
    Colon,
    /// A comma or the end of what is open.
    Next,
    Nothing,
}

/// An open array or object.
struct Frame {
    object: bool,
    /// Sections whose pointer leads on through here.
    through: Vec<usize>,
    /// Something of it has stayed.
    kept: bool,
    /// The element at hand.
    index: usize,
    /// The member at hand.
    name: String,
    /// Hashes of the names so far. Two names of one hash are taken for one.
    names: BTreeSet<u64>,
    open: Option<Open>,
}

/// A section that is not decided.
struct Open {
    start: usize,
    /// Something of what it stands in had stayed before it.
    kept_before: bool,
    /// Tags that were not read yet.
    missing: Vec<Asked>,
}

/// One tag of one section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    section: usize,
    tag: Tag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Level,
    Organisation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
    Text,
    Scalar,
}

impl Filter {
    /// A filter at the start of an answer. `hold`: most bytes of a section that wait for its
    /// tags.
    pub fn new(
        framework: Rc<Framework>,
        sections: Rc<[Section]>,
        reader: Reader,
        hold: usize,
    ) -> Self {
        Self {
            framework,
            sections,
            reader,
            hold,
            lexer: Lexer::default(),
            stack: Vec::new(),
            expect: Expect::Value,
            scalar: false,
            written: Vec::new(),
            tag: Vec::new(),
            out: Vec::new(),
            released: 0,
            lead: None,
            dropping: None,
            names: 0,
            removed: 0,
        }
    }

    /// Takes more text and gives what may leave of all that came.
    pub fn chunk(&mut self, text: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut rest = text;
        while let Some(token) = self.lexer.next(&mut rest)? {
            self.token(token)?;
        }
        Ok(self.release())
    }

    /// The text is over. No text at all is whole, too.
    pub fn end(&mut self) -> Result<(), Fault> {
        if std::mem::take(&mut self.scalar) {
            self.value_ended();
        }
        let nothing = self.position() == 0 && self.expect == Expect::Value && self.stack.is_empty();
        let whole = self.expect == Expect::Nothing && self.lexer.rests();
        if whole || nothing { Ok(()) } else { Err(Fault::Form) }
    }

    /// Sections removed so far.
    pub fn removed(&self) -> u64 {
        self.removed
    }

    fn release(&mut self) -> Vec<u8> {
        let until = self.held_from().unwrap_or(self.position()).saturating_sub(self.released);
        let held = self.out.split_off(until.min(self.out.len()));
        let out = std::mem::replace(&mut self.out, held);
        self.released = self.released.saturating_add(out.len());
        out
    }

    fn position(&self) -> usize {
        self.released.saturating_add(self.out.len())
    }

    /// Where the text begins that may have to go: the outermost section that is not decided,
    /// or what stands before a value that may be a section.
    fn held_from(&self) -> Option<usize> {
        let mut open = self.stack.iter().filter_map(|frame| frame.open.as_ref());
        open.next().map(|open| open.start).or(self.lead)
    }

    fn emit(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.dropping.is_some() {
            return Ok(());
        }
        self.out.extend_from_slice(bytes);
        let held = self.held_from().map_or(0, |from| self.position().saturating_sub(from));
        if held > self.hold { Err(Fault::Held) } else { Ok(()) }
    }

    fn token(&mut self, token: Token<'_>) -> Result<(), Fault> {
        let continued = matches!(token, Token::Scalar { first: false, .. });
        if self.scalar && !continued {
            self.scalar = false;
            self.value_ended();
        }
        match token {
            Token::Space(bytes) => self.emit(bytes),
            Token::Mark(b'{') => self.open(Kind::Object, b"{"),
            Token::Mark(b'[') => self.open(Kind::Array, b"["),
            Token::Mark(b'}') => self.close(true, b"}"),
            Token::Mark(b']') => self.close(false, b"]"),
            Token::Mark(b',') => self.comma(),
            Token::Mark(_) => self.colon(),
            Token::Text { bytes, first, last } => self.text(bytes, first, last),
            Token::Scalar { bytes, first } => {
                if first {
                    self.begin(Kind::Scalar)?;
                    self.scalar = true;
                }
                self.emit(bytes)
            }
        }
    }

    fn comma(&mut self) -> Result<(), Fault> {
        let frame = self.stack.last_mut().filter(|_| self.expect == Expect::Next);
        let frame = frame.ok_or(Fault::Form)?;
        frame.index = frame.index.saturating_add(1);
        self.expect = if frame.object { Expect::Name } else { Expect::Value };
        let needed = frame.kept;
        if self.dropping.is_none() {
            self.lead = Some(self.position());
        }
        if needed { self.emit(b",") } else { Ok(()) }
    }

    fn colon(&mut self) -> Result<(), Fault> {
        if self.expect != Expect::Colon {
            return Err(Fault::Form);
        }
        self.expect = Expect::Value;
        self.emit(b":")
    }

    fn open(&mut self, kind: Kind, mark: &[u8]) -> Result<(), Fault> {
        self.begin(kind)?;
        self.emit(mark)
    }

    fn close(&mut self, object: bool, mark: &[u8]) -> Result<(), Fault> {
        let empty = if object { Expect::Member } else { Expect::Element };
        let fits = self.stack.last().is_some_and(|frame| frame.object == object);
        if !fits || (self.expect != Expect::Next && self.expect != empty) {
            return Err(Fault::Form);
        }
        if self.stack.last().is_some_and(|frame| frame.open.is_some()) {
            // Not every tag was there.
            self.remove_open();
        }
        self.emit(mark)?;
        if let Some(frame) = self.stack.pop() {
            self.names = self.names.saturating_sub(frame.names.len());
        }
        self.value_ended();
        Ok(())
    }

    fn text(&mut self, bytes: &[u8], first: bool, last: bool) -> Result<(), Fault> {
        if first && matches!(self.expect, Expect::Member | Expect::Name) {
            if self.dropping.is_none() {
                self.lead = self.lead.or(Some(self.position()));
            }
            self.expect = Expect::Name;
            self.written.clear();
        } else if first {
            self.begin(Kind::Text)?;
            self.written.clear();
        }
        let name = self.expect == Expect::Name;
        if name || !self.tag.is_empty() {
            self.note(bytes, name)?;
        }
        self.emit(bytes)?;
        if last && name {
            return self.named();
        }
        if last {
            self.tagged();
            self.value_ended();
        }
        Ok(())
    }

    /// Keeps the text of a name or a tag. One byte more than fits tells that it is too long.
    fn note(&mut self, bytes: &[u8], name: bool) -> Result<(), Fault> {
        let room = LONGEST_NAME.saturating_add(1).saturating_sub(self.written.len());
        self.written.extend(bytes.iter().take(room));
        if name && self.written.len() > LONGEST_NAME { Err(Fault::Size) } else { Ok(()) }
    }

    /// A member's name is whole.
    fn named(&mut self) -> Result<(), Fault> {
        let name: String = serde_json::from_slice(&self.written).map_err(|_| Fault::Form)?;
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let frame = self.stack.last_mut().ok_or(Fault::Form)?;
        if !frame.names.insert(hasher.finish()) {
            return Err(Fault::Twice);
        }
        frame.name = name;
        self.names = self.names.saturating_add(1);
        self.expect = Expect::Colon;
        if self.names > MOST_NAMES { Err(Fault::Size) } else { Ok(()) }
    }

    /// A value begins.
    fn begin(&mut self, kind: Kind) -> Result<(), Fault> {
        if !matches!(self.expect, Expect::Value | Expect::Element) {
            return Err(Fault::Form);
        }
        let start = self.lead.take().unwrap_or(self.position());
        let container = matches!(kind, Kind::Object | Kind::Array);
        if container && self.stack.len() >= MOST_DEPTH {
            return Err(Fault::Size);
        }
        if self.dropping.is_none() {
            self.ask_tags(kind);
        }
        let (here, through) = if self.dropping.is_none() { self.led() } else { Default::default() };
        let kept_before = self.stack.last().is_some_and(|frame| frame.kept);
        let section = !here.is_empty();
        if let Some(frame) = self.stack.last_mut().filter(|_| self.dropping.is_none()) {
            frame.kept = true;
        }
        if section && kind != Kind::Object {
            self.remove(start, kept_before, self.stack.len());
        }
        let missing = here.into_iter().flat_map(|section| self.tags(section)).collect();
        let object = kind == Kind::Object;
        let open = (section && object).then_some(Open { start, kept_before, missing });
        if container {
            self.stack.push(Frame {
                object,
                through,
                kept: false,
                index: 0,
                name: String::new(),
                names: BTreeSet::new(),
                open,
            });
            self.expect = if object { Expect::Member } else { Expect::Element };
        } else {
            self.expect = Expect::Next;
        }
        Ok(())
    }

    /// A value is whole, and what it stands in is the last that is open.
    fn value_ended(&mut self) {
        if self.dropping == Some(self.stack.len()) {
            self.dropping = None;
        }
        self.expect = if self.stack.is_empty() { Expect::Nothing } else { Expect::Next };
    }

    /// Sections whose pointer ends at the value that begins, and those whose leads into it.
    fn led(&self) -> (Vec<usize>, Vec<usize>) {
        let depth = self.stack.len();
        let pointer = |section: &usize| self.sections.get(*section).map(|section| &section.at);
        let leads = |section: &usize| match self.stack.last() {
            None => true,
            Some(frame) => pointer(section).is_some_and(|at| {
                let step = depth.saturating_sub(1);
                if frame.object {
                    at.has_member(step, &frame.name)
                } else {
                    at.has_element(step, frame.index)
                }
            }),
        };
        let all: Vec<usize>;
        let known = match self.stack.last() {
            Some(frame) => &frame.through,
            None => {
                all = (0..self.sections.len()).collect();
                &all
            }
        };
        let led = known.iter().copied().filter(leads);
        led.partition(|section| pointer(section).is_some_and(|at| at.depth() == depth))
    }

    /// Tags that decide about a section.
    fn tags(&self, section: usize) -> impl Iterator<Item = Asked> + use<> {
        let known = self.sections.get(section);
        let level = known.and_then(|known| known.level.as_ref()).map(|_| Tag::Level);
        let organisation =
            known.and_then(|known| known.organisation.as_ref()).map(|_| Tag::Organisation);
        level.into_iter().chain(organisation).map(move |tag| Asked { section, tag })
    }

    /// What the member that begins answers of the section it stands in. One that is no text
    /// is no tag.
    fn ask_tags(&mut self, kind: Kind) {
        self.tag.clear();
        let Some(frame) = self.stack.last().filter(|frame| frame.object) else { return };
        let Some(open) = &frame.open else { return };
        let holds = |asked: &Asked| {
            let section = self.sections.get(asked.section);
            let member = section.and_then(|section| match asked.tag {
                Tag::Level => section.level.as_deref(),
                Tag::Organisation => section.organisation.as_deref(),
            });
            member == Some(frame.name.as_str())
        };
        let asked: Vec<Asked> = open.missing.iter().copied().filter(holds).collect();
        if !asked.is_empty() && kind != Kind::Text {
            self.remove_open();
            return;
        }
        self.tag = asked;
    }

    /// A text is whole that may be a tag.
    fn tagged(&mut self) {
        let asked = std::mem::take(&mut self.tag);
        if asked.is_empty() {
            return;
        }
        let text = Some(&self.written).filter(|text| text.len() <= LONGEST_NAME);
        let text: Option<String> = text.and_then(|text| serde_json::from_slice(text).ok());
        let good = text.is_some_and(|text| asked.iter().all(|one| self.is_cleared(one.tag, &text)));
        if !good {
            self.remove_open();
            return;
        }
        let Some(frame) = self.stack.last_mut() else { return };
        if let Some(open) = &mut frame.open {
            open.missing.retain(|one| !asked.contains(one));
        }
        if frame.open.as_ref().is_some_and(|open| open.missing.is_empty()) {
            frame.open = None;
        }
    }

    fn is_cleared(&self, tag: Tag, text: &str) -> bool {
        match tag {
            Tag::Level => self.framework.level(text).is_some_and(|level| {
                self.reader.clearance.is_some_and(|clearance| level <= clearance)
            }),
            Tag::Organisation => !text.is_empty() && text == self.reader.organisation,
        }
    }

    /// Removes the section that is the innermost open container.
    fn remove_open(&mut self) {
        let depth = self.stack.len().saturating_sub(1);
        let open = self.stack.last_mut().and_then(|frame| frame.open.take());
        if let Some(open) = open {
            self.remove(open.start, open.kept_before, depth);
        }
    }

    /// Takes back what came since `start`, and drops the rest of the value that began when
    /// `depth` containers were open.
    fn remove(&mut self, start: usize, kept_before: bool, depth: usize) {
        self.removed = self.removed.saturating_add(1);
        self.out.truncate(start.saturating_sub(self.released));
        self.tag.clear();
        self.lead = None;
        let parent = depth.checked_sub(1).and_then(|parent| self.stack.get_mut(parent));
        match parent {
            Some(parent) => parent.kept = kept_before,
            None => self.out.extend_from_slice(b"null"),
        }
        self.dropping = Some(depth);
    }
}
