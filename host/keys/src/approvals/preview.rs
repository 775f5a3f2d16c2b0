//! What a person is shown of a request, and how it is kept.
//!
//! ```text
//! key    = HKDF-SHA256(DEK_t, salt = approval id, "preview/1")
//! sealed = AES-256-GCM(key, random nonce, JSON, aad = "preview/1" || lp16 tenant || id)
//! ```
//!
//! Owns both forms. Invariant: a preview is data of an attacker: it is text to be shown as it
//! is, never markup, links or commands.

use postern_core::approvals::Requested;
use postern_core::secret::Secret;
use serde::{Deserialize, Serialize};

use crate::envelope::{Dek, Scope, open_preview, seal_preview};
use crate::fault::Fault;
use crate::service::Inner;
use crate::store::{Connection, deks};

/// Most bytes of content that are shown.
pub const MOST_TEXT: usize = 8 * 1024;
/// Most bytes that are shown of a name, a path or a value.
pub const MOST_NAME: usize = 2048;
/// Most names and values that are shown of a query, and of fields.
pub const MOST_PAIRS: usize = 50;

/// One request, structurally.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Method.
    pub method: String,
    /// Scheme.
    pub scheme: String,
    /// Authority.
    pub authority: String,
    /// Path without query, as it is sent: percent-encoding stays.
    pub path: String,
    /// Names and values of the query, as they are sent.
    pub query: Vec<(String, String)>,
    /// Fields that the approval is bound to. Credentials stand in them as placeholders.
    pub fields: Vec<(String, String)>,
    /// Content.
    pub content: Content,
}

/// Content as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Content {
    /// There is none.
    None,
    /// The gateway did not read it, so the approval does not cover it.
    Unread,
    /// Text, and how many bytes follow that are not shown.
    Text {
        /// The first of it.
        text: String,
        /// Bytes behind it.
        more: u64,
    },
    /// Not text.
    Binary {
        /// How many bytes.
        bytes: u64,
    },
}

impl Preview {
    /// Of a request.
    pub fn of(request: &Requested) -> Self {
        let pair = |pair: &str| match pair.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (pair.to_owned(), String::new()),
        };
        let query = request.path.split_once('?').map_or("", |(_, query)| query);
        let field = |(name, value): &(String, Vec<u8>)| {
            (name.clone(), String::from_utf8_lossy(value).into_owned())
        };
        Self {
            method: request.method.clone(),
            scheme: request.scheme.clone(),
            authority: request.authority.clone(),
            path: request.bare_path().to_owned(),
            query: query.split('&').filter(|part| !part.is_empty()).map(pair).collect(),
            fields: request.fields.iter().map(field).collect(),
            content: Content::of(request),
        }
    }
}

impl Preview {
    /// Whether all of the request is shown to whoever looks at it.
    pub fn is_whole(&self) -> bool {
        let heads = [&self.method, &self.scheme, &self.authority, &self.path];
        let pairs = [&self.query, &self.fields];
        let short = |text: &String| text.len() <= MOST_NAME;
        heads.into_iter().all(short)
            && pairs.iter().all(|all| all.len() <= MOST_PAIRS)
            && pairs.into_iter().flatten().all(|(name, value)| short(name) && short(value))
            && self.content.is_whole()
    }
}

impl Content {
    fn is_whole(&self) -> bool {
        match self {
            Self::None => true,
            Self::Text { text, more } => *more == 0 && text.len() <= MOST_TEXT,
            Self::Unread | Self::Binary { .. } => false,
        }
    }

    fn of(request: &Requested) -> Self {
        if request.content_digest.is_none() {
            return Self::Unread;
        }
        if request.content_length == 0 {
            return Self::None;
        }
        // A character that the cut has split is no reason to call it binary.
        let text = match str::from_utf8(&request.content) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() => {
                let whole = request.content.get(..error.valid_up_to()).unwrap_or_default();
                str::from_utf8(whole).unwrap_or_default()
            }
            Err(_) => return Self::Binary { bytes: request.content_length },
        };
        if text.contains('\0') {
            return Self::Binary { bytes: request.content_length };
        }
        let text: String = text.chars().take(MOST_TEXT).collect();
        let shown = u64::try_from(text.len()).unwrap_or(u64::MAX);
        Self::Text { text, more: request.content_length.saturating_sub(shown) }
    }
}

/// The preview of `id`, sealed under the tenant's data key.
pub(super) fn seal(
    dek: &Dek,
    tenant: &str,
    id: &[u8; 16],
    preview: &Preview,
) -> Result<Vec<u8>, Fault> {
    let json = serde_json::to_vec(preview).map_err(|_| Fault::Malformed("preview"))?;
    seal_preview(dek, tenant, id, &Secret::new(json))
}

/// Opens what [`seal`] made.
pub(super) async fn open(
    service: &Inner,
    db: &mut Connection,
    tenant: &str,
    id: &[u8; 16],
    sealed: &[u8],
) -> Result<Preview, Fault> {
    let scope = Scope::Tenant(tenant.to_owned());
    let dek = deks::find(db, &scope, service.kek.as_ref()).await?;
    let dek = dek.ok_or(Fault::Sealed("preview"))?;
    let json = open_preview(&dek, tenant, id, sealed)?;
    serde_json::from_slice(json.expose()).map_err(|_| Fault::Malformed("preview"))
}
