//! The proxies that a dialog's requests visit (RFC 3261 §12.1, §12.2.1.1).

use crate::message::{HeaderName, Headers, NameAddr, ParseError, Request, Uri};

/// In the order in which our requests visit them. Fixed once the dialog is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RouteSet(Vec<NameAddr>);

impl RouteSet {
    /// The UAS side: as recorded.
    pub(crate) fn of_request(headers: &Headers) -> Result<Self, ParseError> {
        headers.record_route().map(Self)
    }

    /// The UAC side: the other way round.
    pub(crate) fn of_response(headers: &Headers) -> Result<Self, ParseError> {
        let mut hops = headers.record_route()?;
        hops.reverse();
        Ok(Self(hops))
    }

    /// Where the next request goes first, if not straight to its target.
    pub(crate) fn first(&self) -> Option<&Uri> {
        self.0.first().map(|hop| &hop.uri)
    }

    /// Adds Route. In front of a strict router of RFC 2543 it becomes the Request-URI and the target comes last.
    pub(crate) fn apply(&self, request: &mut Request) {
        let Some((first, rest)) = self.0.split_first() else { return };
        let is_loose = first.uri.as_sip().is_some_and(|uri| uri.is_loose_router());
        if is_loose {
            self.0.iter().for_each(|hop| request.headers.push(HeaderName::ROUTE, hop));
            return;
        }
        let target = std::mem::replace(&mut request.uri, first.uri.clone());
        rest.iter().for_each(|hop| request.headers.push(HeaderName::ROUTE, hop));
        request.headers.push(HeaderName::ROUTE, NameAddr::new(target));
    }
}
