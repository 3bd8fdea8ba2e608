//! Who may come in: admission by source and password, and one task for each call.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_stack::digest::Asker;
use sip_stack::endpoint::{Accepting, Answer, CallHandle, Endpoint, Event, PeerRequestHandle, Source, Transport};
use sip_stack::message::{HeaderName, Method, Request, StatusCode};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{Instrument, info, info_span, warn};

use super::incoming::{CallerKind, Incoming, reject};
use super::lamps::{follow_messages, subscribed};
use super::phones::Refused;
use super::serve::serve;
use super::services::Services;
use super::trunk_watch::watch;
use crate::dial_plan;
use crate::io::gate::Origin;

/// How often phones that have not been heard of are looked for.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(15);

/// Transactions of the last call are kept for repeats until then (RFC 3261, Timer J; RFC 6026, Timer L).
const LINGERING: Duration = Duration::from_secs(40);

/// Routes SIP events to calls until told to stop.
pub struct Router {
    services: Arc<Services>,
    tasks: JoinSet<()>,
    /// Since when there is no call, until what they have left behind is given back.
    idle_since: Option<Instant>,
    stop_calls: watch::Sender<bool>,
}

impl Router {
    /// A router without calls.
    pub fn new(services: Arc<Services>) -> Router {
        Router { services, tasks: JoinSet::new(), idle_since: None, stop_calls: watch::channel(false).0 }
    }

