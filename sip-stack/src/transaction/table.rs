//! All transactions of an endpoint, found by key, woken by deadline, bounded in number.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::key::{ClientKey, ServerKey};
use super::{
    Client, Deadlines, InviteClient, InviteServer, RespondError, Server, Timers, Transaction, TransactionEvent,
};
use crate::endpoint::{FlowId, Source, Transmit, Transport};
use crate::message::StatusCode;

/// Names an entry; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TransactionId(u64);

/// The table holds as many as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// What became of a transaction. `U` is what the transaction user keeps with it.
#[derive(Debug)]
pub(crate) enum Outcome<U> {
    /// Timer B, F or H.
    TimedOut(TransactionId),
    /// The connection of a request under way is gone.
    TransportFailed(TransactionId),
    /// It is out of the table.
    Terminated(U),
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Table<U> {
    limit: usize,
    timers: Timers,
    next_id: u64,
    entries: BTreeMap<TransactionId, Entry<U>>,
    servers: BTreeMap<ServerKey, TransactionId>,
    clients: BTreeMap<ClientKey, TransactionId>,
    deadlines: Deadlines<TransactionId>,
    transmits: VecDeque<Transmit>,
    transmit_limit: usize,
    /// Messages that found `transmits` full.
    pub(crate) dropped_transmits: u64,
    ended: VecDeque<(TransactionId, End)>,
}

#[derive(Debug)]
struct Entry<U> {
    machine: Machine,
    key: Key,
    path: Source,
    user: U,
}

#[derive(Debug, Clone, Copy)]
enum End {
    TimedOut,
    TransportFailed,
    Terminated,
}

#[derive(Debug)]
enum Machine {
    InviteServer(InviteServer),
    Server(Server),
    InviteClient(InviteClient),
    Client(Client),
}

#[derive(Debug)]
enum Key {
    Server(ServerKey),
    Client(ClientKey),
}

impl Machine {
    fn as_transaction(&mut self) -> &mut dyn Transaction {
        match self {
            Self::InviteServer(machine) => machine,
            Self::Server(machine) => machine,
            Self::InviteClient(machine) => machine,
            Self::Client(machine) => machine,
        }
    }
}

impl<U> Table<U> {
    pub(crate) fn new(limit: usize, transmit_limit: usize, timers: Timers) -> Self {
        Self {
            limit,
            transmit_limit,
            dropped_transmits: 0,
            timers,
            next_id: 0,
            entries: BTreeMap::new(),
            servers: BTreeMap::new(),
            clients: BTreeMap::new(),
            deadlines: Deadlines::new(),
            transmits: VecDeque::new(),
            ended: VecDeque::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    #[cfg(test)]
    pub(crate) fn limit_to(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(crate) fn has_room(&self) -> bool {
        self.entries.len() < self.limit
    }

    pub(crate) fn server(&self, key: &ServerKey) -> Option<TransactionId> {
        self.servers.get(key).copied()
    }

    pub(crate) fn client(&self, key: &ClientKey) -> Option<TransactionId> {
        self.clients.get(key).copied()
    }

    pub(crate) fn user(&self, id: TransactionId) -> Option<&U> {
        self.entries.get(&id).map(|entry| &entry.user)
    }

    pub(crate) fn user_mut(&mut self, id: TransactionId) -> Option<&mut U> {
        self.entries.get_mut(&id).map(|entry| &mut entry.user)
    }

    /// Where its messages go.
    pub(crate) fn path(&self, id: TransactionId) -> Option<Source> {
        self.entries.get(&id).map(|entry| entry.path)
    }

    /// For a request that has just come; responses go to `path`.
    pub(crate) fn open_server(
        &mut self,
        key: ServerKey,
        is_invite: bool,
        path: Source,
        user: U,
    ) -> Result<TransactionId, Full> {
        let reliable = path.transport.is_reliable();
        let machine = match is_invite {
            true => Machine::InviteServer(InviteServer::new(reliable, self.timers)),
            false => Machine::Server(Server::new(reliable, self.timers)),
        };
        let id = self.insert(Entry { machine, key: Key::Server(key.clone()), path, user })?;
        self.servers.insert(key, id);
        Ok(id)
    }

    /// Sends a request on `path`.
    pub(crate) fn open_client(
        &mut self,
        key: ClientKey,
        is_invite: bool,
        request: Vec<u8>,
        path: Source,
        user: U,
        now: Instant,
    ) -> Result<TransactionId, Full> {
        let reliable = path.transport.is_reliable();
        let machine = match is_invite {
            true => Machine::InviteClient(InviteClient::new(request, reliable, self.timers, now)),
            false => Machine::Client(Client::new(request, reliable, self.timers, now)),
        };
        let id = self.insert(Entry { machine, key: Key::Client(key.clone()), path, user })?;
        self.clients.insert(key, id);
        self.settle(id);
        Ok(id)
    }

    fn insert(&mut self, entry: Entry<U>) -> Result<TransactionId, Full> {
        if !self.has_room() {
            return Err(Full);
        }
        let id = TransactionId(self.next_id);
        self.next_id += 1;
        self.entries.insert(id, entry);
        Ok(id)
    }

    /// Sends a response. `Err` also if the transaction is gone.
    pub(crate) fn respond(
        &mut self,
        id: TransactionId,
        status: StatusCode,
        bytes: Vec<u8>,
        now: Instant,
    ) -> Result<(), RespondError> {
        let machine = self.entries.get_mut(&id).map(|entry| &mut entry.machine);
        let result = match machine {
            Some(Machine::InviteServer(machine)) => machine.respond(status, bytes, now),
            Some(Machine::Server(machine)) => machine.respond(status, bytes, now),
            Some(Machine::InviteClient(_) | Machine::Client(_)) | None => Err(RespondError::FinalAlreadySent),
        };
        self.settle(id);
        result
    }

    /// The request came again.
    pub(crate) fn handle_repeat(&mut self, id: TransactionId) {
        match self.entries.get_mut(&id).map(|entry| &mut entry.machine) {
            Some(Machine::InviteServer(machine)) => machine.handle_invite_repeat(),
            Some(Machine::Server(machine)) => machine.handle_repeat(),
            Some(Machine::InviteClient(_) | Machine::Client(_)) | None => {}
        }
        self.settle(id);
    }

    /// An ACK with the key of this INVITE came.
    pub(crate) fn handle_ack(&mut self, id: TransactionId, now: Instant) {
        if let Some(Machine::InviteServer(machine)) = self.entries.get_mut(&id).map(|entry| &mut entry.machine) {
            machine.handle_ack(now);
        }
        self.settle(id);
    }

    /// A response with the key of this request came. Gives back whether the transaction user is to see it.
    pub(crate) fn handle_response(
        &mut self,
        id: TransactionId,
        status: StatusCode,
        ack: impl FnOnce(&U) -> Vec<u8>,
        now: Instant,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        let user = &entry.user;
        let is_news = match &mut entry.machine {
            Machine::InviteClient(machine) => machine.handle_response(status, || ack(user), now),
            Machine::Client(machine) => machine.handle_response(status, now),
            Machine::InviteServer(_) | Machine::Server(_) => false,
        };
        self.settle(id);
        is_news
    }

    /// Sends an INVITE no more, but listens on.
    pub(crate) fn stop_repeating(&mut self, id: TransactionId) {
        if let Some(Machine::InviteClient(machine)) = self.entries.get_mut(&id).map(|entry| &mut entry.machine) {
            machine.stop_repeating();
        }
        self.settle(id);
    }

    /// Ends a request of ours without a response.
    pub(crate) fn give_up(&mut self, id: TransactionId) {
        match self.entries.get_mut(&id).map(|entry| &mut entry.machine) {
            Some(Machine::InviteClient(machine)) => machine.give_up(),
            Some(Machine::Client(machine)) => machine.give_up(),
            Some(Machine::InviteServer(_) | Machine::Server(_)) | None => {}
        }
        self.settle(id);
    }

    /// A connection is gone: requests under way on it have failed.
    pub(crate) fn fail_flow(&mut self, flow: FlowId, peer: std::net::SocketAddr) {
        self.fail(|path| match path.flow {
            Some(used) => used == flow,
            None => path.transport.is_reliable() && path.peer == peer,
        });
    }

    /// Nothing can be sent to `peer`: requests under way to it have failed.
    pub(crate) fn fail_peer(&mut self, transport: Transport, peer: std::net::SocketAddr) {
        self.fail(|path| path.transport == transport && path.peer == peer);
    }

    fn fail(&mut self, is_hit: impl Fn(&Source) -> bool) {
        let is_pending = |machine: &Machine| match machine {
            Machine::InviteClient(machine) => machine.is_pending(),
            Machine::Client(machine) => machine.is_pending(),
            Machine::InviteServer(_) | Machine::Server(_) => false,
        };
        let hit = |(id, entry): (&TransactionId, &Entry<U>)| {
            (is_hit(&entry.path) && is_pending(&entry.machine)).then_some(*id)
        };
        for id in self.entries.iter().filter_map(hit).collect::<Vec<_>>() {
            self.ended.push_back((id, End::TransportFailed));
        }
    }

    /// Works off every timer that is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(id) = self.deadlines.due(now) {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.machine.as_transaction().handle_timeout(now);
            }
            self.settle(id);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.deadlines.next()
    }

    /// Sends what belongs to no transaction, in its turn.
    pub(crate) fn send(&mut self, transmit: Transmit) {
        if self.transmits.len() < self.transmit_limit {
            self.transmits.push_back(transmit);
        } else {
            self.dropped_transmits += 1;
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub(crate) fn poll_outcome(&mut self) -> Option<Outcome<U>> {
        let (id, end) = self.ended.pop_front()?;
        match end {
            End::TimedOut => Some(Outcome::TimedOut(id)),
            End::TransportFailed => Some(Outcome::TransportFailed(id)),
            End::Terminated => self.entries.remove(&id).map(|entry| Outcome::Terminated(entry.user)),
        }
    }

    /// Takes out what a machine has to send and tell, and notes when it wants to be woken.
    fn settle(&mut self, id: TransactionId) {
        let Some(entry) = self.entries.get_mut(&id) else {
            self.deadlines.set(id, None);
            return;
        };
        let machine = entry.machine.as_transaction();
        while let Some(bytes) = machine.poll_transmit() {
            if self.transmits.len() < self.transmit_limit {
                self.transmits.push_back(Transmit::back(entry.path, bytes));
            } else {
                self.dropped_transmits += 1;
            }
        }
        let mut is_terminated = false;
        while let Some(event) = machine.poll_event() {
            match event {
                TransactionEvent::TimedOut => self.ended.push_back((id, End::TimedOut)),
                TransactionEvent::Terminated => is_terminated = true,
            }
        }
        self.deadlines.set(id, machine.poll_timeout());
        if is_terminated {
            self.close(id);
        }
    }

    /// It is found no more; its entry stays until the transaction user has been told.
    fn close(&mut self, id: TransactionId) {
        self.deadlines.set(id, None);
        match self.entries.get(&id).map(|entry| &entry.key) {
            Some(Key::Server(key)) => self.servers.remove(key),
            Some(Key::Client(key)) => self.clients.remove(key),
            None => None,
        };
        self.ended.push_back((id, End::Terminated));
    }
}
