//! Registering as a UAC (RFC 3261 §10.2): the endpoint's side of [`Registration`].

use std::sync::Arc;
use std::time::Instant;

use super::outgoing::push_headers;
use super::registration::{Registration, State};
use super::{Purpose, Use};
use crate::digest::Authenticator;
use crate::endpoint::{
    CallHandle, Endpoint, EndpointMisuse, Event, FlowId, RegistrationConfig, RegistrationFailure, RegistrationHandle,
    RegistrationNews, RequestFailure, Source,
};
use crate::message::{CSeq, HeaderName, Method, NameAddr, Request, Response, StatusCode};
use crate::transaction::table::{Full, TransactionId};

impl Endpoint {
    pub(crate) fn do_register(
        &mut self,
        config: RegistrationConfig,
        now: Instant,
    ) -> Result<RegistrationHandle, EndpointMisuse> {
        if self.registrations.len() >= self.config.limits.registrations || !self.transactions.has_room() {
            return Err(EndpointMisuse::Full);
        }
        let handle = RegistrationHandle(self.new_handle());
        let template = self.registration_template(&config);
        let credentials = config.credentials.clone();
        let registration = Registration {
            expires_seconds: config.expires_seconds,
            config,
            state: State::Waiting { retry_at: now },
            template,
            cseq: 0,
            authenticator: (!credentials.is_empty()).then(|| Authenticator::new(credentials)),
            flow: None,
            failures: 0,
            service_route: Vec::new(),
        };
        self.registrations.insert(handle, registration);
        self.send_register(handle, now);
        Ok(handle)
    }

    /// What never changes from one REGISTER to the next.
    fn registration_template(&mut self, config: &RegistrationConfig) -> Request {
        let address = config.address_of_record.clone();
        let mut request = self.initial_request(
            Method::Register,
            config.registrar.clone(),
            address.clone(),
            address,
            config.route.clone(),
        );
        let contact = config
            .contact
            .clone()
            .unwrap_or_else(|| self.contact(config.destination.transport, config.destination.peer));
        request.headers.push(HeaderName::CONTACT, with_instance(contact, config));
        self.abilities.push(&mut request.headers);
        if config.outbound.is_some() {
            let known = self.abilities.supported.iter().copied().chain(["path", "outbound"]);
            request.headers.set(HeaderName::SUPPORTED, known.collect::<Vec<_>>().join(", "));
        }
        push_headers(&mut request.headers, config.headers.clone());
        request
    }

    /// The next REGISTER of this series.
    fn send_register(&mut self, handle: RegistrationHandle, now: Instant) {
        let Some(registration) = self.registrations.get(&handle) else { return };
        let expires = registration.expires_seconds;
        if let Ok(transaction) = self.transmit_register(handle, expires, now) {
            self.enter(handle, State::Registering(transaction));
        } else {
            self.on_register_failure(handle, StatusCode::SERVICE_UNAVAILABLE, now);
        }
    }

    fn transmit_register(
        &mut self,
        handle: RegistrationHandle,
        expires_seconds: u32,
        now: Instant,
    ) -> Result<TransactionId, Full> {
        let Some(registration) = self.registrations.get_mut(&handle) else { return Err(Full) };
        registration.cseq = registration.cseq.wrapping_add(1);
        let mut request = registration.template.clone();
        let number = registration.cseq;
        request.headers.set(HeaderName::CSEQ, CSeq { number, method: Method::Register });
        request.headers.push(HeaderName::EXPIRES, expires_seconds);
        let (first, alternatives) = (registration.config.destination, registration.config.alternatives.clone());
        let (destination, rest) = self.choose(first, alternatives, now);
        let path = self.path_towards(destination);
        let transaction = self.send_request(CallHandle::NONE, request, path, Purpose::Register(handle), now)?;
        self.keep_alternatives(transaction, rest, now);
        Ok(transaction)
    }

    fn enter(&mut self, handle: RegistrationHandle, state: State) {
        if let Some(registration) = self.registrations.get_mut(&handle) {
            registration.state = state;
        }
        self.reschedule(handle);
    }

    pub(crate) fn on_registration_timeout(&mut self, handle: RegistrationHandle, now: Instant) {
        self.send_register(handle, now);
    }

    pub(crate) fn do_refresh_registration(
        &mut self,
        handle: RegistrationHandle,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let registration = self.registrations.get(&handle).ok_or(EndpointMisuse::UnknownRegistration)?;
        match registration.state {
            State::Unregistering(_) => Err(EndpointMisuse::WrongState),
            State::Registering(_) => Ok(()),
            State::Registered { .. } | State::Waiting { .. } => {
                self.send_register(handle, now);
                Ok(())
            }
        }
    }

    pub(crate) fn do_unregister(&mut self, handle: RegistrationHandle, now: Instant) -> Result<(), EndpointMisuse> {
        let registration = self.registrations.get(&handle).ok_or(EndpointMisuse::UnknownRegistration)?;
        match registration.state {
            State::Unregistering(_) => return Err(EndpointMisuse::WrongState),
            State::Registering(transaction) => self.transactions.give_up(transaction),
            State::Registered { .. } | State::Waiting { .. } => {}
        }
        match self.transmit_register(handle, 0, now) {
            Ok(transaction) => self.enter(handle, State::Unregistering(transaction)),
            // The binding ends by itself.
            Err(Full) => self.end_registration(handle),
        }
        Ok(())
    }

