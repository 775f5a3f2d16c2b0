//! What is scrubbed: secrets from a fixed seed, and bodies of several kinds.
//!
//! Invariant: the same name gives the same bytes everywhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bodies as an API sends them, without a secret.
pub const BENIGN: [&str; 6] = ["prose", "json", "pretty", "html", "base64", "binary"];
/// Bodies made to cost: parts of secrets, escapes, gaps, and secrets themselves.
pub const HOSTILE: [&str; 6] = ["starts", "ends", "percent", "mixed", "gaps", "echoes"];

/// Bytes of a body.
pub const LENGTH: usize = 64 * 1024;

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const KINDS: [&str; 5] = ["xoxb-", "ghp_", "sk_live_", "glpat-", ""];
const WORDS: [&str; 32] = [
    "the", "of", "quick", "brown", "fox", "request", "response", "account", "is", "and", "to", "a",
    "in", "customer", "order", "invoice", "It", "value", "number", "that", "with", "from", "Paris",
    "gateway", "on", "status", "are", "was", "for", "name", "address", "delivery",
];

/// Numbers without a pattern (xorshift).
struct Mix(u64);

impl Mix {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.next() % all.len()]
    }
}

/// So many secrets, as services issue them; `first` tells sets apart.
pub fn secrets(first: u64, count: usize) -> Vec<String> {
    let mut mix = Mix(0x9e37_79b9_7f4a_7c15 ^ (first << 1 | 1));
    (0..20).for_each(|_| _ = mix.next());
    let letters = |mix: &mut Mix| (0..36).map(|_| char::from(mix.of(LETTERS))).collect::<String>();
    (0..count).map(|at| format!("{}{}", KINDS[at % KINDS.len()], letters(&mut mix))).collect()
}

/// A body of this kind.
pub fn body(kind: &str, secrets: &[String]) -> Vec<u8> {
    let (mut mix, mut body) = (Mix(99), Vec::new());
    while body.len() < LENGTH {
        body.extend(piece(kind, &mut mix, secrets));
    }
    body.truncate(LENGTH);
    body
}

fn piece(kind: &str, mix: &mut Mix, secrets: &[String]) -> Vec<u8> {
    let secret = &secrets[mix.next() % secrets.len()];
    let (n, a, b, c) = (mix.next(), mix.of(&WORDS), mix.of(&WORDS), mix.of(&WORDS));
    let time = format!("2026-11-{:02}T10:{:02}:00Z", n >> 3 & 15, n >> 7 & 31);
    let text = match kind {
        "prose" => format!("{a} {b} {c}{}", [". ", ", ", ".\n", " ", " ", " "][n % 6]),
        "json" => format!(
            "{{\"id\":{},\"name\":\"{a} {b}\",\"at\":\"{time}\",\"url\":\"https://api.test/v1/{n:x}\
             ?page={}\",\"tags\":[\"{c}\"],\"note\":\"{b} \\\"{a}\\\"\\n\"}},",
            n % 100_000,
            n & 7
        ),
        "pretty" => format!(
            "    {{\n        \"id\": {},\n        \"name\": \"{a} {b}\",\n        \"at\": \"{time}\"\n    }},\n",
            n % 100_000
        ),
        "html" => format!(
            "<div class=\"row item-{}\"><a href=\"/items/{:x}?a=1&amp;b={}\">{a} &quot;{b}&quot; {c}</a></div>\n",
            n & 255,
            n >> 8 & 0xffff,
            n & 63
        ),
        "base64" => {
            STANDARD.encode((n as u64 ^ (mix.next() as u64) << 24).to_le_bytes())[..8].into()
        }
        "binary" => return (n as u64 ^ (mix.next() as u64) << 24).to_le_bytes().to_vec(),
        "starts" => secret[..11].to_owned(),
        "ends" => STANDARD.encode(secret)[..40].to_owned(),
        "percent" => format!("%{:02x}", n & 127),
        "mixed" => ["\\\"", "\\u0041", "\\\\", "&amp;", "=41", "%2541"][n % 6].to_owned(),
        "gaps" => format!("{} ", &secret[n % 30..][..1]),
        _ => format!("{{\"echo\":\"{secret}\"}},"),
    };
    text.into_bytes()
}

/// The secrets in eight encodings, for the automaton that ours is compared with.
pub fn encodings(secrets: &[String]) -> Vec<Vec<u8>> {
    let each = |secret: &String| {
        let spell = |form: fn(u8) -> String| secret.bytes().map(form).collect::<String>();
        [
            secret.clone(),
            STANDARD.encode(secret),
            STANDARD.encode(format!("1{secret}"))[2..].to_owned(),
            STANDARD.encode(format!("12{secret}"))[4..].to_owned(),
            spell(|b| format!("{b:02x}")),
            spell(|b| format!("{b:02X}")),
            spell(|b| format!("%{b:02X}")),
            spell(|b| format!("\\u00{b:02x}")),
        ]
        .map(String::into_bytes)
    };
    secrets.iter().flat_map(each).collect()
}
