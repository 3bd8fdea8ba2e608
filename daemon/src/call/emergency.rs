//! Emergency calls: nothing of ours keeps them back, and somebody in the office learns of them at once.
//!
//! The text goes to the phones of the configured extensions (RFC 3428): who calls, and from which phone, so that somebody
//! can go there and open the door for the help that comes. In the United States such a notice is required of an office's
//! telephone system (47 CFR 9.16).

use std::sync::Arc;
use std::time::Instant;

use sip_stack::endpoint::{Body, OutgoingRequest};
use sip_stack::message::{HeaderName, Method};
use tracing::{info, warn};

use super::incoming::CallerKind;
use super::services::Services;
use crate::config::Extension;

/// Of the INVITE to the trunk (RFC 3261 §20.26).
pub(super) fn priority() -> (HeaderName, String) {
    (HeaderName::PRIORITY, "emergency".to_owned())
}

/// Tells whoever is to know that `caller` calls `number`. Returns at once.
pub(super) fn tell(services: &Arc<Services>, caller: &CallerKind, number: &str) {
    warn!("Emergency call");
    let text = text(number, caller, |number| services.extension(number));
    let services = Arc::clone(services);
    tokio::spawn(async move {
        let mut told = 0;
        for extension in &services.config.outbound.emergency_alert_extensions {
            for binding in services.phones.bindings(extension, Instant::now()) {
                let request = OutgoingRequest {
                    route: binding.path,
                    headers: vec![priority()],
                    body: Some(Body::new("text/plain;charset=UTF-8", text.clone())),
                    ..OutgoingRequest::new(
                        Method::Message,
                        binding.contact,
                        services.inside_identity("emergency"),
                        binding.destination,
                    )
                };
                let sent = services.sip.with(move |endpoint, now| endpoint.request(request, now).is_ok()).await;
                told += usize::from(sent == Ok(true));
            }
        }
        info!(phones = told, "Told of the emergency call");
    });
}

fn text<'a>(number: &str, caller: &CallerKind, known: impl Fn(&str) -> Option<&'a Extension>) -> String {
    match caller {
        CallerKind::Extension(extension) => {
            match known(extension).map(|one| one.name.as_str()).filter(|name| !name.is_empty()) {
                Some(name) => format!("Emergency call to {number} from {name} (extension {extension})."),
                None => format!("Emergency call to {number} from extension {extension}."),
            }
        }
        CallerKind::Trunk(_) | CallerKind::Guest => format!("Emergency call to {number}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_where_help_is_needed() {
        let desk = Extension { number: "105".into(), name: "Workshop".into(), ..Extension::default() };
        let of = |number: &str| {
            text("911", &CallerKind::Extension(number.to_owned()), |asked| (asked == "105").then_some(&desk))
        };
        assert_eq!(of("105"), "Emergency call to 911 from Workshop (extension 105).");
        assert_eq!(of("106"), "Emergency call to 911 from extension 106.");
    }
}
