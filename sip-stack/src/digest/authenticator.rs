//! Answers challenges for a UAC (RFC 3261 §22.2, §22.3, RFC 8760 §2.4).

use super::Asker;
use super::algorithm::{Algorithm, Inputs};
use super::authorization::Authorization;
use super::challenge::Challenge;
use super::credentials::Credentials;
use crate::message::{Request, Response};

/// Realms that one authenticator remembers: more than there are proxies in any path.
const SESSION_LIMIT: usize = 8;

/// Credentials, and the nonces under which servers have taken them. One for each call, registration or single request:
/// it counts nonces, so that what follows a challenge is authenticated at once.
#[derive(Debug, Clone)]
pub struct Authenticator {
    credentials: Vec<Credentials>,
    sessions: Vec<Session>,
}

/// What one asker has been told.
#[derive(Debug, Clone)]
struct Session {
    asker: Asker,
    challenge: Challenge,
    algorithm: Algorithm,
    count: u32,
}

/// How often a request has been answered for; ends a dispute with a server that asks for ever.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempts(Vec<Attempt>);

#[derive(Debug, Clone)]
struct Attempt {
    asker: Asker,
    realm: String,
    was_stale: bool,
}

/// Why a challenge was not answered. The response to the user is the challenge itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeRefusal {
    /// No credentials for that realm.
    #[error("no credentials for the realm")]
    NoCredentials,
    /// The credentials have been sent, and the server asks again.
    #[error("the server did not take the credentials")]
    WrongCredentials,
    /// The server insists on `qop=auth-int`, which does not survive proxies that change bodies.
    #[error("the server insists on qop=auth-int")]
    AuthInt,
    /// The scheme is not Digest, or no algorithm is one of ours.
    #[error("no authentication scheme or algorithm in common")]
    Unsupported,
}

impl Authenticator {
    /// With what may be told; the first that fits a realm is.
    pub fn new(credentials: Vec<Credentials>) -> Self {
        Self { credentials, sessions: Vec::new() }
    }

    /// Takes a 401 or 407. After `Ok` the request is to be sent again, with [`authorize`](Self::authorize).
    ///
    /// Each asker is answered once, and once more if it says that only the nonce was too old. Of several challenges for
    /// a realm the strongest that we can answer counts, of equal ones the first.
    pub(crate) fn handle_challenge(
        &mut self,
        response: &Response,
        attempts: &mut Attempts,
    ) -> Result<(), ChallengeRefusal> {
        let asker = Asker::of(response.status).ok_or(ChallengeRefusal::Unsupported)?;
        let challenges = Challenge::all(&response.headers, &asker.challenge_header());
        let mut refusal = ChallengeRefusal::Unsupported;
        let mut is_answered = false;
        for realm in realms(&challenges) {
            match self.choose(&challenges, realm) {
                Ok((challenge, algorithm)) => {
                    attempts.add(asker, challenge)?;
                    self.remember(Session { asker, challenge: challenge.clone(), algorithm, count: 0 });
                    is_answered = true;
                }
                Err(why) => refusal = why,
            }
        }
        if is_answered { Ok(()) } else { Err(refusal) }
    }

    fn choose<'a>(
        &self,
        challenges: &'a [Challenge],
        realm: &str,
    ) -> Result<(&'a Challenge, Algorithm), ChallengeRefusal> {
        let credentials = self.credentials.iter().find(|one| one.fits(realm)).ok_or(ChallengeRefusal::NoCredentials)?;
        let of_realm = || challenges.iter().filter(|challenge| challenge.realm == realm);
        let strongest = of_realm()
            .filter(|challenge| challenge.is_answerable())
            .filter_map(|challenge| Some((challenge, challenge.algorithm?)))
            .filter(|(_, algorithm)| credentials.ha1(algorithm.hash, realm).is_some())
            // The last of equal ones would win; the first is the server's favourite.
            .rev()
            .max_by_key(|(_, algorithm)| algorithm.hash);
        strongest.ok_or_else(|| match of_realm().any(Challenge::wants_auth_int_only) {
            true => ChallengeRefusal::AuthInt,
            false => ChallengeRefusal::Unsupported,
        })
    }

    fn remember(&mut self, session: Session) {
        self.sessions.retain(|old| old.asker != session.asker || old.challenge.realm != session.challenge.realm);
        if self.sessions.len() == SESSION_LIMIT {
            self.sessions.remove(0);
        }
        self.sessions.push(session);
    }

    /// Puts an answer for every asker that is known into the request, in the place of older ones.
    pub fn authorize(&mut self, request: &mut Request, mut cnonce: impl FnMut() -> String) {
        for asker in [Asker::Server, Asker::Proxy] {
            request.headers.remove(&asker.answer_header());
        }
        let uri = request.uri.to_string();
        let method = request.method.as_str().to_owned();
        for session in &mut self.sessions {
            let realm = &session.challenge.realm;
            let Some(credentials) = self.credentials.iter().find(|one| one.fits(realm)) else { continue };
            if let Some(answer) = session.answer(credentials, &method, &uri, cnonce()) {
                request.headers.push(session.asker.answer_header(), answer);
            }
        }
    }
}

impl Session {
    fn answer(&mut self, credentials: &Credentials, method: &str, uri: &str, cnonce: String) -> Option<Authorization> {
        let Self { challenge, algorithm, .. } = &*self;
        let ha1 = credentials.ha1(algorithm.hash, &challenge.realm)?;
        let has_auth = challenge.has_auth();
        let count = self.count + u32::from(has_auth);
        let response = ha1.response(&Inputs {
            algorithm: *algorithm,
            nonce: &challenge.nonce,
            method,
            uri,
            auth: has_auth.then_some((count, &cnonce)),
            cnonce: &cnonce,
        });
        let needs_cnonce = has_auth || algorithm.is_session;
        let answer = Authorization {
            username: credentials.username().to_owned(),
            realm: challenge.realm.clone(),
            nonce: challenge.nonce.clone(),
            uri: uri.to_owned(),
            response,
            algorithm: Some(*algorithm),
            opaque: challenge.opaque.clone(),
            qop: has_auth.then(|| "auth".to_owned()),
            nonce_count: has_auth.then_some(count),
            cnonce: needs_cnonce.then_some(cnonce),
        };
        self.count = count;
        Some(answer)
    }
}

impl Attempts {
    fn add(&mut self, asker: Asker, challenge: &Challenge) -> Result<(), ChallengeRefusal> {
        let is_full = self.0.len() >= SESSION_LIMIT;
        let seen = self.0.iter_mut().find(|attempt| attempt.asker == asker && attempt.realm == challenge.realm);
        match seen {
            Some(attempt) if challenge.is_stale && !attempt.was_stale => attempt.was_stale = true,
            Some(_) => return Err(ChallengeRefusal::WrongCredentials),
            None if is_full => return Err(ChallengeRefusal::Unsupported),
            None => self.0.push(Attempt { asker, realm: challenge.realm.clone(), was_stale: false }),
        }
        Ok(())
    }
}

/// Each once, in order.
fn realms(challenges: &[Challenge]) -> Vec<&str> {
    let mut realms: Vec<&str> = Vec::new();
    for challenge in challenges {
        if !realms.contains(&challenge.realm.as_str()) {
            realms.push(&challenge.realm);
        }
    }
    realms
}
