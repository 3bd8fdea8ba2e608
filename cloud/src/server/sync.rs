//! One task for each stream of a box: it feeds [`sync::stream`](crate::sync::stream) and does what that says. Wishes,
//! commands and deliveries are read when the box is welcomed and when there is news of it, and each is sent once on a stream.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use cloud_api::v1::goodbye::Reason;
use cloud_api::v1::row_batch::Scope;
use cloud_api::v1::sync_server::Sync;
use cloud_api::v1::{BoxMessage, CloudMessage, box_message, cloud_message};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::bells::Bell;
use super::together::{self, Together, Told, Wished};
use super::{Shared, admit, known};
use crate::clock;
use crate::store::deliveries::Deliveries as _;
use crate::store::{BoxName, Heard, Store as _, StoreError, answer};
use crate::sync::apply::{Applied, Greeted};
use crate::sync::stream::{Action, DELIVERIES_IN_FLIGHT, Event, Request as StoreRequest, Stream};
use crate::twilio::handed;

/// Messages that wait for the network: Acks of all batches that may be on the way, and a few more.
const OUTGOING: usize = 32;
/// Of what is to be said to whoever a delivery came from, in characters: ten parts of a text message.
const ANSWER_MAX: usize = 1_600;
/// How often it is noted that a box is still there.
const NOTE_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Service(Arc<Streams>);

/// What all streams share.
struct Streams {
    shared: Arc<Shared>,
    wishes: Together<BoxName, Wished>,
    reports: Together<Told, Result<(), Arc<StoreError>>>,
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>) -> Service {
        let (wishes, reports) = (together::wishes(Arc::clone(&shared)), together::reports(Arc::clone(&shared)));
        Service(Arc::new(Streams { shared, wishes, reports }))
    }
}

#[tonic::async_trait]
impl Sync for Service {
    type ConnectStream = Outgoing;

    async fn connect(&self, request: Request<Streaming<BoxMessage>>) -> Result<Response<Self::ConnectStream>, Status> {
        let shared = &self.0.shared;
        let certified = known(&request).inspect_err(|_| shared.metrics.refused())?;
        let away = admit(shared, &certified).await?;
        let name = certified.name;
        if let Some(away) = away {
            let goodbye = away.goodbye();
            // Also one that is told to come back: the store is all right, and nobody is to be woken.
            shared.metrics.goodbye(Reason::Moved);
            tracing::debug!(of = %name, ?away, "A box whose tenant is not here");
            let message = CloudMessage { body: Some(cloud_message::Body::Goodbye(goodbye)) };
            let (outgoing, messages) = mpsc::channel(1);
            // There is room for one.
            let _ = outgoing.try_send(Box::new(message));
            return Ok(Response::new(Outgoing(messages)));
        }
        let (outgoing, messages) = mpsc::channel(OUTGOING);
        let span = tracing::info_span!("stream", of = %name);
        let driver = Driver::new(Arc::clone(&self.0), name, outgoing);
        tokio::spawn(driver.run(request.into_inner()).instrument(span));
        Ok(Response::new(Outgoing(messages)))
    }
}

/// What is sent to a box. Boxed: the channel holds room for all that may wait, also on a stream that never has anything to say.
pub(super) struct Outgoing(mpsc::Receiver<Box<CloudMessage>>);

impl tokio_stream::Stream for Outgoing {
    type Item = Result<CloudMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|message| message.map(|message| Ok(*message)))
    }
}

struct Driver {
    streams: Arc<Streams>,
    shared: Arc<Shared>,
    name: BoxName,
    stream: Stream,
    outgoing: mpsc::Sender<Box<CloudMessage>>,
    /// What the store is busy with.
    busy: Option<JoinHandle<Event>>,
    noted: Instant,
    release: String,
    bell: Bell,
    epoch: u64,
    /// What was sent on this stream.
    version_sent: u64,
    commands_sent: BTreeSet<String>,
    /// Whether there may be deliveries behind those that are on their way.
    more_deliveries: bool,
    /// Whether one of them has arrived since.
    delivered: bool,
}

impl Driver {
    fn new(streams: Arc<Streams>, name: BoxName, outgoing: mpsc::Sender<Box<CloudMessage>>) -> Self {
        let now = clock::now();
        let shared = Arc::clone(&streams.shared);
        let stream = Stream::new(shared.stream, now);
        let bell = shared.bells.hang(&name);
        Driver {
            streams,
            shared,
            name,
            stream,
            outgoing,
            busy: None,
            noted: now,
            release: String::new(),
            bell,
            epoch: 0,
            version_sent: 0,
            commands_sent: BTreeSet::new(),
            more_deliveries: false,
            delivered: false,
        }
    }

