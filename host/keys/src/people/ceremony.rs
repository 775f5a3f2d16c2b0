//! WebAuthn ceremonies: what an authenticator answered, verified for one challenge.
//!
//! Owns what `webauthn_rp` is asked. The library draws challenges itself; ours are derived
//! (one is bound to a request), so its state is made when the answer is here and gets the
//! challenge that was given out, in the place where its encoding has one. Whether that is
//! still good is for the caller to say, by the service's clock.
//!
//! Invariant: user verification is required in every ceremony, the origin and the relying
//! party are the configured ones, and a counter that does not grow refuses.

use webauthn_rp::bin::{Decode, Encode};
use webauthn_rp::request::auth::{AuthenticationVerificationOptions, SignatureCounterEnforcement};
use webauthn_rp::request::register::{
    CredProtect, PublicKeyCredentialUserEntity, RegistrationVerificationOptions, UserHandle16,
};
use webauthn_rp::request::{AsciiDomain, RpId};
use webauthn_rp::response::auth::DiscoverableAuthenticatorAssertion;
use webauthn_rp::response::auth::error::AuthCeremonyErr;
use webauthn_rp::response::register::{
    AuthenticationExtensionsPrfOutputs, AuthenticatorAttestation, ClientExtensionsOutputs,
    DynamicState, Registration, StaticState,
};
use webauthn_rp::response::{AuthTransports, AuthenticatorAttachment, CredentialId};
use webauthn_rp::{
    AuthenticatedCredential, DiscoverableAuthentication16, DiscoverableAuthenticationServerState,
    DiscoverableCredentialRequestOptions, PublicKeyCredentialCreationOptions,
    RegistrationServerState,
};

use crate::store::passkeys::Passkey;
use crate::store::people::Handle;

/// What an authenticator signs over, beside what it knows of the site.
pub type Challenge = [u8; 16];

/// The site that passkeys are for.
#[derive(Debug)]
pub struct RelyingParty {
    id: RpId,
    origin: String,
}

/// An answer to a registration.
pub struct Attestation {
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `attestationObject`.
    pub object: Vec<u8>,
}

/// An answer to a sign-in or a step-up.
pub struct Assertion {
    /// Credential id.
    pub credential: Vec<u8>,
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `authenticatorData`.
    pub authenticator_data: Vec<u8>,
    /// `signature`.
    pub signature: Vec<u8>,
    /// `userHandle`, where the authenticator gave one.
    pub handle: Option<Handle>,
}

/// A new passkey's key and counter.
#[derive(Debug, PartialEq, Eq)]
pub struct Registered {
    /// Credential id.
    pub credential: Vec<u8>,
    /// Public key and what else stays.
    pub fixed: Vec<u8>,
    /// Counter and flags.
    pub state: [u8; 7],
}

/// Why an answer is refused. For the log; a browser learns only that it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its counter did not grow: there may be a copy.
    #[error("the signature counter did not grow")]
    Copied,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Refused {
    fn because(why: impl std::fmt::Display) -> Self {
        Self::Other(why.to_string())
    }
}

impl RelyingParty {
    /// The site at `origin`, whose host is `host`; `None` where a browser would not take it.
    pub fn new(origin: &str, host: &str) -> Option<Self> {
        let domain = AsciiDomain::try_from(host.to_owned()).ok()?;
        Some(Self { id: RpId::Domain(domain), origin: origin.to_owned() })
    }

    /// What browsers know the site by.
    pub fn id(&self) -> &str {
        self.id.as_ref()
    }

    /// Verifies a registration.
    ///
    /// # Errors
    /// When the answer is not to this challenge, from this site, by a verified user.
    pub fn register(
        &self,
        challenge: &Challenge,
        handle: &Handle,
        answer: Attestation,
    ) -> Result<Registered, Refused> {
        let handle = UserHandle16::decode(*handle).map_err(Refused::because)?;
        let state = self.registration_state(challenge, &handle)?;
        let response =
            AuthenticatorAttestation::new(answer.client_data, answer.object, AuthTransports::NONE);
        let prf: Option<AuthenticationExtensionsPrfOutputs> = None;
        let extensions = ClientExtensionsOutputs { cred_props: None, prf };
        let answer = Registration::new(response, AuthenticatorAttachment::None, extensions);
        let options = RegistrationVerificationOptions::<'_, '_, &str, &str> {
            allowed_origins: &[self.origin.as_str()],
            error_on_unsolicited_extensions: false,
            ..RegistrationVerificationOptions::default()
        };
        let made = state.verify(&self.id, &answer, &options).map_err(Refused::because)?;
        Ok(Registered {
            credential: made.id().into_inner().to_vec(),
            fixed: made.static_state().encode().map_err(Refused::because)?,
            state: made.dynamic_state().encode().map_err(Refused::because)?,
        })
    }

