//! What a regular expression means to both Go and Rust.
//!
//! Owns the reading of patterns, letter by letter, by Go's rules (RE2 with Perl's classes).
//! Invariant: a pattern that is said to be of both means the same to both; whatever is not
//! known to do so is [`Reading::Unsure`].

/// How two engines read a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Alike, when Rust is given this text.
    Both(String),
    /// Neither takes it.
    Neither,
    /// Perhaps not alike.
    Unsure,
}

/// Reads a pattern.
pub(super) fn read(pattern: &str) -> Reading {
    let mut reader =
        Reader { rest: pattern, out: String::with_capacity(pattern.len()), groups: Vec::new() };
    match reader.whole() {
        Ok(()) => Reading::Both(reader.out),
        Err(reading) => reading,
    }
}

/// Go allows no more repeats, nested ones multiplied.
const MOST_REPEATS: u32 = 1000;

/// Names of classes in `[[:name:]]`, known to both.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Rust's classes are Unicode, Go's ASCII.
fn ascii(letter: char) -> Option<&'static str> {
    match letter {
        'd' => Some("[0-9]"),
        'D' => Some("[^0-9]"),
        'w' => Some("[0-9A-Za-z_]"),
        'W' => Some("[^0-9A-Za-z_]"),
        's' => Some("[\\t\\n\\f\\r ]"),
        'S' => Some("[^\\t\\n\\f\\r ]"),
        _ => None,
    }
}

/// What stands before a letter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing that could be repeated, or something that was.
    Other,
    /// One thing with so many nested repeats.
    One(u32),
}

