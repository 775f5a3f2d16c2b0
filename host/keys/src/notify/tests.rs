//! Channels against local servers of the documented shape.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use hmac::{Hmac, KeyInit, Mac};
use postern_core::hex;
use serde_json::Value;
use sha2::Sha256;

use crate::config::{Channel, Medium};
use crate::pages::tests::deciding::requested;
use crate::pages::tests::world::{NOW, World, later};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// What a server was asked: the head, and the content.
type Asked = (String, String);

/// A server that gives each caller the next of these answers, and the last ever after.
fn server(answers: &'static [(u16, &'static str)]) -> (String, Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut bytes = Vec::new();
            let mut buffer = [0; 4096];
            let asked = loop {
                let read = stream.read(&mut buffer).unwrap();
                bytes.extend_from_slice(&buffer[..read]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let Some((head, content)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.to_lowercase();
                let length = length.split("content-length: ").nth(1).unwrap();
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                if content.len() >= length {
                    break (head.to_owned(), content.to_owned());
                }
            };
            let (status, body) = answers[n.min(answers.len() - 1)];
            let answer = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            // Before the answer, so that it is known to whoever has that.
            if sender.send(asked).is_err() {
                return;
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, receiver)
}

async fn world(medium: Medium, secret: &'static str) -> World {
    World::with(move |config, folder| {
        let file = folder.join("secret");
        postern_files::write_private(&file, secret.as_bytes()).unwrap();
        config.notify =
            vec![Channel { name: "ops".into(), tenant: "acme".into(), secret: file, medium }];
    })
    .await
}

/// Asks for an approval and has people told; gives the approval and what the server got.
async fn told(world: &World, receiver: &Receiver<Asked>) -> (String, Asked) {
    let ask = requested("/api/secret-path", b"a preview");
    let id = world.wanted("acme", ("ben", false, 1), &ask).await;
    world.wanted("globex", ("ben", false, 1), &ask).await;
    world.service.notify(NOW).await.unwrap();
    let asked = receiver.try_recv().unwrap();
    // Once, and nothing of another tenant.
    world.service.notify(later(60_000)).await.unwrap();
    assert!(receiver.try_recv().is_err());
    for part in ["secret-path", "a preview", "ben", "helper", "slack.com"] {
        assert!(!asked.1.contains(part), "{part} in {}", asked.1);
    }
    let id = hex::lower(&id);
    assert!(asked.1.contains(&format!("https://approve.example/.postern/approvals/{id}")));
    (id, asked)
}

#[tokio::test]
async fn a_webhook_is_signed_by_the_standard() {
    let (url, receiver) = server(&[(204, "")]);
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let world = world(Medium::Webhook { url: format!("{url}/hook") }, secret).await;
    let (id, (head, content)) = told(&world, &receiver).await;
    let field = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(name)).unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    };
    assert!(head.starts_with("POST /hook HTTP/1.1"), "{head}");
    assert_eq!((field("webhook-id"), field("webhook-timestamp")), (id, NOW.seconds().to_string()));
    let key = BASE64_STANDARD.decode(&secret[6..]).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(
        format!("{}.{}.{content}", field("webhook-id"), field("webhook-timestamp")).as_bytes(),
    );
    let want = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(field("webhook-signature"), want);
}

#[tokio::test]
async fn chats_are_called_as_their_documentation_says() {
    let (url, receiver) = server(&[(200, "{\"ok\":true,\"result\":{}}")]);
    let medium = Medium::Telegram { api: url, chat: "-100".into() };
    let telegram = world(medium, "1:token\n").await;
    let (_, (head, content)) = told(&telegram, &receiver).await;
    assert!(head.starts_with("POST /bot1:token/sendMessage HTTP/1.1"), "{head}");
    let content: Value = serde_json::from_str(&content).unwrap();
    assert_eq!(
        (&content["chat_id"], &content["link_preview_options"]["is_disabled"]),
        (&"-100".into(), &true.into())
    );

    let (url, receiver) = server(&[(200, "ok")]);
    let slack = world(Medium::Slack { api: url }, "/services/T0/B0/x").await;
    let (_, (head, content)) = told(&slack, &receiver).await;
    assert!(head.starts_with("POST /services/T0/B0/x HTTP/1.1"), "{head}");
    let content: Value = serde_json::from_str(&content).unwrap();
    assert_eq!(content["unfurl_links"], false);

    let (url, receiver) = server(&[(200, "{\"event_id\":\"$x\"}")]);
    let medium = Medium::Matrix { homeserver: url, room: "!a:b.example".into() };
    let matrix = world(medium, "token").await;
    let (id, (head, content)) = told(&matrix, &receiver).await;
    let path =
        format!("PUT /_matrix/client/v3/rooms/%21a%3Ab.example/send/m.room.message/{id} HTTP/1.1");
    assert!(head.starts_with(&path), "{head}");
    assert!(head.to_lowercase().contains("authorization: bearer token"));
    assert_eq!(serde_json::from_str::<Value>(&content).unwrap()["msgtype"], "m.text");
}

#[tokio::test]
async fn what_is_not_taken_is_tried_five_times_and_then_told() {
    // A redirect is no answer, and nobody goes there.
    let (url, receiver) = server(&[(302, ""), (500, ""), (200, "{\"ok\":false}")]);
    let medium = Medium::Telegram { api: url, chat: "1".into() };
    let world = world(medium, "token").await;
    world.wanted("acme", ("ben", false, 1), &requested("/a", b"")).await;
    let mut tries = Vec::new();
    for second in 0..600 {
        world.service.notify(later(second * 1000)).await.unwrap();
        tries.extend(receiver.try_recv().map(|_| second));
    }
    // It ended after ten minutes, before the fifth.
    assert_eq!(tries, [0, 5, 35, 155]);
    world.service.notify(later(900_000)).await.unwrap();
    assert!(receiver.try_recv().is_err());
}

#[tokio::test]
async fn the_fifth_attempt_is_the_last_and_is_on_record() {
    let (url, receiver) = server(&[(500, "")]);
    let world = world(Medium::Slack { api: url }, "/services/T0/B0/x").await;
    world.wanted_for("acme", ("ben", false, 1), &requested("/a", b""), 24 * 3600).await;
    let mut tries = Vec::new();
    for second in 0..3000 {
        world.service.notify(later(second * 1000)).await.unwrap();
        tries.extend(receiver.try_recv().map(|_| second));
    }
    assert_eq!(tries, [0, 5, 35, 155, 755]);
    assert_eq!(world.events("notification_failed").await, 1);
}

#[tokio::test]
async fn what_was_decided_is_not_told() {
    let (url, receiver) = server(&[(500, "")]);
    let world = world(Medium::Slack { api: url }, "x").await;
    let id = world.wanted("acme", ("ben", false, 1), &requested("/a", b"")).await;
    world.service.notify(NOW).await.unwrap();
    assert!(receiver.try_recv().is_ok());
    let decider = crate::approvals::Decider::pretend("acme", "ana", crate::approvals::How::Person);
    let ruling = crate::approvals::Ruling::of(crate::approvals::Verdict::Deny);
    let said = crate::approvals::decide(&world.service, &id, &decider, &ruling, NOW).await;
    assert!(said.unwrap().is_ok());
    world.service.notify(later(60_000)).await.unwrap();
    assert!(receiver.try_recv().is_err());
}
