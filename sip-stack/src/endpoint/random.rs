//! Tags, branches and Call-IDs: nothing a peer could foresee, and the same again from the same seed.

use rand::rngs::ChaCha12Rng;
use rand::{Rng, RngExt, SeedableRng};

use crate::message::header::MAGIC_COOKIE;
use crate::message::{HeaderName, Request};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Random {
    rng: ChaCha12Rng,
    /// Keeps peers from foreseeing the tags of stateless responses.
    tag_secret: u64,
}

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let mut rng = ChaCha12Rng::from_seed(seed);
        Self { tag_secret: rng.next_u64(), rng }
    }

    /// 64 random bits (RFC 3261 §19.3 asks for 32) for tags and Call-IDs.
    pub(crate) fn token(&mut self) -> String {
        format!("{:016x}", self.rng.next_u64())
    }

    pub(crate) fn branch(&mut self) -> String {
        format!("{MAGIC_COOKIE}{}", self.token())
    }

    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.rng.random_range(0..end.max(1))
    }

    /// The same tag for every copy of a request, and one that a peer cannot foresee (RFC 3261 §8.2.7).
    pub(crate) fn stateless_tag(&self, request: &Request) -> String {
        let names = [HeaderName::VIA, HeaderName::CALL_ID, HeaderName::FROM, HeaderName::CSEQ];
        let fields = names.iter().filter_map(|name| request.headers.first(name));
        // FNV-1a from a secret start.
        let hash = fields
            .flat_map(|field| field.value())
            .fold(self.tag_secret, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
        format!("{hash:016x}")
    }
}
