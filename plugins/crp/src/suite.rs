//! Suite 0x0001 (RFC 9180): DHKEM(X25519, HKDF-SHA256) 0x0020, HKDF-SHA256 0x0001,
//! AES-256-GCM 0x0002.
//!
//! Owns the two modes CRP/1 uses: base for requests, PSK for replies. Knows no
//! message. Invariant: randomness comes in as an argument; private keys and shared
//! secrets are wiped when dropped.

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

/// The number of this suite.
pub const ID: u16 = 0x0001;
/// Bytes of an encapsulated key.
pub const ENC: usize = 32;
/// Bytes that sealing adds.
pub const TAG: usize = 16;

const PSK_LABEL: &[u8] = b"crp/1 resp psk";

/// Something did not encapsulate, seal or open. Says no more on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot seal or open")]
pub struct Broken;

/// Randomness of one exchange: ChaCha20 under a 32-byte seed.
pub struct Randomness(ChaCha20Rng);

impl Randomness {
    /// The stream of `seed`; the same seed gives the same bytes.
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(*seed))
    }

    /// The next `N` bytes.
    pub fn draw<const N: usize>(&mut self) -> Zeroizing<[u8; N]> {
        let mut bytes = Zeroizing::new([0; N]);
        self.0.fill_bytes(bytes.as_mut_slice());
        bytes
    }
}

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;

/// An X25519 key pair.
pub struct KeyPair {
    private: PrivateKey,
    public: [u8; 32],
}

impl KeyPair {
    /// `DeriveKeyPair(ikm)` (RFC 9180 7.1.3).
    pub fn derive(ikm: &[u8; 32]) -> Self {
        let (private, public) = X25519HkdfSha256::derive_keypair(ikm);
        Self { private, public: public.to_bytes().into() }
    }

    /// The public key.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }
}

/// The pre-shared key that binds a reply to its request.
pub struct Psk(Zeroizing<[u8; 32]>);

#[cfg(test)]
impl Psk {
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

type SenderContext = hpke::aead::AeadCtxS<AesGcm256, HkdfSha256, X25519HkdfSha256>;

/// A request that is being sealed: `enc` is known before the plaintext is complete,
/// since the signature inside covers it.
pub struct Sender {
    enc: [u8; ENC],
    context: SenderContext,
}

impl Sender {
    /// `SetupBaseS(recipient, info)`.
    pub fn base(
        recipient: &[u8; 32],
        info: &[u8],
        random: &mut Randomness,
    ) -> Result<Self, Broken> {
        Self::setup(&OpModeS::Base, recipient, info, random)
    }

    fn setup(
        mode: &OpModeS<'_, X25519HkdfSha256>,
        recipient: &[u8; 32],
        info: &[u8],
        random: &mut Randomness,
    ) -> Result<Self, Broken> {
        let recipient =
            <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(recipient).map_err(|_| Broken)?;
        let (enc, context) =
            hpke::setup_sender_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
                mode,
                &recipient,
                info,
                &mut random.0,
            )
            .map_err(|_| Broken)?;
        Ok(Self { enc: enc.to_bytes().into(), context })
    }

    /// The encapsulated key.
    pub fn enc(&self) -> &[u8; ENC] {
        &self.enc
    }

    /// Seals the one message of this context and exports the reply's PSK.
    pub fn seal(mut self, aad: &[u8], plaintext: &[u8]) -> Result<(Vec<u8>, Psk), Broken> {
        let mut psk = Zeroizing::new([0; 32]);
        self.context.export(PSK_LABEL, psk.as_mut_slice()).map_err(|_| Broken)?;
        let sealed = self.context.seal(plaintext, aad).map_err(|_| Broken)?;
        Ok((sealed, Psk(psk)))
    }
}

/// Opens a request sealed in base mode; gives the plaintext and the reply's PSK.
pub fn open_base(
    keys: &KeyPair,
    enc: &[u8; ENC],
    info: &[u8],
    aad: &[u8],
    sealed: &[u8],
) -> Result<(Zeroizing<Vec<u8>>, Psk), Broken> {
    let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(enc).map_err(|_| Broken)?;
    let mut context = hpke::setup_receiver::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &keys.private,
        &enc,
        info,
    )
    .map_err(|_| Broken)?;
    let opened = context.open(sealed, aad).map_err(|_| Broken)?;
    let mut psk = Zeroizing::new([0; 32]);
    context.export(PSK_LABEL, psk.as_mut_slice()).map_err(|_| Broken)?;
    Ok((Zeroizing::new(opened), Psk(psk)))
}

/// What both sides of a reply put into its sealing.
pub struct ReplyBinding<'a> {
    /// `"crp/1 resp\0" || SHA-256(request body)`.
    pub info: &'a [u8],
    /// From the request.
    pub psk: &'a Psk,
    /// The nonce.
    pub psk_id: &'a [u8; 16],
    /// Tenant, agent, credential, host and nonce.
    pub aad: &'a [u8],
}

/// Seals a reply in PSK mode to the requester's fresh key.
pub fn seal_psk(
    recipient: &[u8; 32],
    binding: &ReplyBinding<'_>,
    plaintext: &[u8],
    random: &mut Randomness,
) -> Result<([u8; ENC], Vec<u8>), Broken> {
    let bundle = PskBundle::new(&*binding.psk.0, binding.psk_id).map_err(|_| Broken)?;
    let sender = Sender::setup(&OpModeS::Psk(bundle), recipient, binding.info, random)?;
    let enc = sender.enc;
    let mut context = sender.context;
    let sealed = context.seal(plaintext, binding.aad).map_err(|_| Broken)?;
    Ok((enc, sealed))
}

/// Opens a reply sealed in PSK mode.
pub fn open_psk(
    keys: &KeyPair,
    enc: &[u8; ENC],
    binding: &ReplyBinding<'_>,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Broken> {
    let bundle = PskBundle::new(&*binding.psk.0, binding.psk_id).map_err(|_| Broken)?;
    let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(enc).map_err(|_| Broken)?;
    let mut context = hpke::setup_receiver::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Psk(bundle),
        &keys.private,
        &enc,
        binding.info,
    )
    .map_err(|_| Broken)?;
    context.open(sealed, binding.aad).map(Zeroizing::new).map_err(|_| Broken)
}