    /// A response to our REGISTER. Challenges have been answered before they come here.
    pub(super) fn on_register_response(
        &mut self,
        handle: RegistrationHandle,
        response: Response,
        source: Source,
        now: Instant,
    ) {
        let Some(registration) = self.registrations.get_mut(&handle) else { return };
        if response.status.is_provisional() {
            return;
        }
        if matches!(registration.state, State::Unregistering(_)) {
            return self.end_registration(handle);
        }
        match response.status {
            status if status.is_success() => {
                let granted = granted_seconds(registration, &response);
                registration.note_success(granted, now);
                registration.flow = source.flow;
                registration.service_route = response.headers.service_route().unwrap_or_default();
                let news = RegistrationNews::Registered {
                    expires_seconds: granted,
                    service_route: registration.service_route.clone(),
                    response: Arc::new(response),
                };
                self.reschedule(handle);
                self.emit(Event::Registration { registration: handle, news });
            }
            StatusCode::INTERVAL_TOO_BRIEF
                if registration.note_too_brief(response.headers.min_expires().ok().flatten()) =>
            {
                self.send_register(handle, now);
            }
            status => {
                let retry_after = response.headers.retry_after().ok().flatten().map(|after| after.seconds);
                self.wait_and_tell(handle, RegistrationFailure::Rejected(status), retry_after, now);
            }
        }
    }

    /// No response: 408 for a timeout, 503 for a transport that failed.
    pub(super) fn on_register_failure(&mut self, handle: RegistrationHandle, status: StatusCode, now: Instant) {
        let Some(registration) = self.registrations.get_mut(&handle) else { return };
        if matches!(registration.state, State::Unregistering(_)) {
            return self.end_registration(handle);
        }
        // A connection that does not carry is not used again (RFC 5626 §4.5).
        registration.flow = None;
        let failure = match status {
            StatusCode::REQUEST_TIMEOUT => RequestFailure::TimedOut,
            _ => RequestFailure::TransportFailed,
        };
        self.wait_and_tell(handle, RegistrationFailure::NoResponse(failure), None, now);
    }

    fn wait_and_tell(
        &mut self,
        handle: RegistrationHandle,
        failure: RegistrationFailure,
        retry_after_seconds: Option<u32>,
        now: Instant,
    ) {
        let random_permille = self.random.below(1_001);
        let Some(registration) = self.registrations.get_mut(&handle) else { return };
        let wait = registration.note_failure(failure.is_refusal(), retry_after_seconds, random_permille, now);
        self.reschedule(handle);
        let news = RegistrationNews::Failed { failure, retry_in: wait };
        self.emit(Event::Registration { registration: handle, news });
    }

    fn end_registration(&mut self, handle: RegistrationHandle) {
        self.registrations.remove(&handle);
        self.reschedule(handle);
        self.emit(Event::Registration { registration: handle, news: RegistrationNews::Ended });
    }

    /// A connection is gone, and with it the way the registrar reaches us: register again over another one, soon but not
    /// everybody at once.
    pub(crate) fn recover_registrations(&mut self, flow: FlowId, now: Instant) {
        let lost = |(handle, registration): (&RegistrationHandle, &Registration)| {
            let is_registered = matches!(registration.state, State::Registered { .. });
            (is_registered && registration.flow == Some(flow)).then_some(*handle)
        };
        for handle in self.registrations.iter().filter_map(lost).collect::<Vec<_>>() {
            let failure = RegistrationFailure::NoResponse(RequestFailure::TransportFailed);
            if let Some(registration) = self.registrations.get_mut(&handle) {
                registration.flow = None;
            }
            self.wait_and_tell(handle, failure, None, now);
        }
    }

    /// After a challenge: the request that went out in the place of another one.
    pub(super) fn follow_registration(&mut self, handle: RegistrationHandle, new: TransactionId) {
        let number = match self.transactions.user(new) {
            Some(Use::Client(client)) => client.request.headers.cseq().map_or(0, |cseq| cseq.number),
            Some(Use::Server(_)) | None => return,
        };
        let Some(registration) = self.registrations.get_mut(&handle) else { return };
        registration.cseq = number;
        registration.state = match registration.state {
            State::Unregistering(_) => State::Unregistering(new),
            State::Registering(_) | State::Registered { .. } | State::Waiting { .. } => State::Registering(new),
        };
    }
}

/// `+sip.instance` and `reg-id` (RFC 5626 §4.1, §4.2).
fn with_instance(mut contact: NameAddr, config: &RegistrationConfig) -> NameAddr {
    if let Some(outbound) = &config.outbound {
        contact.params.set("reg-id", outbound.reg_id.to_string());
        contact.params.set_quoted("+sip.instance", format!("<{}>", outbound.instance_urn));
    }
    contact
}

/// What the registrar says of our Contact, else of all, else what we asked for (RFC 3261 §10.2.4).
fn granted_seconds(registration: &Registration, response: &Response) -> u32 {
    let ours = registration.template.headers.contact().ok().flatten().map(|contact| contact.uri);
    let contacts = response.headers.contacts().unwrap_or_default();
    let of_ours =
        contacts.iter().filter_map(|contact| contact.address()).find(|address| Some(&address.uri) == ours.as_ref());
    let stated = of_ours.and_then(|address| address.params.value("expires")?.parse().ok());
    let all = || response.headers.expires().ok().flatten();
    stated.or_else(all).unwrap_or(registration.expires_seconds)
}
