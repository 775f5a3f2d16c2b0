//! What leaves a stream: to the upstream, to the caller.
//!
//! Invariant: content that does not fit what was said of it ends both connections, since
//! whoever read on would misread.

use std::time::{Instant, SystemTime};

use super::Stream;
use crate::http1::Unsendable;
use crate::proxy::chain::Output;
use crate::proxy::failure::{Failure, Flags};
use crate::proxy::fields::{self, Leaving, ResponseHead};
use crate::serve::facts;
use crate::serve::forward::Forward;
use crate::view::{Direction, LocalReply, Pairs};

impl Stream<'_> {
    /// Writes what has left the chain.
    pub(super) fn write(&mut self) {
        self.chain.park();
        while let Some(output) = self.chain.poll() {
            if self.replaced {
                continue;
            }
            if self.write_one(output).is_err() {
                // Framing and content disagree: whoever reads on would misread.
                self.keep = false;
                self.cut = true;
                return;
            }
        }
    }

    fn write_one(&mut self, output: Output) -> Result<(), Unsendable> {
        if output.ends_request() || matches!(output, Output::Headers(Direction::Response, ..)) {
            self.timers.request_left();
        }
        match output {
            Output::Headers(Direction::Request, pairs, end) => self.forward(&pairs, end),
            Output::Body(Direction::Request, bytes, end) => match &mut self.forward {
                Some(forward) => forward.content(&bytes, end),
                None => Ok(()),
            },
            Output::Trailers(Direction::Request, pairs) => match &mut self.forward {
                Some(forward) => forward.trailers(&fields::trailers_leave(&pairs)),
                None => Ok(()),
            },
            Output::Headers(Direction::Response, pairs, end) => self.answer(&pairs, end),
            Output::Body(Direction::Response, bytes, end) => {
                let written = self.caller.content(&bytes, end);
                self.exchange.borrow_mut().sent = self.caller.sent;
                written
            }
            Output::Trailers(Direction::Response, pairs) => {
                self.caller.trailers(&fields::trailers_leave(&pairs))
            }
            Output::CancelUpstream => {
                self.timers.route(None);
                self.forward = None;
                Ok(())
            }
            Output::Reset => {
                self.keep = false;
                self.cut = true;
                Ok(())
            }
        }
    }

    fn forward(&mut self, pairs: &Pairs, end: bool) -> Result<(), Unsendable> {
        let cluster = self.filters.target.as_ref().map(|target| target.cluster.as_str());
        let Some(cluster) = cluster.and_then(|name| self.desk.clusters.get(name)) else {
            self.chain.fail(&mut self.filters, Failure::Connect.reply());
            return Ok(());
        };
        let admitted = match cluster.admit() {
            Ok(admitted) => admitted,
            Err(failure) => {
                self.fail(failure);
                return Ok(());
            }
        };
        let head = match self.upgrade {
            true => fields::upgrade_leaves(pairs),
            false => fields::request_leaves(pairs, end),
        };
        let head = match head {
            Ok(head) => head,
            // A filter has written what no request can hold.
            Err(unfit) => {
                self.flags = self.flags | Flags::DPE;
                self.chain.fail(&mut self.filters, unfit.reply(Direction::Request));
                return Ok(());
            }
        };
        if self.upgrade && admitted.cluster().config.http2.is_some() {
            self.fail(Failure::Protocol);
            return Ok(());
        }
        let hosts = &admitted.cluster().config.hosts;
        facts::at_upstream(&mut self.exchange.borrow_mut(), hosts);
        self.forward = Some(Forward::start(admitted, &head, end)?);
        self.upstream_began = Some(Instant::now());
        self.time_upstream();
        Ok(())
    }

    fn answer(&mut self, pairs: &Pairs, end: bool) -> Result<(), Unsendable> {
        if self.caller.is_told(pairs, end) {
            return Ok(());
        }
        self.keep &= self.caller.has_all() && !self.desk.is_draining();
        let date = httpdate::fmt_http_date(SystemTime::now());
        let leaving = Leaving {
            date: &date,
            close: !self.keep,
            end,
            head: self.caller.to_head,
            http2: self.caller.speaks_http2(),
            upgrade: self.upgrade,
        };
        match fields::response_leaves(pairs, &leaving) {
            Ok(head) => {
                self.show_loggers(&head);
                self.caller.head(&head, end)
            }
            Err(unfit) => self.replace(&unfit.reply(Direction::Response), &leaving),
        }
    }

    /// Loggers see the fields as they left, without what framed them.
    fn show_loggers(&self, head: &ResponseHead) {
        let status = (b":status".to_vec(), head.status.to_string().into_bytes());
        let framing = |name: &[u8]| name == b"transfer-encoding" || name == b"connection";
        let fields = head.fields.iter().filter(|(name, _)| !framing(name)).cloned();
        let pairs = std::iter::once(status).chain(fields).collect();
        self.exchange.borrow_mut().set_headers(Direction::Response, pairs);
    }

    /// Answers past the filters, which have left what cannot be sent.
    fn replace(&mut self, reply: &LocalReply, leaving: &Leaving<'_>) -> Result<(), Unsendable> {
        let line = |name: &str, value: String| (name.as_bytes().to_vec(), value.into_bytes());
        let pairs = vec![
            line(":status", reply.status.to_string()),
            line("content-length", reply.body.len().to_string()),
            line("content-type", "text/plain".to_owned()),
        ];
        self.replaced = true;
        let mut exchange = self.exchange.borrow_mut();
        exchange.details = reply.details.clone();
        exchange.set_headers(Direction::Response, pairs.clone());
        drop(exchange);
        self.chain.abandon();
        let end = reply.body.is_empty() || leaving.head;
        let leaving = Leaving { end, ..*leaving };
        let Ok(head) = fields::response_leaves(&pairs, &leaving) else { return Ok(()) };
        self.caller.head(&head, end)?;
        if end { Ok(()) } else { self.caller.content(&reply.body, true) }
    }
}