    fn registration_state(
        &self,
        challenge: &Challenge,
        handle: &UserHandle16,
    ) -> Result<RegistrationServerState<16>, Refused> {
        // Names are shown by the browser, which has them from the page.
        let name = "person".try_into().map_err(Refused::because)?;
        let user = PublicKeyCredentialUserEntity { name, id: handle, display_name: None };
        let mut options = PublicKeyCredentialCreationOptions::passkey(&self.id, user, Vec::new());
        options.extensions.cred_protect = CredProtect::None;
        let (state, _) = options.start_ceremony().map_err(Refused::because)?;
        let encoded = state.encode().map_err(Refused::because)?;
        let encoded = with_challenge(encoded, 1, challenge)?;
        RegistrationServerState::decode(&encoded).map_err(Refused::because)
    }

    /// Verifies an assertion by `passkey`, and gives its counter and flags as they are now.
    ///
    /// # Errors
    /// When the answer is not to this challenge, from this site, by a verified user with this
    /// passkey, or its counter did not grow.
    pub fn verify(
        &self,
        challenge: &Challenge,
        passkey: &Passkey,
        answer: Assertion,
    ) -> Result<[u8; 7], Refused> {
        let handle = UserHandle16::decode(passkey.handle).map_err(Refused::because)?;
        let given = answer.handle.unwrap_or(passkey.handle);
        let given = UserHandle16::decode(given).map_err(Refused::because)?;
        let mut credential = AuthenticatedCredential::new(
            CredentialId::<&[u8]>::decode(&passkey.credential).map_err(Refused::because)?,
            &handle,
            StaticState::decode(passkey.fixed.as_slice()).map_err(Refused::because)?,
            DynamicState::decode(passkey.state).map_err(Refused::because)?,
        )
        .map_err(Refused::because)?;
        let response = DiscoverableAuthenticatorAssertion::new(
            answer.client_data,
            answer.authenticator_data,
            answer.signature,
            given,
        );
        let id = CredentialId::<Vec<u8>>::decode(answer.credential).map_err(Refused::because)?;
        let answer = DiscoverableAuthentication16::new(id, response, AuthenticatorAttachment::None);
        let options = AuthenticationVerificationOptions::<'_, '_, &str, &str> {
            allowed_origins: &[self.origin.as_str()],
            error_on_unsolicited_extensions: false,
            sig_counter_enforcement: SignatureCounterEnforcement::Fail,
            ..AuthenticationVerificationOptions::default()
        };
        let state = self.assertion_state(challenge)?;
        match state.verify(&self.id, &answer, &mut credential, &options) {
            Ok(_) => {}
            Err(AuthCeremonyErr::SignatureCounter) => return Err(Refused::Copied),
            Err(why) => return Err(Refused::because(why)),
        }
        credential.dynamic_state().encode().map_err(Refused::because)
    }

    fn assertion_state(
        &self,
        challenge: &Challenge,
    ) -> Result<DiscoverableAuthenticationServerState, Refused> {
        let options = DiscoverableCredentialRequestOptions::passkey(&self.id);
        let (state, _) = options.start_ceremony().map_err(Refused::because)?;
        let encoded = with_challenge(state.encode().map_err(Refused::because)?, 0, challenge)?;
        DiscoverableAuthenticationServerState::decode(&encoded).map_err(Refused::because)
    }
}

/// The library's state with our challenge, which begins at `from`.
fn with_challenge(
    mut encoded: Vec<u8>,
    from: usize,
    challenge: &Challenge,
) -> Result<Vec<u8>, Refused> {
    let place = encoded.get_mut(from..from.saturating_add(challenge.len()));
    place.ok_or_else(|| Refused::because("state is too short"))?.copy_from_slice(challenge);
    Ok(encoded)
}
