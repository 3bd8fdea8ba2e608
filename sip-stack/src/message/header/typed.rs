//! Typed access to [`Headers`]. A header that must be there yields an error when it is not; an optional one `None`;
//! a list header an empty list.

use super::super::error::{ParseError, Reason};
use super::super::headers::{Field, Headers};
use super::super::method::Method;
use super::super::scan::{Scan, text};
use super::{
    CSeq, Contact, Date, Diversion, EventHeader, HeaderName, MediaType, NameAddr, Params, RAck, ReasonHeader, Replaces,
    RetryAfter, SessionExpires, SubscriptionState, Via, Warning,
};

type Read<T> = fn(&mut Scan<'_>) -> Result<T, ParseError>;

impl Headers {
    /// The topmost Via.
    pub fn via(&self) -> Result<Via, ParseError> {
        let name = HeaderName::VIA;
        let field = self.first(&name).ok_or_else(|| missing(&name))?;
        Via::scan(&mut scan(field))
    }

    /// All hops, topmost first.
    pub fn vias(&self) -> Result<Vec<Via>, ParseError> {
        self.list(&HeaderName::VIA, Via::scan)
    }

    /// Puts another hop on top, in front of those that are there.
    pub fn push_via(&mut self, via: &Via) {
        self.push_front(HeaderName::VIA, via);
    }

    /// Replaces the topmost hop and leaves the others, also those in the same field.
    ///
    /// # Errors
    /// There is no Via, or the topmost one cannot be read; nothing has changed then.
    pub fn replace_top_via(&mut self, via: &Via) -> Result<(), ParseError> {
        self.pop_via()?;
        self.push_via(via);
        Ok(())
    }

    /// Takes the topmost hop away.
    ///
    /// # Errors
    /// There is no Via, or the topmost one cannot be read; nothing has changed then.
    pub fn pop_via(&mut self) -> Result<(), ParseError> {
        let name = HeaderName::VIA;
        let field = self.first(&name).ok_or_else(|| missing(&name))?;
        let mut scan = scan(field);
        Via::scan(&mut scan)?;
        let more = scan.eat_separator(b',');
        let read_bytes = scan.position();
        self.cut_first(&name, more.then_some(read_bytes));
        Ok(())
    }

    /// Who sends.
    pub fn from(&self) -> Result<NameAddr, ParseError> {
        self.one(&HeaderName::FROM, NameAddr::scan)
    }

    /// Who is meant.
    pub fn to(&self) -> Result<NameAddr, ParseError> {
        self.one(&HeaderName::TO, NameAddr::scan)
    }

    /// Names the dialog, or the series of registrations; compared byte by byte.
    pub fn call_id(&self) -> Result<String, ParseError> {
        self.one(&HeaderName::CALL_ID, |scan| match scan.take_while(|byte| byte > b' ') {
            b"" => Err(scan.expected("an identifier")),
            id => Ok(text(id)),
        })
    }

    /// Sequence number and method.
    pub fn cseq(&self) -> Result<CSeq, ParseError> {
        self.one(&HeaderName::CSEQ, CSeq::scan)
    }

    /// Hops left; `None` means the header is not there.
    pub fn max_forwards(&self) -> Result<Option<u8>, ParseError> {
        // At most 255, so nothing is cut off.
        self.optional(&HeaderName::MAX_FORWARDS, |scan| scan.number(255).map(|hops| hops as u8))
    }

    /// Bytes of body the sender announces.
    pub fn content_length(&self) -> Result<Option<usize>, ParseError> {
        self.optional(&HeaderName::CONTENT_LENGTH, |scan| {
            scan.number(u64::from(u32::MAX)).map(|length| length as usize)
        })
    }

    /// What the body is.
    pub fn content_type(&self) -> Result<Option<MediaType>, ParseError> {
        self.optional(&HeaderName::CONTENT_TYPE, MediaType::scan)
    }

    /// All Contact values.
    pub fn contacts(&self) -> Result<Vec<Contact>, ParseError> {
        self.list(&HeaderName::CONTACT, Contact::scan)
    }

    /// The first Contact that is an address: the remote target of a dialog.
    pub fn contact(&self) -> Result<Option<NameAddr>, ParseError> {
        let contacts = self.contacts()?;
        Ok(contacts.into_iter().find_map(|contact| contact.address().cloned()))
    }

    /// Hops the request still has to visit.
    pub fn route(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.list(&HeaderName::ROUTE, NameAddr::scan)
    }

    /// Hops that want to stay in the path of the dialog.
    pub fn record_route(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.list(&HeaderName::RECORD_ROUTE, NameAddr::scan)
    }

    /// Option tags the peer insists on.
    pub fn require(&self) -> Result<Vec<String>, ParseError> {
        self.list(&HeaderName::REQUIRE, token)
    }

    /// Option tags the peer insists on towards proxies.
    pub fn proxy_require(&self) -> Result<Vec<String>, ParseError> {
        self.list(&HeaderName::PROXY_REQUIRE, token)
    }

    /// Option tags the peer knows.
    pub fn supported(&self) -> Result<Vec<String>, ParseError> {
        self.list(&HeaderName::SUPPORTED, token)
    }

    /// Option tags the peer does not know.
    pub fn unsupported(&self) -> Result<Vec<String>, ParseError> {
        self.list(&HeaderName::UNSUPPORTED, token)
    }

    /// Methods the peer takes.
    pub fn allow(&self) -> Result<Vec<Method>, ParseError> {
        self.list(&HeaderName::ALLOW, |scan| token(scan).map(|name| Method::from_token(&name)))
    }

    /// Body types the peer takes; `None` means `application/sdp`, an empty list means none (RFC 3261 §20.1).
    pub fn accept(&self) -> Result<Option<Vec<MediaType>>, ParseError> {
        if !self.contains(&HeaderName::ACCEPT) {
            return Ok(None);
        }
        self.list(&HeaderName::ACCEPT, MediaType::scan).map(Some)
    }

    /// Seconds.
    pub fn expires(&self) -> Result<Option<u32>, ParseError> {
        self.optional(&HeaderName::EXPIRES, seconds)
    }

    /// Seconds.
    pub fn min_expires(&self) -> Result<Option<u32>, ParseError> {
        self.optional(&HeaderName::MIN_EXPIRES, seconds)
    }

    /// When to try again.
    pub fn retry_after(&self) -> Result<Option<RetryAfter>, ParseError> {
        self.optional(&HeaderName::RETRY_AFTER, RetryAfter::scan)
    }

    /// Why the request was sent.
    pub fn reasons(&self) -> Result<Vec<ReasonHeader>, ParseError> {
        self.list(&HeaderName::REASON, ReasonHeader::scan)
    }

    /// When the peer sent the message, by its own clock.
    pub fn date(&self) -> Result<Option<Date>, ParseError> {
        self.optional(&HeaderName::DATE, Date::scan)
    }

    /// Proxies that a request towards a registered contact has to visit (RFC 3327).
    pub fn path(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.list(&HeaderName::PATH, NameAddr::scan)
    }

    /// Proxies that requests of whoever registers have to visit (RFC 3608).
    pub fn service_route(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.list(&HeaderName::SERVICE_ROUTE, NameAddr::scan)
    }

    /// Who the network says the sender is: at most two, a `sip:` and a `tel:` URI (RFC 3325 §9.1).
    pub fn asserted_identities(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.list(&HeaderName::P_ASSERTED_IDENTITY, NameAddr::scan)
    }

    /// Who the sender would like to be (RFC 3325 §9.2).
    pub fn preferred_identities(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.list(&HeaderName::P_PREFERRED_IDENTITY, NameAddr::scan)
    }

    /// Remote-Party-ID, with `party`, `screen` and `privacy` among the parameters; a draft that never became an RFC.
    pub fn remote_parties(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.list(&HeaderName::REMOTE_PARTY_ID, NameAddr::scan)
    }

    /// Whom the request was for before, the latest first (RFC 5806).
    pub fn diversions(&self) -> Result<Vec<Diversion>, ParseError> {
        self.list(&HeaderName::DIVERSION, Diversion::scan)
    }

    /// How long the session lasts (RFC 4028).
    pub fn session_expires(&self) -> Result<Option<SessionExpires>, ParseError> {
        self.optional(&HeaderName::SESSION_EXPIRES, SessionExpires::scan)
    }

    /// The shortest session interval the peer bears. Seconds (RFC 4028 §5).
    pub fn min_se(&self) -> Result<Option<u32>, ParseError> {
        self.optional(&HeaderName::MIN_SE, |scan| {
            let least = seconds(scan)?;
            Params::scan(scan)?;
            Ok(least)
        })
    }

    /// The event package of a SUBSCRIBE or NOTIFY (RFC 6665).
    pub fn event(&self) -> Result<Option<EventHeader>, ParseError> {
        self.optional(&HeaderName::EVENT, EventHeader::scan)
    }

    /// Event packages the peer takes subscriptions for (RFC 6665 §8.2.2).
    pub fn allow_events(&self) -> Result<Vec<String>, ParseError> {
        self.list(&HeaderName::ALLOW_EVENTS, token)
    }

    /// How far the subscription has come (RFC 6665).
    pub fn subscription_state(&self) -> Result<Option<SubscriptionState>, ParseError> {
        self.optional(&HeaderName::SUBSCRIPTION_STATE, SubscriptionState::scan)
    }

    /// Whom a REFER wants to be called (RFC 3515 §2.1).
    pub fn refer_to(&self) -> Result<Option<NameAddr>, ParseError> {
        self.optional(&HeaderName::REFER_TO, NameAddr::scan)
    }

    /// On whose behalf (RFC 3892).
    pub fn referred_by(&self) -> Result<Option<NameAddr>, ParseError> {
        self.optional(&HeaderName::REFERRED_BY, NameAddr::scan)
    }

    /// The call that this one takes the place of (RFC 3891).
    pub fn replaces(&self) -> Result<Option<Replaces>, ParseError> {
        self.optional(&HeaderName::REPLACES, Replaces::scan)
    }

    /// The number of a reliable provisional response (RFC 3262 §7.1).
    pub fn rseq(&self) -> Result<Option<u32>, ParseError> {
        self.optional(&HeaderName::RSEQ, seconds)
    }

    /// What a PRACK confirms (RFC 3262 §7.2).
    pub fn rack(&self) -> Result<Option<RAck>, ParseError> {
        self.optional(&HeaderName::RACK, RAck::scan)
    }

    /// How long a registrar's edge keeps an idle flow open. Seconds (RFC 5626 §5.4).
    pub fn flow_timer(&self) -> Result<Option<u32>, ParseError> {
        self.optional(&HeaderName::FLOW_TIMER, seconds)
    }

    /// More about a response.
    pub fn warnings(&self) -> Result<Vec<Warning>, ParseError> {
        self.list(&HeaderName::WARNING, Warning::scan)
    }

    /// The raw value of the first field of that name as text; what is not UTF-8 is replaced.
    pub fn text(&self, name: &HeaderName) -> Option<String> {
        self.first(name).map(|field| text(field.value()))
    }

    fn one<T>(&self, name: &HeaderName, read: Read<T>) -> Result<T, ParseError> {
        self.optional(name, read)?.ok_or_else(|| missing(name))
    }

    fn optional<T>(&self, name: &HeaderName, read: Read<T>) -> Result<Option<T>, ParseError> {
        let mut fields = self.all(name);
        let Some(field) = fields.next() else { return Ok(None) };
        if let Some(second) = fields.next() {
            return Err(scan(second).error(Reason::Repeated));
        }
        let mut scan = scan(field);
        let value = read(&mut scan)?;
        scan.finish()?;
        Ok(Some(value))
    }

    /// Commas and repeated fields mean the same (RFC 3261 §7.3.1).
    fn list<T>(&self, name: &HeaderName, read: Read<T>) -> Result<Vec<T>, ParseError> {
        let mut values = Vec::new();
        for field in self.all(name) {
            let mut scan = scan(field);
            if scan.is_at_end() {
                continue;
            }
            values.push(read(&mut scan)?);
            while scan.eat_separator(b',') {
                values.push(read(&mut scan)?);
            }
            scan.finish()?;
        }
        Ok(values)
    }
}

fn scan(field: &Field) -> Scan<'_> {
    Scan::new(field.name().label(), field.value(), field.offset())
}

fn missing(name: &HeaderName) -> ParseError {
    ParseError { header: name.label(), offset: 0, reason: Reason::Missing }
}

fn token(scan: &mut Scan<'_>) -> Result<String, ParseError> {
    scan.token("a token").map(str::to_owned)
}

fn seconds(scan: &mut Scan<'_>) -> Result<u32, ParseError> {
    // At most u32::MAX, so nothing is cut off.
    scan.number(u64::from(u32::MAX)).map(|seconds| seconds as u32)
}
