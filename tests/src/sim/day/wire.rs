//! What holds of everything that passes between two parties, whatever is lost on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sip_stack::message::{Message, Method, Request, Response, StatusCode};

use super::{NAMES, Side};

/// How often one message may be sent without being asked for: Timer E fires ten times, and so does the one of a 2xx.
const SENDS: usize = 12;
/// How long a server remembers a request at least: Timer J is 32 s, and a process that stands still hears late.
const MEMORY: Duration = Duration::from_secs(31);
/// How long a 2xx that comes again gets its ACK again (Timer M).
const TIMER_M: Duration = Duration::from_secs(32);

/// Watches the wire for broken laws. Times are those of the party, which may differ from each other.
#[derive(Debug, Default)]
pub(super) struct WireLaws {
    /// Each distinct message: who sent it under which name, its bytes, how often.
    sent: BTreeMap<(Side, Name), (Vec<u8>, usize)>,
    /// The highest CSeq of each dialog or series of requests, and the numbers of its INVITEs.
    numbers: BTreeMap<(Side, String, String), (u32, BTreeSet<u32>)>,
    /// Requests that arrived, by the side they came to.
    heard: BTreeMap<(Side, String, String), Heard>,
    /// 2xx to an INVITE that arrived, by the side they came to, Call-ID, CSeq and To tag.
    answers: BTreeMap<(Side, String, u32, String), Answer>,
    /// Own INVITEs whose transaction has ended without response.
    given_up: BTreeSet<(Side, String)>,
    /// 2xx that have just arrived and need an ACK, with the number of ACKs before.
    owed: Vec<((Side, String, u32, String), usize)>,
}

/// What names a message: two with one name are the same message, sent again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Request { branch: String, method: String },
    Response { branch: String, method: String, status: u16, rseq: Option<u32> },
}

/// A request as its server sees it.
#[derive(Debug)]
struct Heard {
    times: usize,
    /// It has come again when its transaction was already over: late, or after a leap of the server's clock.
    may_be_forgotten: bool,
    first: Instant,
    epoch: usize,
    /// It is well-formed and not an ACK.
    wants_final: bool,
    finals: BTreeSet<u16>,
    to_tags: BTreeSet<String>,
}

#[derive(Debug)]
struct Answer {
    first: Instant,
    epoch: usize,
    acks: usize,
    /// Its INVITE was known when it came first.
    is_ours: bool,
}

impl WireLaws {
    /// A message has reached `side`.
    pub(super) fn arrived(&mut self, side: Side, message: &Message, now: Instant, epoch: usize) {
        match message {
            Message::Request(request) => self.heard_request(side, request, now, epoch),
            Message::Response(response) => self.heard_response(side, response, now, epoch),
        }
    }

    fn heard_request(&mut self, side: Side, request: &Request, now: Instant, epoch: usize) {
        let Some(branch) = branch(&request.headers) else { return };
        let key = (side, branch, request.method.as_str().to_owned());
        let wants_final = request.method != Method::Ack && request.check().is_ok();
        let heard = self.heard.entry(key).or_insert_with(|| Heard {
            times: 0,
            may_be_forgotten: false,
            first: now,
            epoch,
            wants_final,
            finals: BTreeSet::new(),
            to_tags: BTreeSet::new(),
        });
        heard.times += 1;
        let age = now.saturating_duration_since(heard.first);
        heard.may_be_forgotten |= heard.epoch != epoch || age >= MEMORY;
    }

    fn heard_response(&mut self, side: Side, response: &Response, now: Instant, epoch: usize) {
        let headers = &response.headers;
        let (Ok(cseq), Ok(call_id)) = (headers.cseq(), headers.call_id()) else { return };
        if cseq.method != Method::Invite || !response.status.is_success() {
            return;
        }
        let is_ours = !self.given_up.contains(&(side, call_id.clone()));
        let key = (side, call_id, cseq.number, to_tag(headers));
        let answer = self.answers.entry(key.clone()).or_insert(Answer { first: now, epoch, acks: 0, is_ours });
        // The answer of a late offer takes its time; from the second 2xx on there is an ACK to repeat.
        let is_due = now.saturating_duration_since(answer.first) < TIMER_M && answer.epoch == epoch;
        if is_due && answer.is_ours && answer.acks > 0 {
            self.owed.push((key, answer.acks));
        }
    }

    /// `side` sends a message.
    pub(super) fn sent(&mut self, side: Side, message: &Message, bytes: &[u8], epoch: usize) {
        let headers = message.headers();
        let Some(branch) = branch(headers) else { panic!("{} sends a message without a branch", NAMES[side]) };
        let name = match message {
            Message::Request(request) => Name::Request { branch, method: request.method.as_str().to_owned() },
            Message::Response(response) => Name::Response {
                branch,
                method: headers.cseq().expect("ours").method.as_str().to_owned(),
                status: response.status.as_u16(),
                rseq: headers.rseq().ok().flatten(),
            },
        };
        let (kept, times) = self.sent.entry((side, name.clone())).or_insert_with(|| (bytes.to_vec(), 0));
        *times += 1;
        let (is_first, times) = (*times == 1, *times);
        if let Name::Response { branch, method, .. } = &name
            && self.heard.get(&(side, branch.clone(), method.clone())).is_some_and(|heard| heard.may_be_forgotten)
        {
            // Served anew, as what it must look like.
            *kept = bytes.to_vec();
        }
        assert_eq!(
            String::from_utf8_lossy(kept),
            String::from_utf8_lossy(bytes),
            "{} repeats {name:?} with other bytes",
            NAMES[side]
        );
        match message {
            Message::Request(request) => self.sent_request(side, request, is_first, times),
            Message::Response(response) => self.sent_response(side, response, times, epoch),
        }
    }

