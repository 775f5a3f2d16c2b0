//! Copies of one message, all at once: of each message one is answered, on either store and
//! on whichever replica it comes to.
//!
//! A million of them: `cargo xtask soak --only copies`.
#![allow(clippy::unwrap_used)]

mod support;

use postern_crp::exchange::Awaiting;
use postern_crp::message::{Answer, Message, Status};
use postern_keys::Service;
use support::*;

const MESSAGES: usize = 50;
const COPIES: usize = 200;

/// How many of these copies were answered with the value; all the others have to be refused.
async fn accepted(services: &[Service], body: &[u8], awaiting: &Awaiting) -> usize {
    let mut copies = tokio::task::JoinSet::new();
    for service in services.iter().cycle().take(COPIES) {
        let (service, body) = (service.clone(), body.to_vec());
        copies.spawn(async move {
            // One that is told *not now* comes again.
            loop {
                let reply = service.message(&body, NOW).await;
                if reply.status == 200 {
                    return reply.body;
                }
                assert_eq!(reply.status, 503);
            }
        });
    }
    let mut accepted = 0;
    while let Some(reply) = copies.join_next().await {
        match awaiting.open(&reply.unwrap()).unwrap() {
            Answer::Release(answer) if answer.status == Status::Ok => accepted += 1,
            answer => assert_eq!(status(&answer), Status::Denied),
        }
    }
    accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_copies_sent_at_once_none_is_accepted_beside_its_message() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    let mut services = vec![world.service.clone()];
    if world.on_postgres() {
        services.push(world.replica("other").await);
    }
    for number in 0..MESSAGES {
        let message = Message::Release(releasing("acme"));
        let (body, awaiting) = world.sealed(&acme.credential, &message, NOW).await;
        assert_eq!(accepted(&services, &body, &awaiting).await, 1, "message {number}");
    }
    let report = world.service.integrity().await.unwrap();
    assert_eq!(report.broken, None);
    // One event for each message that was served, and one for the first copy of it.
    let export = world.export(&acme, NOW).await;
    let events = logged(&export);
    let count = |kind: &str| events.matches(&format!("\"kind\":\"{kind}\"")).count();
    assert_eq!(count("credential_release"), MESSAGES);
    assert_eq!(count("message_replayed"), MESSAGES);
}
