//! What can happen to a stream. Hosts turn callbacks into these and nothing else.

use crate::fields::Fields;
use crate::key_service::{CallId, CallResult};
use crate::time::Entropy;

/// One thing that happened. Body events carry only bytes not delivered before.
pub enum Event {
    /// The request's header section.
    RequestHeaders {
        /// As it stands now, pseudo-fields included.
        fields: Fields,
        /// No content and no trailers follow.
        end: bool,
        /// What the host knows about this stream.
        around: Surroundings,
        /// Randomness for decision ids and exchanges.
        entropy: Entropy,
    },
    /// New request content; earlier held bytes are not repeated.
    RequestBody {
        /// The new bytes.
        chunk: Vec<u8>,
        /// The request ends here, without trailers.
        end: bool,
    },
    /// The request's trailer section, which ends it.
    RequestTrailers(Fields),
    /// A call came back, failed or timed out.
    CallReply {
        /// The call that this answers.
        id: CallId,
        /// What came back.
        result: CallResult,
        /// Randomness for a further exchange.
        entropy: Entropy,
    },
    /// The response's header section.
    ResponseHeaders {
        /// As it stands now, `:status` included.
        fields: Fields,
        /// No content and no trailers follow.
        end: bool,
    },
    /// New response content; earlier held bytes are not repeated.
    ResponseBody {
        /// The new bytes.
        chunk: Vec<u8>,
        /// The response ends here, without trailers.
        end: bool,
    },
    /// The response's trailer section, which ends it.
    ResponseTrailers(Fields),
    /// The host could not perform an effect; only a denial can follow.
    EffectFailed,
    /// Time passed.
    Tick,
    /// The stream is over; nothing can be sent any more.
    Done,
}

/// What the host knows about a stream beside its bytes. Absent is `None`, never
/// empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Name of the cluster the route chose (`xds.cluster_name`), where that is final.
    pub cluster: Option<Vec<u8>>,
    /// Bytes of filter state `postern.permit`.
    pub permit: Option<Vec<u8>>,
    /// Bytes of filter state `postern.record`.
    pub record: Option<Vec<u8>>,
    /// Bytes of filter state `postern.form`: form content that the gate has read, where a
    /// signature covers it. Anybody may have put them there: their digest is the permit's.
    pub form: Option<Vec<u8>>,
    /// The certificate that the caller has shown on its connection, PEM, where somebody
    /// looks at it. The host has verified that an authority of the listener has signed it.
    pub certificate: Option<Vec<u8>>,
    /// Whether the audit logger acknowledged this root's last record.
    pub audit: AuditState,
}

/// What the receipts say about the audit logger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditState {
    /// The last record of this root is on the chain, with room for more.
    #[default]
    Acknowledged,
    /// At least one record of this root has no receipt.
    Behind,
    /// The logger's buffer is full and writes must not pass; reads may.
    FullForWrites,
    /// The logger's buffer is full and nothing may pass.
    Full,
}
