//! Subscriptions of peers: what our user does with them.

use std::time::Instant;

use super::{Body, Endpoint, EndpointMisuse};
use crate::message::{HeaderName, StatusCode};

/// One subscription of a peer. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionHandle(pub(crate) u64);

impl Endpoint {
    /// Takes a subscription and tells its state at once.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: there is none that waits.
    pub fn accept_subscription(
        &mut self,
        subscription: SubscriptionHandle,
        state: Option<Body>,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let result = self.do_accept_subscription(subscription, state, now);
        self.settle(now);
        result
    }

    /// Refuses a subscription with 300 to 699, such as a challenge.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: there is none that waits, or another status.
    pub fn refuse_subscription(
        &mut self,
        subscription: SubscriptionHandle,
        status: StatusCode,
        headers: Vec<(HeaderName, String)>,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let result = self.do_refuse_subscription(subscription, status, headers, now);
        self.settle(now);
        result
    }

    /// Tells the subscriber another state.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: it has ended, or is not accepted.
    pub fn notify(
        &mut self,
        subscription: SubscriptionHandle,
        state: Body,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let result = self.do_notify(subscription, state, now);
        self.settle(now);
        result
    }

    /// Ends a subscription for a reason of RFC 6665 §4.1.3, such as `deactivated` or `noresource`.
    ///
    /// # Errors
    /// [`EndpointMisuse`]: it has ended, or is not accepted.
    pub fn end_subscription(
        &mut self,
        subscription: SubscriptionHandle,
        reason: &str,
        now: Instant,
    ) -> Result<(), EndpointMisuse> {
        let result = self.do_end_subscription(subscription, reason, now);
        self.settle(now);
        result
    }
}
