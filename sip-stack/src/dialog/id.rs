//! What names a dialog: Call-ID and two tags (RFC 3261 §12).

use crate::message::{ParseError, Request};

/// See the [module](self). Compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DialogId {
    pub(crate) call_id: String,
    local_tag: String,
    /// Empty for a peer of RFC 2543, which has none.
    remote_tag: String,
}

impl DialogId {
    pub(crate) fn new(call_id: String, local_tag: &str, remote_tag: Option<&str>) -> Self {
        Self { call_id, local_tag: local_tag.to_owned(), remote_tag: remote_tag.unwrap_or_default().to_owned() }
    }

    /// The dialog a request of theirs is for; `None` if it is for none, that is, has no To tag.
    pub(crate) fn of_request(request: &Request) -> Result<Option<Self>, ParseError> {
        let headers = &request.headers;
        let to = headers.to()?;
        let Some(local_tag) = to.tag() else { return Ok(None) };
        Ok(Some(Self::new(headers.call_id()?, local_tag, headers.from()?.tag())))
    }

    /// Our tag.
    pub(crate) fn local_tag(&self) -> &str {
        &self.local_tag
    }

    /// Their tag.
    pub(crate) fn remote_tag(&self) -> &str {
        &self.remote_tag
    }
}