    /// Takes calls from `events` until `stop` turns true, then lets them finish for the configured time.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>, mut stop: watch::Receiver<bool>) {
        // Dropped with the router, which ends them.
        let mut watches = JoinSet::new();
        for index in 0..self.services.carriers.len() {
            watches.spawn(watch(Arc::clone(&self.services), index));
        }
        watches.spawn(follow_messages(Arc::clone(&self.services)));
        let mut expire = tokio::time::interval(EXPIRE_INTERVAL);
        expire.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(event) = events.recv() => self.route(event),
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => self.forget(&ended),
                _ = expire.tick() => self.expire(),
                changed = stop.changed() => if changed.is_err() || *stop.borrow() { break },
            }
        }
        self.drain(events).await;
    }

    /// New calls get 503 so that the carrier goes elsewhere; those that talk may finish.
    async fn drain(&mut self, mut events: mpsc::Receiver<Event>) {
        let retry_after_seconds = self.services.config.calls.retry_after_seconds;
        let sip = self.services.sip.clone();
        let calls = self.tasks.len();
        // Not awaited either. Without a shell there is nothing to refuse. Said once it is so.
        tokio::spawn(async move {
            let refusing = move |endpoint: &mut Endpoint, _| {
                endpoint.set_accepting(Accepting::No { retry_after_seconds });
            };
            if sip.with(refusing).await.is_ok() {
                info!(calls, "Draining: no new calls");
            }
        });
        let patience = Duration::from_secs(self.services.config.calls.drain_seconds.into());
        let deadline = tokio::time::sleep(patience);
        tokio::pin!(deadline);
        let mut patient = true;
        while !self.tasks.is_empty() {
            tokio::select! {
                Some(event) = events.recv() => self.route(event),
                Some(ended) = self.tasks.join_next() => self.forget(&ended),
                () = &mut deadline, if patient => {
                    patient = false;
                    self.stop_calls.send_replace(true);
                }
            }
        }
    }

    fn forget(&mut self, ended: &Result<(), tokio::task::JoinError>) {
        // The call is lost, the daemon goes on: its row is closed at the next start, its port is already free.
        if let Err(error) = ended {
            warn!(%error, "Call task panicked");
        }
        // With nobody on the line, the tens of milliseconds that this takes delay no answer.
        if self.tasks.is_empty() {
            self.services.speaker.rest();
            self.idle_since = Some(Instant::now());
        }
    }

    fn route(&mut self, event: Event) {
        if let Some(handle) = event.call().filter(|_| !matches!(event, Event::InviteReceived { .. })) {
            return self.services.legs.deliver(handle, event);
        }
        if let Event::InviteReceived { call, request, source, offer, replaces } = event {
            self.invited(call, (request, source, offer), replaces);
        } else if let Event::RequestReceived { request, message, source, .. } = event {
            self.registered(request, &message, source);
        } else if let Event::SubscriptionRequested { subscription, package, message, source } = event {
            tokio::spawn(subscribed(Arc::clone(&self.services), subscription, package, message, source));
        } else if let Event::SubscriptionEnded { subscription } = event {
            self.services.lamps.forget(subscription);
        } else if let Event::PeerErrorSeen { peer, status, header, is_news: true } = event {
            self.note_mistake(peer.ip(), status, header);
        } else {
            self.services.trunk_watch.handle(&self.services, &event);
        }
    }

    /// A line for whoever sets up that phone or trunk; once a minute, and without its address or anything it has sent.
    fn note_mistake(&self, peer: IpAddr, status: StatusCode, header: &str) {
        let origin = self.services.gate.with(|gate| gate.origin(peer));
        let trunk = match origin {
            Origin::Trunk(index) => self.services.carriers.at(index).map(|carrier| carrier.trunk.name.as_str()),
            Origin::Phone { .. } | Origin::Guest | Origin::Unknown => None,
        };
        let from = match origin {
            Origin::Trunk(_) => "trunk",
            Origin::Phone { .. } => "phone",
            Origin::Guest => "guest",
            Origin::Unknown => "stranger",
        };
        warn!(from, trunk, header, status = status.as_u16(), "Malformed request refused");
    }

    fn invited(
        &mut self,
        handle: CallHandle,
        (request, source, offer): (Arc<Request>, Source, Option<Vec<u8>>),
        replaces: Option<CallHandle>,
    ) {
        let limit = usize::try_from(self.services.config.calls.concurrent_limit).unwrap_or(usize::MAX);
        let caller = match self.identify(&request, source) {
            Ok(caller) => caller,
            Err(Refused { status, headers }) => return self.refuse(handle, status, headers),
        };
        if self.tasks.len() >= limit && !self.is_emergency(&caller, &request) {
            info!(calls = self.tasks.len(), limit, "Call refused: as many as may be are up");
            return self.refuse(handle, StatusCode::SERVICE_UNAVAILABLE, Vec::new());
        }
        let services = Arc::clone(&self.services);
        let events = services.legs.open(handle);
        let incoming = Incoming::new(services, caller, (request, source, offer), events).replacing(replaces);
        let span = info_span!("call", call_id = %incoming.call_id);
        self.tasks.spawn(serve(incoming, self.stop_calls.subscribe()).instrument(span));
    }

    /// Who calls? A trunk by its address, a phone by its password, a guest by its address.
    fn identify(&self, request: &Request, source: Source) -> Result<CallerKind, Refused> {
        let forbidden = Refused { status: StatusCode::FORBIDDEN, headers: Vec::new() };
        let phones = &self.services.phones;
        let claims_extension = || {
            let from = request.headers.from().ok().and_then(|from| from.uri.as_sip()?.user_text());
            from.is_some_and(|user| phones.is_extension(&user))
        };
        match self.services.gate.with(|gate| gate.origin(source.peer.ip())) {
            Origin::Trunk(index) => {
                let wants_tls = self.services.carriers.at(index).is_some_and(|carrier| carrier.trunk.secure);
                match wants_tls && source.transport != Transport::Tls {
                    true => Err(forbidden),
                    false => Ok(CallerKind::Trunk(index)),
                }
            }
            Origin::Guest => Ok(CallerKind::Guest),
            // Unless it says to be a phone: then it has to prove it.
            Origin::Phone { is_guest: true } if !claims_extension() => Ok(CallerKind::Guest),
            Origin::Phone { .. } => {
                phones.identify(request, Asker::Proxy, source.peer.ip(), Instant::now()).map(CallerKind::Extension)
            }
            // Passed the gate because we wrote there: a trunk whose addresses nobody has configured.
            Origin::Unknown => Err(forbidden),
        }
    }

    fn is_emergency(&self, caller: &CallerKind, request: &Request) -> bool {
        let called = super::incoming::user_of(&request.uri).unwrap_or_default();
        let outbound = &self.services.config.outbound;
        matches!(caller, CallerKind::Extension(_)) && dial_plan::emergency(outbound, &called).is_some()
    }

    /// Not awaited: the SIP shell may be waiting for us to take its events. Its own limits bound how many these are.
    fn refuse(&self, handle: CallHandle, status: StatusCode, headers: Vec<(HeaderName, String)>) {
        let services = Arc::clone(&self.services);
        tokio::spawn(async move { reject(&services, handle, status, headers).await });
    }

    fn registered(&self, request: PeerRequestHandle, message: &Request, source: Source) {
        let now = Instant::now();
        let may_register = match self.services.gate.with(|gate| gate.origin(source.peer.ip())) {
            Origin::Phone { .. } => message.method == Method::Register,
            Origin::Trunk(_) | Origin::Guest | Origin::Unknown => false,
        };
        let (answer, changed) = match may_register {
            true => self.services.phones.register(message, source, now),
            false => (Answer::new(StatusCode::FORBIDDEN), None),
        };
        if let Some(extension) = changed {
            self.services.phones.store(&self.services.storage, extension, now);
        }
        let sip = self.services.sip.clone();
        tokio::spawn(
            async move { sip.with(move |endpoint, now| endpoint.respond(request, answer, now).is_ok()).await },
        );
    }

    fn expire(&mut self) {
        let now = Instant::now();
        if self.tasks.is_empty() && self.idle_since.take_if(|since| *since + LINGERING <= now).is_some() {
            let storage = self.services.storage.clone();
            tokio::task::spawn_blocking(move || {
                storage.rest_blocking();
                crate::memory::give_back();
            });
        }
        for extension in self.services.phones.expire(now) {
            self.services.phones.store(&self.services.storage, extension, now);
        }
    }
}