struct Reader<'a> {
    rest: &'a str,
    out: String,
    /// For each open group, the most nested repeats in it.
    groups: Vec<u32>,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let mut letters = self.rest.chars();
        let letter = letters.next();
        self.rest = letters.as_str();
        letter
    }

    fn take(&mut self, start: &str) -> bool {
        self.rest.strip_prefix(start).map(|rest| self.rest = rest).is_some()
    }

    fn whole(&mut self) -> Result<(), Reading> {
        let mut before = Before::Other;
        while let Some(letter) = self.next() {
            before = match letter {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.open()?,
                ')' => Before::One(self.close()?),
                '*' | '+' | '?' | '{' => self.repeat(letter, before)?,
                // Go takes no repeats of these, or other ones.
                '^' | '$' | '|' => self.put(letter, Before::Other),
                _ => self.put(letter, Before::One(1)),
            };
        }
        if self.groups.is_empty() { Ok(()) } else { Err(Reading::Neither) }
    }

    fn put(&mut self, letter: char, before: Before) -> Before {
        self.out.push(letter);
        before
    }

    fn escape(&mut self) -> Result<Before, Reading> {
        let letter = self.next().ok_or(Reading::Neither)?;
        if let Some(class) = ascii(letter) {
            self.out.push_str(class);
            return Ok(Before::One(1));
        }
        match letter {
            'b' => self.out.push_str("(?-u:\\b)"),
            'A' | 'z' => self.out.extend(['\\', letter]),
            _ => {
                self.single(letter)?;
                return Ok(Before::One(1));
            }
        }
        Ok(Before::Other)
    }

    /// An escape that is one letter, in a class or outside of it.
    fn single(&mut self, letter: char) -> Result<(), Reading> {
        let sign = letter.is_ascii_punctuation() && letter != '<' && letter != '>';
        if !sign && !['a', 'f', 'n', 'r', 't', 'v', 'x'].contains(&letter) {
            return Err(Reading::Unsure);
        }
        self.out.extend(['\\', letter]);
        if letter != 'x' {
            return Ok(());
        }
        // The digits mean nothing else: a brace here would be a repeat to what follows.
        let braced = self.take("{");
        let digits = self.rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let count = if braced { digits } else { 2 };
        let (digits, rest) = self.rest.split_at_checked(count).ok_or(Reading::Unsure)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Reading::Unsure);
        }
        self.out.push_str(&format!("{{{digits}}}"));
        self.rest = rest;
        if braced && !self.take("}") { Err(Reading::Unsure) } else { Ok(()) }
    }

    /// Behind `[`.
    fn class(&mut self) -> Result<Before, Reading> {
        self.out.push('[');
        if self.take("^") {
            self.out.push('^');
        }
        // At the start these are letters.
        if self.take("]") {
            self.out.push_str("\\]");
        } else if self.take("-") {
            self.out.push_str("\\-");
            self.no_range()?;
        }
        loop {
            let letter = self.next().ok_or(Reading::Neither)?;
            match letter {
                ']' => break,
                '[' => self.named()?,
                '\\' => {
                    let letter = self.next().ok_or(Reading::Neither)?;
                    match ascii(letter) {
                        Some(class) => {
                            self.out.push_str(class);
                            self.no_range()?;
                        }
                        None => self.single(letter)?,
                    }
                }
                // Twice they are operations on sets, to Rust.
                '&' | '~' | '-' if self.rest.starts_with(letter) => return Err(Reading::Unsure),
                '-' if self.ends_in_class() => return Err(Reading::Unsure),
                _ => self.out.push(letter),
            }
        }
        self.out.push(']');
        Ok(Before::One(1))
    }

    /// `[:name:]` in a class, behind its `[`; to Rust another `[` starts a class in the class.
    fn named(&mut self) -> Result<(), Reading> {
        let (name, rest) = self.rest.split_once(":]").ok_or(Reading::Unsure)?;
        let name = name.strip_prefix(':').ok_or(Reading::Unsure)?;
        if !CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(Reading::Unsure);
        }
        self.out.push_str(&format!("[:{name}:]"));
        self.rest = rest;
        self.no_range()
    }

    /// No range begins with a class.
    fn no_range(&self) -> Result<(), Reading> {
        let range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
        if range { Err(Reading::Unsure) } else { Ok(()) }
    }

    /// Whether a class stands where a range may end, behind `-`.
    fn ends_in_class(&self) -> bool {
        let escaped = self.rest.strip_prefix('\\').and_then(|rest| rest.chars().next());
        self.rest.starts_with('[') || escaped.is_some_and(|letter| ascii(letter).is_some())
    }

    /// Behind `(`.
    fn open(&mut self) -> Result<Before, Reading> {
        self.out.push('(');
        if !self.take("?") {
            self.groups.push(1);
            return Ok(Before::Other);
        }
        if self.take("P<") || self.take("<") {
            let (name, rest) = self.rest.split_once('>').ok_or(Reading::Unsure)?;
            let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || !name.bytes().all(word) {
                return Err(Reading::Unsure);
            }
            self.out.push_str(&format!("?P<{name}>"));
            self.rest = rest;
            self.groups.push(1);
            return Ok(Before::Other);
        }
        self.out.push('?');
        loop {
            let letter = self.next().ok_or(Reading::Neither)?;
            self.out.push(letter);
            match letter {
                'i' | 'm' | 's' | 'U' | '-' => {}
                ':' => self.groups.push(1),
                ')' => {}
                _ => return Err(Reading::Unsure),
            }
            if [':', ')'].contains(&letter) {
                return Ok(Before::Other);
            }
        }
    }

    /// Behind `)`: the most nested repeats in the group.
    fn close(&mut self) -> Result<u32, Reading> {
        let inside = self.groups.pop().ok_or(Reading::Neither)?;
        self.out.push(')');
        self.count(inside)?;
        Ok(inside)
    }

    fn count(&mut self, repeats: u32) -> Result<(), Reading> {
        if repeats > MOST_REPEATS {
            return Err(Reading::Unsure);
        }
        if let Some(around) = self.groups.last_mut() {
            *around = repeats.max(*around);
        }
        Ok(())
    }

    /// `*`, `+`, `?` or `{n,m}`, with a `?` behind; Go refuses a repeat of a repeat.
    fn repeat(&mut self, letter: char, before: Before) -> Result<Before, Reading> {
        let Before::One(inside) = before else { return Err(Reading::Unsure) };
        self.out.push(letter);
        if letter == '{' {
            let (numbers, rest) = self.rest.split_once('}').ok_or(Reading::Unsure)?;
            self.count(inside.saturating_mul(most(numbers).ok_or(Reading::Unsure)?.max(1)))?;
            self.out.push_str(&format!("{numbers}}}"));
            self.rest = rest;
        }
        if self.take("?") {
            self.out.push('?');
        }
        Ok(Before::Other)
    }
}

/// The larger number of `n`, `n,` and `n,m`.
fn most(numbers: &str) -> Option<u32> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    match numbers.split_once(',') {
        None => number(numbers),
        Some((low, "")) => number(low),
        Some((low, high)) => Some(number(low)?.max(number(high)?)),
    }
}