    fn sent_request(&mut self, side: Side, request: &Request, is_first: bool, times: usize) {
        let headers = &request.headers;
        let call_id = headers.call_id().expect("ours");
        let number = headers.cseq().expect("ours").number;
        if request.method == Method::Ack {
            return self.sent_ack(side, call_id, number, request);
        }
        assert!(times <= SENDS, "{} sends {} {number} {times} times", NAMES[side], request.method);
        if !is_first {
            return;
        }
        let from_tag = headers.from().expect("ours").tag().unwrap_or_default().to_owned();
        let (highest, invites) = self.numbers.entry((side, call_id, from_tag)).or_default();
        if request.method == Method::Cancel {
            assert!(invites.contains(&number), "{} cancels an INVITE {number} that it never sent", NAMES[side]);
            return;
        }
        assert!(number > *highest, "{} sends {} {number} after {highest}", NAMES[side], request.method);
        *highest = number;
        if request.method == Method::Invite {
            invites.insert(number);
        }
    }

    fn sent_ack(&mut self, side: Side, call_id: String, number: u32, request: &Request) {
        let from_tag = request.headers.from().expect("ours").tag().unwrap_or_default().to_owned();
        let invites = self.numbers.get(&(side, call_id.clone(), from_tag)).map(|(_, invites)| invites);
        let is_known = invites.is_some_and(|invites| invites.contains(&number));
        assert!(is_known, "{} acknowledges an INVITE {number} that it never sent", NAMES[side]);
        if let Some(answer) = self.answers.get_mut(&(side, call_id, number, to_tag(&request.headers))) {
            answer.acks += 1;
        }
    }

    fn sent_response(&mut self, side: Side, response: &Response, times: usize, epoch: usize) {
        let headers = &response.headers;
        let method = headers.cseq().expect("ours").method.as_str().to_owned();
        let key = (side, branch(headers).expect("seen above"), method.clone());
        let Some(heard) = self.heard.get_mut(&key) else {
            panic!("{} answers a {method} that it never heard with {}", NAMES[side], response.status);
        };
        heard.may_be_forgotten |= heard.epoch != epoch;
        let most = SENDS + heard.times;
        let is_storm = times > most && !heard.may_be_forgotten;
        assert!(!is_storm, "{} sends {} to {method} {times} times", NAMES[side], response.status);
        if response.status != StatusCode::TRYING {
            heard.to_tags.insert(to_tag(headers));
        }
        if response.status.is_final() {
            heard.finals.insert(response.status.as_u16());
        }
        if !heard.may_be_forgotten {
            assert!(heard.finals.len() <= 1, "{} answers one {method} with {:?}", NAMES[side], heard.finals);
            assert!(heard.to_tags.len() <= 1, "{} changes the To tag of a {method}: {:?}", NAMES[side], heard.to_tags);
        }
    }

    /// `side` has been told that this INVITE of its own gets no answer: a 2xx after that is nobody's.
    pub(super) fn given_up(&mut self, side: Side, call_id: String) {
        self.given_up.insert((side, call_id));
    }

    /// Everything that follows from the last input has been sent.
    pub(super) fn check_drained(&mut self, side: Side) {
        let (due, others): (Vec<_>, Vec<_>) = self.owed.drain(..).partition(|((at, ..), _)| *at == side);
        self.owed = others;
        for (key, before) in due {
            assert!(self.answers[&key].acks > before, "{} does not acknowledge a repeated 2xx: {key:?}", NAMES[side]);
        }
    }

    /// Nothing moves any more.
    pub(super) fn check_end(&self) {
        for ((side, branch, method), heard) in &self.heard {
            assert!(
                !heard.wants_final || !heard.finals.is_empty(),
                "{} never answers a {method} ({branch})",
                NAMES[*side]
            );
        }
        for ((side, call_id, number, _), answer) in &self.answers {
            let is_exempt = !answer.is_ours || self.given_up.contains(&(*side, call_id.clone()));
            assert!(answer.acks > 0 || is_exempt, "{} never acknowledges a 2xx to {number} of {call_id}", NAMES[*side]);
        }
    }
}

fn branch(headers: &sip_stack::message::Headers) -> Option<String> {
    headers.via().ok()?.branch().map(str::to_owned)
}

fn to_tag(headers: &sip_stack::message::Headers) -> String {
    headers.to().ok().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default()
}
