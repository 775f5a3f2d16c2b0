//! The decompressor: which coding, in which directions.

use super::read::Table;

/// `envoy.filters.http.decompressor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decompressor {
    /// What is decompressed, and how.
    pub library: Library,
    /// Of requests.
    pub request: DirectionConfig,
    /// Of responses.
    pub response: DirectionConfig,
    /// Whether upstreams are told in `accept-encoding`.
    pub advertise: bool,
}

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectionConfig {
    /// Whether anything is done.
    pub enabled: bool,
    /// Whether `cache-control: no-transform` is passed over.
    pub ignore_no_transform: bool,
}

/// A decompressor library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its name, which stands in the trailers.
    pub name: String,
    /// What it understands.
    pub coding: Coding,
    /// What a piece of content may grow by at most.
    pub ratio: usize,
    /// Bytes that are made at once.
    pub chunk: usize,
}

/// A content coding (RFC 9110, 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`.
    Gzip,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
}

impl Coding {
    /// As fields name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// Type of the filter's configuration.
pub(super) const DECOMPRESSOR: &str = "envoy.extensions.filters.http.decompressor.v3.Decompressor";
const USUAL: DirectionConfig = DirectionConfig { enabled: true, ignore_no_transform: false };
/// What content may grow by, in Envoy's libraries.
const RATIO: usize = 100;
/// What its libraries make at once; that of Zstandard makes a whole block.
const CHUNK: usize = 4096;
const ZSTD_CHUNK: usize = 128 * 1024;
/// What Envoy makes of a small bomb.
const BROTLI_CHUNK: usize = 16 * 1024;

impl Decompressor {
    /// Reads the configuration, whose type has been read.
    pub(super) fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let library = table.need_table("decompressor_library").and_then(Library::read);
        let mut request = table.table("request_direction_config");
        let advertise = request.as_mut().is_none_or(|table| {
            table.get("advertise_accept_encoding").is_none()
                || table.flag("advertise_accept_encoding")
        });
        let request = request.map_or(USUAL, DirectionConfig::read);
        let response = table.table("response_direction_config");
        let response = response.map_or(USUAL, DirectionConfig::read);
        table.done();
        Some(Self { library: library?, request, response, advertise })
    }
}

impl DirectionConfig {
    fn read(mut table: Table<'_, '_>) -> Self {
        let common = table.table("common_config");
        table.done();
        let Some(mut common) = common else { return USUAL };
        let enabled = common.table("enabled").is_none_or(read_enabled);
        let ignore_no_transform = common.flag("ignore_no_transform_header");
        common.done();
        Self { enabled, ignore_no_transform }
    }
}

/// There is no runtime here that could say otherwise than the default.
fn read_enabled(mut table: Table<'_, '_>) -> bool {
    table.text("runtime_key");
    let enabled = table.get("default_value").is_none() || table.flag("default_value");
    table.done();
    enabled
}

impl Library {
    fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let name = table.need("name").and_then(|at| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            let good = at.text().filter(|name| !name.is_empty() && name.bytes().all(fits));
            table.expected(&at, good.map(str::to_owned), "a name that can stand in a field's")
        });
        let config = table.need_table("typed_config");
        table.done();
        let mut config = config?;
        let at = config.need("@type")?;
        let kinds = [
            ("gzip", "Gzip", Coding::Gzip),
            ("brotli", "Brotli", Coding::Brotli),
            ("zstd", "Zstd", Coding::Zstd),
        ];
        let is = |(package, kind, _): &&(&str, &str, Coding)| {
            let package = format!("envoy.extensions.compression.{package}.decompressor.v3");
            at.text() == Some(&format!("type.googleapis.com/{package}.{kind}"))
        };
        let coding = kinds.iter().find(is).map(|(.., coding)| *coding);
        let coding = config
            .expected(&at, coding, "the decompressor of gzip, brotli or zstd")
            .or_else(|| {
                // Its keys mean nothing then.
                config.at.entries();
                None
            })?;
        let (ratio, chunk) = read_limits(&mut config, coding);
        config.done();
        Some(Self { name: name?, coding, ratio, chunk })
    }
}

fn read_limits(config: &mut Table<'_, '_>, coding: Coding) -> (usize, usize) {
    let mut ratio = RATIO;
    if coding == Coding::Gzip {
        let at = config.get("max_inflate_ratio");
        ratio = config.number("max_inflate_ratio").unwrap_or(RATIO);
        if let Some(at) = at.filter(|_| !(1..=1032).contains(&ratio)) {
            config.report.problem(&at, "expected a ratio from 1 to 1032");
        }
    }
    let at = config.get("chunk_size");
    let usual = match coding {
        Coding::Gzip => CHUNK,
        Coding::Brotli => BROTLI_CHUNK,
        Coding::Zstd => ZSTD_CHUNK,
    };
    let chunk = config.number("chunk_size").unwrap_or(usual);
    if let Some(at) = at.filter(|_| !(4096..=65536).contains(&chunk)) {
        config.report.problem(&at, "expected a size from 4096 to 65536");
    }
    (ratio, chunk.max(1))
}
