//! Links to one message or promise, for whoever has one: they end after a while, and cannot be made by anybody else.
//!
//! ```text
//! <link_base>/<key of the row>?until=<seconds>&key=<hex>        HMAC-SHA256 over "<key of the row>.<seconds>"
//! ```
//! The secret is the machine's own. Without it a link that has ended is no more than a number.

use std::io;
use std::path::Path;

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::durable;
use crate::storage::UnixMs;

/// Length of the secret.
const KEY_BYTES: usize = 32;

/// Makes links and knows them again.
#[derive(Clone)]
pub struct Links {
    base: String,
    key: hmac::Key,
    days: u32,
}

impl Links {
    /// Links that begin with `base` and hold for `days`, under the secret in `folder`, which is made if there is none.
    /// Blocks.
    ///
    /// # Errors
    /// A file that cannot be read or made, or is none of ours.
    pub fn open(base: &str, days: u32, folder: &Path) -> io::Result<Links> {
        let path = folder.join("link.key");
        let secret = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut secret = [0; KEY_BYTES];
                SystemRandom::new().fill(&mut secret).map_err(|_| io::Error::other("no random numbers"))?;
                durable::write(&path, &secret, 0o600)?;
                secret.to_vec()
            }
            read => read?,
        };
        if secret.len() != KEY_BYTES {
            let found = format!("{}: {} bytes, expected {KEY_BYTES}", path.display(), secret.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, found));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        Ok(Links { base: base.trim_end_matches('/').to_owned(), key, days })
    }

    /// The link to the row `subject`, made at `now`.
    pub fn to(&self, subject: &str, now: UnixMs) -> String {
        let until = now.0 / 1_000 + i64::from(self.days) * 24 * 60 * 60;
        let tag = hmac::sign(&self.key, signed(subject, until).as_bytes());
        format!("{}/{subject}?until={until}&key={}", self.base, hex::encode(tag))
    }

    /// Whether this is such a link.
    pub fn check(&self, subject: &str, until: i64, key: &str, now: UnixMs) -> Admission {
        let Ok(tag) = hex::decode(key) else { return Admission::Forged };
        match hmac::verify(&self.key, signed(subject, until).as_bytes(), &tag) {
            Ok(()) if until > now.0 / 1_000 => Admission::Granted,
            Ok(()) => Admission::Ended,
            Err(_) => Admission::Forged,
        }
    }
}

/// What a link opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The row.
    Granted,
    /// Nothing any more.
    Ended,
    /// Nothing ever.
    Forged,
}

fn signed(subject: &str, until: i64) -> String {
    format!("{subject}.{until}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_772_452_800_000);

    fn parts(link: &str) -> (i64, String) {
        let (_, query) = link.split_once("?until=").unwrap();
        let (until, key) = query.split_once("&key=").unwrap();
        (until.parse().unwrap(), key.to_owned())
    }

    #[test]
    fn a_link_opens_its_row_for_its_days_under_the_same_secret() {
        let folder = tempfile::tempdir().unwrap();
        let links = Links::open("https://phone.office.example/links/", 7, folder.path()).unwrap();
        let link = links.to("row", NOW);
        assert!(link.starts_with("https://phone.office.example/links/row?until="), "{link}");
        let (until, key) = parts(&link);
        let later = |days: i64| UnixMs(NOW.0 + days * 24 * 60 * 60 * 1_000);
        let again = Links::open("https://elsewhere.example", 1, folder.path()).unwrap();
        for (subject, until, key, now, expected) in [
            ("row", until, key.as_str(), NOW, Admission::Granted),
            ("row", until, &key, later(6), Admission::Granted),
            ("row", until, &key, later(7), Admission::Ended),
            ("another", until, &key, NOW, Admission::Forged),
            ("row", until + 1, &key, NOW, Admission::Forged),
            ("row", until, &key[2..], NOW, Admission::Forged),
            ("row", until, "not hex", NOW, Admission::Forged),
            ("row", until, "", NOW, Admission::Forged),
        ] {
            assert_eq!(again.check(subject, until, key, now), expected, "{subject} {until} {key}");
        }
        let other = tempfile::tempdir().unwrap();
        let forged = Links::open("https://phone.office.example/links", 7, other.path()).unwrap();
        assert_eq!(forged.check("row", until, &key, NOW), Admission::Forged);
        std::fs::write(other.path().join("link.key"), "short").unwrap();
        let error = Links::open("https://a.example", 7, other.path()).err().unwrap().to_string();
        assert!(error.contains("link.key: 5 bytes, expected 32"), "{error}");
    }
}
