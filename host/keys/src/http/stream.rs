//! An export as the content of an answer, sent as it is read.
//!
//! Invariant: only a few pages are in memory, however slow the client is, and content that
//! was not sent to its last line never looks whole: the connection breaks off instead.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use futures_core::Stream;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, timeout_at};

use crate::audit::export::Export;
use crate::service::Service;

/// Pages that wait to be sent.
const WAITING: usize = 2;

/// The content; it is read until `end` at the latest, and `held` is dropped after that.
pub(super) fn content<H: Send + 'static>(
    service: Service,
    export: Export,
    end: Instant,
    held: H,
) -> Body {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        if timeout_at(end, pump(service, export, sender)).await.is_err() {
            tracing::warn!("export broken off: it took longer than limits.audit_seconds");
        }
        drop(held);
    });
    Body::from_stream(Pages(receiver))
}

/// Sends page after page and `None` behind the last, unless something fails.
async fn pump(service: Service, mut export: Export, pages: Sender<Option<Vec<u8>>>) {
    loop {
        match service.export_page(&mut export).await {
            Ok(page) => {
                let last = page.is_none();
                // A client that went away wants no more.
                if pages.send(page).await.is_err() || last {
                    return;
                }
            }
            Err(fault) => return tracing::error!(%fault, "export broken off"),
        }
    }
}

struct Pages(Receiver<Option<Vec<u8>>>);

impl Stream for Pages {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|page| match page {
            Some(page) => page.map(Ok),
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn whole(pages: Vec<Option<Vec<u8>>>) -> Option<Vec<u8>> {
        let (sender, receiver) = mpsc::channel(pages.len());
        for page in pages {
            sender.send(page).await.unwrap();
        }
        drop(sender);
        let body = Body::from_stream(Pages(receiver));
        axum::body::to_bytes(body, 100).await.ok().map(|bytes| bytes.to_vec())
    }

    #[tokio::test]
    async fn content_without_its_last_line_is_an_error() {
        let (one, two) = (Some(b"one".to_vec()), Some(b"two".to_vec()));
        assert_eq!(whole(vec![one.clone(), two.clone(), None]).await.unwrap(), b"onetwo");
        assert_eq!(whole(vec![one, two]).await, None);
    }
}
