//! Framed connections (RFC 3261 §18.3, RFC 5626 §3.5.1).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::path::{FlowId, Source, Transport};
use crate::message::Limits;
use crate::message::framing::{Frame, StreamFramer};

/// The connections the shell has told us of, and those it is to close.
#[derive(Debug)]
pub(crate) struct Streams {
    limit: usize,
    message_limits: Limits,
    open: BTreeMap<FlowId, Stream>,
    /// The latest connection to each peer, for requests of ours.
    by_peer: BTreeMap<(Transport, SocketAddr), FlowId>,
    closing: VecDeque<FlowId>,
}

#[derive(Debug)]
struct Stream {
    framer: StreamFramer,
    source: Source,
}

/// The framing is lost, or the flow unknown.
#[derive(Debug)]
pub(crate) struct Broken;

impl Streams {
    pub(crate) fn new(limit: usize, message_limits: Limits) -> Self {
        Self { limit, message_limits, open: BTreeMap::new(), by_peer: BTreeMap::new(), closing: VecDeque::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Between which sockets a connection is.
    pub(crate) fn source(&self, flow: FlowId) -> Option<Source> {
        self.open.get(&flow).map(|stream| stream.source)
    }

    pub(crate) fn is_open(&self, flow: FlowId) -> bool {
        self.open.contains_key(&flow)
    }

    /// An open connection to `peer`.
    pub(crate) fn flow_to(&self, transport: Transport, peer: SocketAddr) -> Option<FlowId> {
        self.by_peer.get(&(transport, peer)).copied()
    }

    pub(crate) fn insert(&mut self, flow: FlowId, transport: Transport, local: SocketAddr, peer: SocketAddr) {
        if self.open.len() >= self.limit && !self.open.contains_key(&flow) {
            return self.ask_to_close(flow);
        }
        let source = Source { transport, local, peer, flow: Some(flow) };
        self.by_peer.insert((transport, peer), flow);
        self.open.insert(flow, Stream { framer: StreamFramer::new(self.message_limits), source });
    }

    /// Forgets the connection; gives back who was at its other end.
    pub(crate) fn remove(&mut self, flow: FlowId) -> Option<SocketAddr> {
        self.closing.retain(|closing| *closing != flow);
        let source = self.open.remove(&flow)?.source;
        // Another connection to the same peer may have come after this one.
        if self.by_peer.get(&(source.transport, source.peer)) == Some(&flow) {
            self.by_peer.remove(&(source.transport, source.peer));
        }
        Some(source.peer)
    }

    /// Takes bytes and gives back the frames they complete, with the path they came by.
    pub(crate) fn push(&mut self, flow: FlowId, bytes: &[u8]) -> (Vec<(Source, Frame)>, Result<(), Broken>) {
        let mut frames = Vec::new();
        let Some(stream) = self.open.get_mut(&flow) else { return (frames, Ok(())) };
        // In pieces that the framer always has room for, so that a burst of small messages is no flood.
        for piece in bytes.chunks(self.message_limits.message_bytes.max(1)) {
            let mut polled = stream.framer.push(piece).map(|()| true);
            while let Ok(true) = polled {
                polled = stream.framer.poll().map(|frame| match frame {
                    Some(frame) => {
                        frames.push((stream.source, frame));
                        true
                    }
                    None => false,
                });
            }
            if polled.is_err() {
                self.remove(flow);
                self.ask_to_close(flow);
                return (frames, Err(Broken));
            }
        }
        (frames, Ok(()))
    }

    pub(crate) fn ask_to_close(&mut self, flow: FlowId) {
        // As many as there can be connections; a shell that ignores this many does not listen at all.
        if self.closing.len() < self.limit.max(1) && !self.closing.contains(&flow) {
            self.closing.push_back(flow);
        }
    }

    pub(crate) fn poll_close(&mut self) -> Option<FlowId> {
        self.closing.pop_front()
    }
}
