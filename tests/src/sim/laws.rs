//! What holds after every run, whatever the network did.

use std::collections::{BTreeMap, BTreeSet};

use sip_stack::endpoint::Occupancy;
use sip_stack::message::{Message, Method};

use super::ladder::Way;

/// Watches the wire for broken laws.
#[derive(Debug, Default)]
pub(super) struct Laws {
    /// Branches of INVITEs that arrived at the gateway.
    invites: BTreeSet<String>,
    /// Final responses of the gateway, by the branch of their INVITE.
    finals: BTreeMap<String, BTreeSet<u16>>,
}

impl Laws {
    pub(super) fn arrived(&mut self, way: Way, message: &Message) {
        if let (Way::ToGateway, Message::Request(request)) = (way, message)
            && request.method == Method::Invite
            && request.check().is_ok()
        {
            self.invites.extend(branch(message));
        }
    }

    pub(super) fn sent(&mut self, way: Way, message: &Message) {
        if let (Way::ToTrunk, Message::Response(response)) = (way, message)
            && response.headers.cseq().is_ok_and(|cseq| cseq.method == Method::Invite)
            && response.status.is_final()
            && let Some(branch) = branch(message)
        {
            self.finals.entry(branch).or_default().insert(response.status.as_u16());
        }
    }

    /// # Panics
    /// A law is broken.
    pub(super) fn check(&self, trunk: Occupancy, gateway: Occupancy, (begun, ended): (usize, usize)) {
        for invite in &self.invites {
            let finals = self.finals.get(invite).map_or(0, BTreeSet::len);
            assert_eq!(finals, 1, "INVITE {invite} has {:?} for final responses", self.finals.get(invite));
        }
        for (name, left) in [("trunk", trunk), ("gateway", gateway)] {
            assert_eq!(left, Occupancy { streams: left.streams, ..Occupancy::default() }, "the {name} kept something");
        }
        assert_eq!(begun, ended, "calls of the gateway that never ended");
    }
}

fn branch(message: &Message) -> Option<String> {
    message.headers().via().ok()?.branch().map(str::to_owned)
}
