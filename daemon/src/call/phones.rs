//! The office's phones: who says to be one, and where they are.
//!
//! Answers to known and unknown extensions are the same, down to the work they take: whoever guesses learns nothing but
//! that the guess was wrong.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sip_stack::digest::{Asker, Authority, AuthorityConfig, Denied};
use sip_stack::endpoint::{Answer, Source};
use sip_stack::message::{HeaderName, Request, StatusCode};
use tracing::{info, warn};

use crate::config::Config;
use crate::io::gate::SharedGate;
use crate::registrar::secrets::Secrets;
use crate::registrar::{Binding, Registrar};
use crate::storage::{Storage, UnixMs, delete_registrations, replace_registrations};

/// All phones, shared by all calls.
#[derive(Debug)]
pub struct Phones {
    extensions: Vec<String>,
    secrets: Secrets,
    gate: SharedGate,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    authority: Authority,
    registrar: Registrar,
}

/// A request that is not let in, and what to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, String)>,
}

impl Phones {
    /// With the extensions of the configuration; `registrar` knows what a restart has found again.
    pub fn new(config: &Config, gate: SharedGate, registrar: Registrar, now: Instant) -> Phones {
        let hashes = config.sip.digest_hashes.iter().copied().map(Into::into).collect();
        let settings = AuthorityConfig { hashes, ..AuthorityConfig::new(&config.sip.realm) };
        let authority = Authority::new(settings, rand::random(), now);
        Phones {
            extensions: config.extensions.iter().map(|extension| extension.number.clone()).collect(),
            secrets: Secrets::new(&config.state_directory(), &config.sip.realm),
            gate,
            state: Mutex::new(State { authority, registrar }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an extension of that number is configured.
    pub(super) fn is_extension(&self, number: &str) -> bool {
        self.extensions.iter().any(|extension| extension == number)
    }

    /// Where an extension's phones are, those that came last first.
    pub(super) fn bindings(&self, extension: &str, now: Instant) -> Vec<Binding> {
        self.state().registrar.bindings(extension, now)
    }

    /// How many phones are registered.
    pub fn registered(&self, now: Instant) -> usize {
        self.state().registrar.len(now)
    }

    /// Whose phone sent this? The extension, if it proves to know the password.
    pub(super) fn identify(
        &self,
        request: &Request,
        asker: Asker,
        peer: IpAddr,
        now: Instant,
    ) -> Result<String, Refused> {
        let mut state = self.state();
        let known =
            |username: &str, hash| self.is_extension(username).then(|| self.secrets.ha1(username, hash)).flatten();
        let denied = match state.authority.verify(request, asker, known, now) {
            Ok(verified) => {
                self.gate.with(|gate| gate.note_success(peer));
                return Ok(verified.username);
            }
            Err(denied) => denied,
        };
        if denied == Denied::Wrong && self.gate.with(|gate| gate.note_failure(peer, now)) {
            warn!("An address gave a wrong password too often and is banned for a while");
        }
        let (status, headers) = state.authority.refusal(&denied, asker, now);
        Err(Refused { status, headers })
    }

    /// A REGISTER: what to answer, and the extension whose phones are others now.
    pub(super) fn register(&self, request: &Request, source: Source, now: Instant) -> (Answer, Option<String>) {
        let extension = match self.identify(request, Asker::Server, source.peer.ip(), now) {
            Ok(extension) => extension,
            Err(Refused { status, headers }) => return (Answer { headers, ..Answer::new(status) }, None),
        };
        let registers = request.headers.to().ok().and_then(|to| to.uri.as_sip()?.user_text());
        if registers.as_deref() != Some(extension.as_str()) {
            // The password is right, but not for this one (RFC 3261 §10.3, step 3).
            return (Answer::new(StatusCode::FORBIDDEN), None);
        }
        let outcome = self.state().registrar.register(&extension, request, source, now);
        (outcome.answer, outcome.has_changed.then_some(extension))
    }

    /// Forgets phones that have not been heard of.
    pub(super) fn expire(&self, now: Instant) -> Vec<String> {
        self.state().registrar.expire(now)
    }

    /// Keeps the bindings of an extension for the next start.
    pub(super) fn store(&self, storage: &Storage, extension: String, now: Instant) {
        let bindings = self.bindings(&extension, now);
        info!(phones = bindings.len(), "Registrations of an extension changed");
        let rows = crate::storage::registrations(&bindings, now, UnixMs::now());
        let written = storage.try_write(move |sql_tx| match rows.is_empty() {
            true => delete_registrations(sql_tx, &extension),
            false => replace_registrations(sql_tx, &extension, &rows),
        });
        match written {
            Ok(pending) => {
                tokio::spawn(async move {
                    if let Err(error) = pending.await {
                        warn!(%error, "Registration not written; the phone registers again after a restart");
                    }
                });
            }
            Err(error) => warn!(%error, "Registration not written; the phone registers again after a restart"),
        }
    }
}