    async fn run(mut self, mut incoming: Streaming<BoxMessage>) {
        let shared = Arc::clone(&self.shared);
        let _open = shared.metrics.stream();
        let mut stopping = shared.stopping.clone();
        let mut leaving = false;
        while !self.stream.is_over() {
            let deadline = self.stream.poll_timeout();
            // Whether there may be wishes that the box was not told.
            let mut look = false;
            let event = tokio::select! {
                // What is stored is acknowledged before anything else is looked at.
                biased;
                event = answered(&mut self.busy) => event,
                _ = stopping.wait_for(|stopping| *stopping), if !leaving => {
                    leaving = true;
                    Event::Leaving
                }
                message = incoming.message() => match message {
                    Ok(Some(message)) => {
                        let bytes = message.encoded_len();
                        Event::Received(message, bytes)
                    }
                    Ok(None) => Event::Closed,
                    Err(status) => {
                        tracing::debug!(%status, "The stream broke");
                        // As it came, and when it was inflated: no more than the limit was kept of it.
                        let too_large = matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted);
                        if too_large { Event::TooLarge } else { Event::Closed }
                    }
                },
                () = self.bell.rung() => {
                    look = true;
                    Event::Woken
                }
                () = until(deadline) => Event::Woken,
            };
            self.note(&event).await;
            look |= matches!(event, Event::Greeted(Greeted::Welcome { .. }));
            if !self.step(event).await {
                return;
            }
            if look {
                let wishes = self.wishes().await;
                if !self.step(wishes).await {
                    return;
                }
            }
            if look || (self.delivered && self.more_deliveries) {
                let deliveries = self.deliveries().await;
                if !self.step(deliveries).await {
                    return;
                }
            }
        }
    }

    /// False if the stream is of no use any more.
    async fn step(&mut self, event: Event) -> bool {
        for action in self.stream.step(event, clock::now()) {
            if !self.carry_out(action).await {
                return false;
            }
        }
        true
    }

    /// What the box should be and do, as far as it was not told on this stream; or that it is to go.
    async fn wishes(&mut self) -> Event {
        let document = match self.streams.wishes.ask(self.name.clone()).await {
            Some(Ok((Some(away), _))) => return Event::NotHere(away),
            Some(Ok((None, document))) => document,
            Some(Err(error)) => {
                // They are read again with the next news, and with the next stream.
                tracing::warn!(%error, "Wishes for the box were not read");
                return Event::Wished(Vec::new());
            }
            None => return Event::Wished(Vec::new()),
        };
        let mut wishes = Vec::new();
        if let Some(desired) = document.desired_message().filter(|desired| desired.version != self.version_sent) {
            self.version_sent = desired.version;
            wishes.push(cloud_message::Body::Desired(desired));
        }
        for command in document.open_commands(clock::unix_ms()) {
            if self.commands_sent.insert(command.command_id.clone()) {
                tracing::info!(name = command.name, id = command.command_id, "Command");
                wishes.push(cloud_message::Body::Command(command));
            }
        }
        Event::Wished(wishes)
    }

    /// The oldest deliveries that the box does not have.
    async fn deliveries(&mut self) -> Event {
        let (name, epoch, limit) = (self.name.clone(), self.epoch, DELIVERIES_IN_FLIGHT);
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let found = self.shared.ask(move |store| store.outstanding(&name, epoch, clock::unix_ms(), limit)).await;
        self.delivered = false;
        let found = match found {
            Some(Ok(found)) => found,
            Some(Err(error)) => {
                // They are read again with the next news, and with the next stream.
                tracing::warn!(%error, "Deliveries for the box were not read");
                return Event::Outstanding(Vec::new());
            }
            None => return Event::Outstanding(Vec::new()),
        };
        self.more_deliveries = found.len() >= DELIVERIES_IN_FLIGHT;
        let message = |one: crate::store::deliveries::Outstanding| match handed::message(&one.id, &one.body) {
            Ok(message) => Some(message),
            Err(error) => {
                tracing::error!(id = one.id, %error, "A delivery is not to be understood");
                None
            }
        };
        Event::Outstanding(found.into_iter().filter_map(message).collect())
    }

    /// It is not sent again to this box, unless that is restored from a backup.
    async fn take_delivered(&mut self, delivered: cloud_api::v1::Delivered) {
        self.delivered = true;
        let (name, epoch) = (self.name.clone(), self.epoch);
        tracing::info!(id = delivered.delivery_id, "Delivered");
        let noted = self.shared.ask(move |store| {
            let cloud_api::v1::Delivered { delivery_id, answer } = &delivered;
            let answer: String = answer.chars().take(ANSWER_MAX).collect();
            store.note_delivered(&name, delivery_id, epoch, &answer, clock::unix_ms())
        });
        if let Some(Err(error)) = noted.await {
            // It is sent again with the next stream, and the box says so again.
            tracing::warn!(%error, "It was not noted that the box has a delivery");
        }
    }

    /// What the box says of wishes is kept before anything else of it is heard.
    async fn take_told(&mut self, told: box_message::Body) {
        if let box_message::Body::Delivered(delivered) = told {
            return self.take_delivered(delivered).await;
        }
        let kept = self.streams.reports.ask((self.name.clone(), told));
        if let Some(Err(error)) = kept.await {
            // It is said again with the next stream.
            tracing::warn!(%error, "What the box said of a wish was not kept");
        }
    }

    /// False if the stream is of no use any more.
    async fn carry_out(&mut self, action: Action) -> bool {
        match action {
            Action::Store(request) => self.busy = Some(self.store(request)),
            Action::Send(message) => {
                if let Some(cloud_message::Body::Goodbye(goodbye)) = &message.body {
                    self.shared.metrics.goodbye(goodbye.reason());
                    tracing::info!(reason = goodbye.reason().as_str_name(), detail = goodbye.detail, "Goodbye");
                }
                // A box that takes nothing any more is not waited for longer than for one that says nothing.
                let limit = self.shared.stream.keep_alive * 3;
                return matches!(tokio::time::timeout(limit, self.outgoing.send(Box::new(message))).await, Ok(Ok(())));
            }
            Action::Told(told) => self.take_told(told).await,
            // What was sent is carried on when the sender is gone.
            Action::Close => return false,
        }
        true
    }

    fn store(&mut self, request: StoreRequest) -> JoinHandle<Event> {
        if let StoreRequest::Greet(hello) = &request {
            self.release = hello.release.chars().take(64).collect();
            self.epoch = hello.epoch;
        }
        let (shared, name) = (Arc::clone(&self.shared), self.name.clone());
        tokio::spawn(async move {
            let began = clock::now();
            let rows = match &request {
                StoreRequest::Apply(batch) => {
                    let of_table = |table: &cloud_api::v1::TableRows| table.rows.len() + table.deleted_keys.len();
                    let log = matches!(batch.scope, Some(Scope::Log(_)));
                    tracing::debug!(log, tables = batch.tables.len(), "Batch");
                    Some(batch.tables.iter().map(of_table).sum::<usize>())
                }
                StoreRequest::Greet(_) | StoreRequest::Compare(_) => None,
            };
            let event = shared.ask(move |store| answer(store, &name, &request)).await;
            let event = event.unwrap_or_else(|| Event::Unavailable("the store failed".to_owned()));
            shared.metrics.answered(!matches!(event, Event::Unavailable(_)));
            if let (Event::Applied(Applied::Taken { .. }), Some(rows)) = (&event, rows) {
                shared.metrics.stored(rows, clock::now().duration_since(began));
            }
            event
        })
    }

    /// What is known of the box beside its rows.
    async fn note(&mut self, event: &Event) {
        let now = clock::now();
        let heard = match event {
            Event::Greeted(Greeted::Welcome { watermark }) => {
                tracing::info!(watermark, release = self.release, "Welcome");
                Noted::Release(self.release.clone())
            }
            Event::Compared(verdict) if verdict.equal => Noted::Equal,
            Event::Received(..) if now.duration_since(self.noted) >= NOTE_EVERY => Noted::Alive,
            Event::Closed if !self.release.is_empty() => Noted::Alive,
            Event::Greeted(_)
            | Event::Compared(_)
            | Event::Received(..)
            | Event::TooLarge
            | Event::Woken
            | Event::Applied(_)
            | Event::Unavailable(_)
            | Event::NotHere(_)
            | Event::Wished(_)
            | Event::Outstanding(_)
            | Event::Leaving
            | Event::Closed => return,
        };
        self.noted = now;
        let name = self.name.clone();
        let noted = self.shared.ask(move |store| {
            let heard = match &heard {
                Noted::Release(release) => Heard::Release(release),
                Noted::Alive => Heard::Alive,
                Noted::Equal => Heard::Equal,
            };
            store.note_heard(&name, heard, clock::unix_ms())
        });
        let noted = noted.await;
        self.shared.metrics.answered(matches!(noted, Some(Ok(_))));
        match noted {
            Some(Ok(true)) => {}
            Some(Ok(false)) => {
                tracing::info!("The box was revoked");
                self.stream.step(Event::Closed, now);
            }
            // Usually it was told by the news of it, which an erasure takes along; it is told when it comes again.
            Some(Err(StoreError::NotHere { .. })) => {
                self.stream.step(Event::Closed, now);
            }
            // It does no harm: what it is about is said again.
            Some(Err(error)) => tracing::warn!(%error, "Not noted when the box was heard"),
            None => {}
        }
    }
}

/// [`Heard`], for another thread.
enum Noted {
    Release(String),
    Alive,
    Equal,
}

/// The store's answer, if it is busy; else never.
async fn answered(busy: &mut Option<JoinHandle<Event>>) -> Event {
    match busy {
        Some(task) => {
            let event = task.await.unwrap_or_else(|_| Event::Unavailable("the store failed".to_owned()));
            *busy = None;
            event
        }
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
