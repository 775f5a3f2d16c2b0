//! Both key services and what stands before them, shared with server threads.

use postern_core::time::UnixMillis;
use postern_keys::operator_auth::{Fields, Request};
use postern_keys::{HttpAnswer, Service};
use tokio::runtime::Runtime;

use super::introspection::{Introspection, Question};
use super::issuer::Issuer;
use super::policies::Policies;
use super::staged::Stage;
use crate::faults::{Exchange, Outcome, Service as Which, Stand};

/// The genuine key service, an impostor with keys of its own, and the fault of the
/// moment.
pub struct Backend {
    pub(super) runtime: Runtime,
    pub(super) genuine: Service,
    pub(super) impostor: Service,
    /// What the genuine service's evidence shows.
    pub(super) stage: Stage,
    /// The fault of the moment.
    pub stand: Stand,
    /// The issuer of access tokens.
    pub issuer: Issuer,
    /// Its introspection endpoint.
    pub introspection: Introspection,
    /// A server of policy bundles.
    pub policies: Policies,
}

impl Backend {
    /// One exchange with whoever answers now.
    pub fn exchange(&self, path: &str, body: &[u8], now: UnixMillis) -> Outcome {
        self.answer(&Question { path, body, authorization: None, unless: None }, now)
    }

    /// The same, of somebody who shows who he is.
    pub fn answer(&self, question: &Question<'_>, now: UnixMillis) -> Outcome {
        let Question { path, body, .. } = *question;
        if let Some(answer) = self.introspection.exchange(question, now) {
            return answer;
        }
        if let Some(answer) = self.issuer.exchange(path) {
            return answer;
        }
        if let Some(answer) = self.policies.exchange(path, question.unless) {
            return answer;
        }
        let exchange = Exchange::of(path, body);
        let flaw = self.stand.flaw();
        self.stage.set(|shows| shows.flaw = flaw);
        self.stand.decide(exchange, |which| {
            let service = match which {
                Which::Genuine => &self.genuine,
                Which::Impostor => &self.impostor,
            };
            let answer = self.runtime.block_on(async {
                match exchange {
                    Exchange::Evidence => service.evidence(None, now).await,
                    Exchange::Revocations => service.revocations(since(path), now).await,
                    _ => service.message(body, now).await,
                }
            });
            (answer.status, answer.body)
        })
    }

    /// An operator's request to the genuine service.
    pub(super) fn operate(
        &self,
        request: &Request<'_>,
        fields: &Fields,
        now: UnixMillis,
    ) -> HttpAnswer {
        self.runtime.block_on(self.genuine.operator_request(request, Some(fields), now))
    }
}

fn since(path: &str) -> Option<u64> {
    path.split_once("?since=").and_then(|(_, since)| since.parse().ok())
}
