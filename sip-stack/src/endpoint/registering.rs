//! What a registration is told, and what it tells.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Destination, Endpoint, EndpointMisuse, RequestFailure};
use crate::digest::Credentials;
use crate::message::{HeaderName, NameAddr, Response, StatusCode, Uri};

/// One registration of ours. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistrationHandle(pub(crate) u64);

/// Where to register, as whom, for how long.
#[derive(Debug, Clone)]
pub struct RegistrationConfig {
    /// Request-URI: the domain, such as `sip:provider.example`.
    pub registrar: Uri,
    /// Who is to be reached; To and From.
    pub address_of_record: NameAddr,
    /// Where we are; `None` takes the transport's own Contact.
    pub contact: Option<NameAddr>,
    /// Asked for; the registrar may grant less, or insist on more. Seconds.
    pub expires_seconds: u32,
    /// Hops to visit; `destination` is where the first of them is.
    pub route: Vec<NameAddr>,
    /// Where to send it.
    pub destination: Destination,
    /// Where else, in order (RFC 3263 §4.3).
    pub alternatives: Vec<Destination>,
    /// What to answer challenges with.
    pub credentials: Vec<Credentials>,
    /// More headers.
    pub headers: Vec<(HeaderName, String)>,
    /// Keeps the connection as the way back to us (RFC 5626).
    pub outbound: Option<Outbound>,
}

/// Names this box and this connection to the registrar (RFC 5626 §4.1, §4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// The same for ever, such as `urn:uuid:…`.
    pub instance_urn: String,
    /// Tells our connections to one registrar apart; from 1 on.
    pub reg_id: u32,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationNews {
    /// The registrar knows us, and will be asked again in time. Told after every refresh.
    Registered {
        /// What it granted. Seconds.
        expires_seconds: u32,
        /// Proxies that our requests are to visit, for `route` (RFC 3608).
        service_route: Vec<NameAddr>,
        /// All its headers.
        response: Arc<Response>,
    },
    /// It did not work; the next attempt comes by itself.
    Failed {
        /// Why.
        failure: RegistrationFailure,
        /// How long it waits.
        retry_in: Duration,
    },
    /// We have unregistered; the handle is not used again.
    Ended,
}

/// Why a registration does not stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationFailure {
    /// The registrar says no.
    #[error("rejected with {0}")]
    Rejected(StatusCode),
    /// It says nothing, or the connection we registered over is gone.
    #[error("no response: {0}")]
    NoResponse(RequestFailure),
}

impl RegistrationFailure {
    /// Will it hardly be another answer next time?
    pub(crate) fn is_refusal(self) -> bool {
        match self {
            Self::NoResponse(_) => false,
            Self::Rejected(status) => {
                let is_passing = matches!(
                    status,
                    StatusCode::REQUEST_TIMEOUT | StatusCode::TEMPORARILY_UNAVAILABLE | StatusCode::REQUEST_PENDING
                );
                !is_passing && status.class() != 5
            }
        }
    }
}

impl RegistrationConfig {
    /// For an hour, and with nothing special about it.
    pub fn new(registrar: impl Into<Uri>, address_of_record: NameAddr, destination: Destination) -> Self {
        Self {
            registrar: registrar.into(),
            address_of_record,
            contact: None,
            expires_seconds: 3_600,
            route: Vec::new(),
            destination,
            alternatives: Vec::new(),
            credentials: Vec::new(),
            headers: Vec::new(),
            outbound: None,
        }
    }
}

impl Endpoint {
    /// Registers, and keeps the registration up until [`unregister`](Self::unregister).
    ///
    /// # Errors
    /// [`EndpointMisuse::Full`].
    pub fn register(&mut self, config: RegistrationConfig, now: Instant) -> Result<RegistrationHandle, EndpointMisuse> {
        let result = self.do_register(config, now);
        self.settle(now);
        result
    }

    /// Registers again at once: after a change of address, or because an attempt is not to be waited for.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: no such registration, or it is being ended.
    pub fn refresh_registration(
        &mut self,
        registration: RegistrationHandle,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let result = self.do_refresh_registration(registration, now);
        self.settle(now);
        result
    }

    /// Takes our binding away; [`RegistrationNews::Ended`] follows, whatever the registrar says.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: no such registration, or it is being ended.
    pub fn unregister(&mut self, registration: RegistrationHandle, now: Instant) -> Result<(), EndpointMisuse> {
        let result = self.do_unregister(registration, now);
        self.settle(now);
        result
    }
}
