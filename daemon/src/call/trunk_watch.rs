//! How the trunks are: registrations where a carrier wants them, and OPTIONS where the configuration asks for them
//! (RFC 3261 §11). A trunk that does not answer is dialled last, not never: its OPTIONS may be all that is lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sip_stack::endpoint::{
    Event, OutgoingRequest, RegistrationConfig, RegistrationHandle, RegistrationNews, RequestHandle,
};
use sip_stack::message::{Method, NameAddr, SipUri, StatusCode};
use tracing::{info, warn};

use super::carriers::{Carrier, Health, host_port};
use super::services::Services;
use crate::storage::{TrunkState, UnixMs, set_trunk_state};

/// A carrier whose host cannot be looked up is tried again so often.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(30);

/// Which of our requests concern which trunk; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct TrunkWatch(Arc<Mutex<Handles>>);

#[derive(Debug, Default)]
struct Handles {
    registrations: HashMap<RegistrationHandle, usize>,
    requests: HashMap<RequestHandle, usize>,
}

impl TrunkWatch {
    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_registration(&self, index: usize) -> Option<RegistrationHandle> {
        let mut handles = self.handles();
        let handle = handles.registrations.iter().find(|(_, of)| **of == index).map(|(handle, _)| *handle)?;
        handles.registrations.remove(&handle);
        Some(handle)
    }

    /// What the endpoint tells of a request of ours.
    pub(super) fn handle(&self, services: &Services, event: &Event) {
        if let Event::Registration { registration, news } = event {
            let index = self.handles().registrations.get(registration).copied();
            if let Some(carrier) = index.and_then(|index| services.carriers.at(index)) {
                note_registration(services, carrier, news);
            }
        } else if let Event::RequestAnswered { request, response, .. } = event {
            // Whatever it says, it is there; only 503 says that it does not want calls now.
            self.note(services, *request, response.status != StatusCode::SERVICE_UNAVAILABLE);
        } else if let Event::RequestFailed { request, .. } = event {
            self.note(services, *request, false);
        }
    }

    fn note(&self, services: &Services, request: RequestHandle, is_up: bool) {
        let index = self.handles().requests.remove(&request);
        let Some(carrier) = index.and_then(|index| services.carriers.at(index)) else { return };
        if note(services, carrier, |health| health.answers = Some(is_up)) {
            match is_up {
                true => info!(trunk = carrier.trunk.name, "Trunk answers"),
                false => warn!(trunk = carrier.trunk.name, "Trunk does not answer; others are dialled first"),
            }
        }
    }
}

fn note_registration(services: &Services, carrier: &Carrier, news: &RegistrationNews) {
    let trunk = &carrier.trunk.name;
    let is_registered = matches!(news, RegistrationNews::Registered { .. });
    let is_news = note(services, carrier, |health| health.registered = Some(is_registered));
    match news {
        RegistrationNews::Registered { expires_seconds, .. } if is_news => {
            info!(trunk, expires_seconds, "Trunk registered");
        }
        RegistrationNews::Failed { failure, retry_in } => {
            warn!(trunk, error = %failure, retry_seconds = retry_in.as_secs(), "Trunk not registered");
        }
        RegistrationNews::Registered { .. } | RegistrationNews::Ended => {}
    }
}

/// Notes what was learnt of a trunk, also where `offhook status` finds it; true if it is news.
fn note(services: &Services, carrier: &Carrier, change: impl FnOnce(&mut Health)) -> bool {
    let Some(Health { answers, registered }) = carrier.note(change) else { return false };
    let state = TrunkState { trunk: carrier.trunk.name.clone(), answers, registered, changed_at: UnixMs::now() };
    services.storage.try_post("state of a trunk", move |sql_tx| set_trunk_state(sql_tx, &state));
    true
}

/// Registers with a trunk and asks how it is, for as long as the box runs.
pub(super) async fn watch(services: Arc<Services>, index: usize) {
    let Some(carrier) = services.carriers.at(index) else { return };
    let (mut moved, mut known) = (services.address.changes(), services.address.outside());
    if let Some(registration) = &carrier.trunk.registration {
        let expires = registration.expires_seconds;
        while register(&services, index, carrier, expires).await.is_none() {
            tokio::time::sleep(LOOKUP_INTERVAL).await;
        }
    }
    let mut asking = carrier
        .trunk
        .options_interval_seconds
        .map(|seconds| tokio::time::interval(Duration::from_secs(seconds.into())));
    loop {
        tokio::select! {
            () = tick(asking.as_mut()) => ask(&services, index, carrier).await,
            // It fails for ever where the address never changes.
            Ok(()) = moved.changed() => if services.address.outside() != known {
                known = services.address.outside();
                register_again(&services, index, carrier).await;
            },
        }
    }
}

async fn tick(interval: Option<&mut tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// The carrier is told our new address at once, and that the old one is none any more.
async fn register_again(services: &Services, index: usize, carrier: &Carrier) {
    let Some(registration) = &carrier.trunk.registration else { return };
    // Of the old one nothing is told from now on, or its end would count as the trunk's.
    let old = services.trunk_watch.forget_registration(index);
    if let Some(old) = old {
        let _ = services.sip.with(move |endpoint, now| endpoint.unregister(old, now).is_ok()).await;
    }
    while register(services, index, carrier, registration.expires_seconds).await.is_none() {
        tokio::time::sleep(LOOKUP_INTERVAL).await;
    }
}

async fn register(services: &Services, index: usize, carrier: &Carrier, expires_seconds: u32) -> Option<()> {
    let domain = host_port(carrier.trunk.domain())?;
    let destinations = carrier.destinations(&services.sip).await;
    let (destination, alternatives) = destinations.split_first()?;
    let user = carrier.trunk.username.as_deref().unwrap_or_default();
    let config = RegistrationConfig {
        expires_seconds,
        alternatives: alternatives.to_vec(),
        credentials: carrier.credentials.clone(),
        ..RegistrationConfig::new(
            SipUri::new(domain.clone()),
            NameAddr::new(SipUri::new(domain).with_user(user)),
            *destination,
        )
    };
    let watch = services.trunk_watch.clone();
    let registered = services.sip.with(move |endpoint, now| {
        // Within the command, so that no news is missed.
        let handle = endpoint.register(config, now)?;
        watch.handles().registrations.insert(handle, index);
        Ok::<(), sip_stack::endpoint::EndpointMisuse>(())
    });
    registered.await.ok()?.ok()
}

async fn ask(services: &Services, index: usize, carrier: &Carrier) {
    let destinations = carrier.destinations(&services.sip).await;
    let (Some((destination, alternatives)), Some(domain)) =
        (destinations.split_first(), host_port(carrier.trunk.domain()))
    else {
        return;
    };
    let from = NameAddr::new(SipUri::new(domain.clone()).with_user("ping"));
    let request = OutgoingRequest {
        alternatives: alternatives.to_vec(),
        ..OutgoingRequest::new(Method::Options, SipUri::new(domain), from, *destination)
    };
    let watch = services.trunk_watch.clone();
    let _ = services
        .sip
        .with(move |endpoint, now| {
            if let Ok(handle) = endpoint.request(request, now) {
                watch.handles().requests.insert(handle, index);
            }
        })
        .await;
}
