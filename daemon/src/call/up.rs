//! Calls that are up: who talks in each, and whoever else hears it, live.
//!
//! A listener takes what both sides say from a ring of the last second. One that is slower loses the oldest of it and is
//! told how much; nobody waits for it. What keeps a call as sound takes the same pairs of frames ([`Tap`](super::tap::Tap)).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use audio::Frame;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, watch};

use super::bridge::Party;
use super::incoming::{CallerKind, Incoming, user_of};
use crate::io::media::MediaPeer;
use crate::redact::Redacted;
use crate::storage::{CallId, Leg, UnixMs};

/// How often it is looked whether calls are still up.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Listeners of one call at the same time.
pub const LISTENER_LIMIT: usize = 4;
/// 20 ms of both sides that a slow listener may be behind: 1.28 s.
const RING_FRAMES: usize = 64;

/// What was heard within 20 ms: of the caller, and of whoever talks with them.
pub type Moment = [Frame; 2];

/// All calls that are up; cheap to clone.
#[derive(Clone, Default)]
pub struct CallsUp(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<BTreeMap<CallId, Up>>,
    /// Told when somebody begins to talk.
    talks: watch::Sender<()>,
}

/// The ring, from the first listener on: most calls have none.
type Sound = Arc<OnceLock<broadcast::Sender<Arc<Moment>>>>;

/// What was said, as text, in a talk with the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// Whether the caller said it; otherwise it was the box.
    pub by_caller: bool,
    /// The words; personal data.
    pub text: Redacted<String>,
    /// Whether that is all of it: while a caller speaks there are partial transcripts.
    pub is_final: bool,
}

/// Words that a slow listener may be behind.
const RING_WORDS: usize = 16;

struct Up {
    from: Option<String>,
    to: Option<String>,
    /// When it was answered; before that it is not up.
    since: Option<UnixMs>,
    talk: watch::Sender<Talk>,
    sound: Sound,
    words: broadcast::Sender<Words>,
    listeners: watch::Sender<usize>,
    /// There is one.
    supervisor: Arc<Semaphore>,
    /// While the attendant talks with the caller: whoever wants to instead.
    take_over: Option<mpsc::Sender<TakeOver>>,
    /// Of each side's sound, when it was last looked at.
    jitter_ms: BTreeMap<Leg, f64>,
}

/// Somebody of the office who wants the caller that the attendant talks with.
pub(super) struct TakeOver {
    /// Whose extension.
    pub(super) by: String,
    /// Their phone; without it, theirs ring.
    pub(super) phone: Option<Box<Party>>,
}

/// Who talks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Talk {
    /// It is not answered yet.
    #[default]
    Nobody,
    /// The caller hears music, or what is announced to them.
    Waiting(Seat),
    /// The caller and the box.
    Attendant(Seat),
    /// Two people: the one who called, and the other.
    People([Seat; 2]),
    /// A phone and the box, by a code.
    Feature,
}

/// Somebody in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) sound: MediaPeer,
    /// Theirs, if they are of the office.
    pub(super) extension: Option<String>,
}

impl Seat {
    pub(super) fn new(sound: MediaPeer, who: &CallerKind) -> Seat {
        let extension = match who {
            CallerKind::Extension(extension) => Some(extension.clone()),
            CallerKind::Trunk(_) | CallerKind::Guest => None,
        };
        Seat { sound, extension }
    }
}

impl Talk {
    fn kind(&self) -> &'static str {
        match self {
            Talk::Nobody | Talk::Waiting(_) => "waiting",
            Talk::Attendant(_) => "attendant",
            Talk::People(_) => "people",
            Talk::Feature => "feature",
        }
    }

    /// Whether two talk.
    fn is_heard(&self) -> bool {
        match self {
            Talk::Attendant(_) | Talk::People(_) => true,
            Talk::Nobody | Talk::Waiting(_) | Talk::Feature => false,
        }
    }

    fn extensions(&self) -> Vec<String> {
        let seats: &[Seat] = match self {
            Talk::Nobody | Talk::Feature => &[],
            Talk::Waiting(caller) | Talk::Attendant(caller) => std::slice::from_ref(caller),
            Talk::People(seats) => seats,
        };
        seats.iter().filter_map(|seat| seat.extension.clone()).collect()
    }
}

/// A call that is up, for whoever asks from outside.
#[derive(Debug, Clone)]
pub struct UpCall {
    /// The key of its row.
    pub call_id: CallId,
    /// Who called, as their side says.
    pub from: Option<Redacted<String>>,
    /// What they dialled.
    pub to: Option<Redacted<String>>,
    /// When it was answered.
    pub since: UnixMs,
    /// `waiting`, `attendant`, `people` or `feature`: with whom the caller talks at this moment.
    pub kind: &'static str,
    /// Extensions that are in it at this moment.
    pub extensions: Vec<String>,
}

/// Why a call cannot be listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// None that is up has an id that begins so.
    #[error("no call with this id is up")]
    NoSuchCall,
    /// More than one has.
    #[error("more than one call that is up has an id that begins so")]
    Ambiguous,
    /// There are [`LISTENER_LIMIT`].
    #[error("{LISTENER_LIMIT} listen to this call already, and no more may")]
    TooMany,
}

/// Why a call cannot be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TakeOverError {
    /// None that is up has an id that begins so.
    #[error("no call with this id is up")]
    NoSuchCall,
    /// More than one has.
    #[error("more than one call that is up has an id that begins so")]
    Ambiguous,
    /// The attendant does not talk with its caller.
    #[error("the attendant does not talk with this caller, or no more")]
    NotAttended,
}

/// How calls are at this moment, for whoever shares the line with them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Line {
    /// Calls that are up or ring.
    pub calls: usize,
    /// The highest interarrival jitter of any leg (RFC 3550 §6.4.1) within the last second or two, in milliseconds.
    pub jitter_ms: f64,
}

/// Somebody who hears a call, live; dropped, they do not any more.
pub struct Listening {
    /// Which.
    pub call_id: CallId,
    sound: broadcast::Receiver<Arc<Moment>>,
    words: broadcast::Receiver<Words>,
    listeners: watch::Sender<usize>,
}

/// What a listener gets.
#[derive(Debug, Clone)]
pub enum Heard {
    /// The next 20 ms.
    Moment(Arc<Moment>),
    /// What was said, as text.
    Words(Words),
    /// So many moments are lost, because the listener was too slow.
    Dropped(u64),
    /// The call is over.
    Over,
}

/// A call that somebody supervises; dropped, they do not any more.
pub(super) struct Supervised {
    pub(super) call_id: CallId,
    /// Who talks in it; closed when it is over.
    pub(super) talk: watch::Receiver<Talk>,
    _place: OwnedSemaphorePermit,
}

/// A call's way to those who hear it, for the task that has it at the moment.
pub(super) struct Outlet {
    sound: Sound,
    words: broadcast::Sender<Words>,
    listeners: watch::Receiver<usize>,
}

/// A call while it lasts; dropped, it is not up any more, and whoever listens is told.
pub(super) struct Entry {
    calls: CallsUp,
    call_id: CallId,
}

impl CallsUp {
    fn table(&self) -> MutexGuard<'_, BTreeMap<CallId, Up>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that came in.
    pub(super) fn enter(&self, incoming: &Incoming) -> Entry {
        let from = incoming.from().and_then(|from| user_of(&from.uri));
        self.insert(incoming.call_id, from, incoming.called())
    }

    /// A call that the box places for a desk.
    pub(super) fn enter_outbound(&self, call_id: CallId, from: &str, to: &str) -> Entry {
        self.insert(call_id, Some(from.to_owned()), Some(to.to_owned()))
    }

    fn insert(&self, call_id: CallId, from: Option<String>, to: Option<String>) -> Entry {
        let (sound, listeners, talk) = (Sound::default(), watch::Sender::new(0), watch::Sender::new(Talk::Nobody));
        let supervisor = Arc::new(Semaphore::new(1));
        let words = broadcast::Sender::new(RING_WORDS);
        let jitter_ms = BTreeMap::new();
        let up = Up { from, to, since: None, talk, sound, words, listeners, supervisor, take_over: None, jitter_ms };
        self.table().insert(call_id, up);
        Entry { calls: self.clone(), call_id }
    }

    /// Who talks from now on. The first who does has answered.
    pub(super) fn note(&self, call_id: CallId, talk: Talk) {
        if let Some(up) = self.table().get_mut(&call_id) {
            up.since.get_or_insert_with(UnixMs::now);
            up.talk.send_replace(talk);
        }
        self.0.talks.send_replace(());
    }

    /// What the attendant of a call is told by those who want its caller; until it is dropped.
    pub(super) fn attend(&self, call_id: CallId) -> mpsc::Receiver<TakeOver> {
        let (take_over, wanted) = mpsc::channel(1);
        if let Some(up) = self.table().get_mut(&call_id) {
            up.take_over = Some(take_over);
        }
        wanted
    }

    /// Has the phones of extension `by` ring for the caller of the call whose id begins with `id`, with whom the attendant
    /// talks.
    ///
    /// # Errors
    /// [`TakeOverError`].
    pub fn take_over(&self, id: &str, by: &str) -> Result<CallId, TakeOverError> {
        let table = self.table();
        let (call_id, up) = one_of(&table, id).map_err(|error| match error {
            ListenError::Ambiguous => TakeOverError::Ambiguous,
            ListenError::NoSuchCall | ListenError::TooMany => TakeOverError::NoSuchCall,
        })?;
        up.give(TakeOver { by: by.to_owned(), phone: None }).map_err(|_| TakeOverError::NotAttended)?;
        Ok(call_id)
    }

    /// Whether the attendant talks with anybody.
    pub(super) fn is_anybody_attended(&self) -> bool {
        self.table().values().any(Up::is_attended)
    }

    /// Gives the latest caller with whom the attendant talks to `phone`, of extension `by`. Without one any more it is
    /// hung up; which call it is.
    pub(super) fn take_over_latest(&self, by: &str, phone: Party) -> Option<CallId> {
        let table = self.table();
        let (call_id, up) = table.iter().rev().find(|(_, up)| up.is_attended())?;
        up.give(TakeOver { by: by.to_owned(), phone: Some(Box::new(phone)) }).ok().map(|()| *call_id)
    }

    /// Changes whenever who talks in a call does.
    pub(super) fn talks(&self) -> watch::Receiver<()> {
        self.0.talks.subscribe()
    }

    /// Where the sound of a call goes; `None` once it is over.
    pub(super) fn outlet(&self, call_id: CallId) -> Option<Outlet> {
        let table = self.table();
        let up = table.get(&call_id)?;
        let listeners = up.listeners.subscribe();
        Some(Outlet { sound: Arc::clone(&up.sound), words: up.words.clone(), listeners })
    }

    /// The call that `extension` is in, or the one that somebody has with the box, or any; of several the latest. `None` if
    /// there is none, and an error if it is supervised already.
    pub(super) fn supervise(&self, extension: Option<&str>) -> Option<Result<Supervised, ()>> {
        let table = self.table();
        let latest = |wanted: &dyn Fn(&Talk) -> bool| table.iter().rev().find(|(_, up)| wanted(&up.talk.borrow()));
        let (call_id, up) = match extension {
            Some(extension) => latest(&|talk| talk.is_heard() && talk.extensions().iter().any(|one| one == extension)),
            None => latest(&|talk| matches!(talk, Talk::Attendant(_))).or_else(|| latest(&Talk::is_heard)),
        }?;
        let (call_id, talk) = (*call_id, up.talk.subscribe());
        let place = Arc::clone(&up.supervisor).try_acquire_owned().map_err(drop);
        Some(place.map(|place| Supervised { call_id, talk, _place: place }))
    }

    /// How one side of a call sounds now.
    pub(super) fn note_jitter(&self, call_id: CallId, leg: Leg, jitter_ms: f64) {
        if let Some(up) = self.table().get_mut(&call_id) {
            up.jitter_ms.insert(leg, jitter_ms);
        }
    }

    /// How calls are now.
    pub fn line(&self) -> Line {
        let table = self.table();
        let jitter = table.values().flat_map(|up| up.jitter_ms.values().copied());
        Line { calls: table.len(), jitter_ms: jitter.fold(0.0, f64::max) }
    }

    /// Those that are answered, the oldest first.
    pub fn list(&self) -> Vec<UpCall> {
        let shown = |(call_id, up): (&CallId, &Up)| {
            let talk = up.talk.borrow();
            Some(UpCall {
                call_id: *call_id,
                from: up.from.clone().map(Redacted::new),
                to: up.to.clone().map(Redacted::new),
                since: up.since?,
                kind: talk.kind(),
                extensions: talk.extensions(),
            })
        };
        self.table().iter().filter_map(shown).collect()
    }

    /// Returns when nobody calls: for work that a caller would have to wait for.
    pub(crate) async fn until_none(&self) {
        while !self.list().is_empty() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Hears the call whose id begins with `id` from now on.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn listen(&self, id: &str) -> Result<Listening, ListenError> {
        let table = self.table();
        let (call_id, up) = one_of(&table, id)?;
        up.hear(call_id).ok_or(ListenError::TooMany)
    }

    /// Hears the latest call in which two talk and that may still be listened to, from now on.
    pub(super) fn listen_to_latest(&self) -> Option<Listening> {
        let table = self.table();
        let mut talks = table.iter().rev().filter(|(_, up)| up.talk.borrow().is_heard());
        talks.find_map(|(call_id, up)| up.hear(*call_id))
    }
}

/// The call that is answered and whose id begins with `id`.
fn one_of<'a>(table: &'a BTreeMap<CallId, Up>, id: &str) -> Result<(CallId, &'a Up), ListenError> {
    let mut found = table.iter().filter(|(call_id, up)| up.since.is_some() && call_id.to_string().starts_with(id));
    let (call_id, up) = found.next().filter(|_| !id.is_empty()).ok_or(ListenError::NoSuchCall)?;
    match found.next() {
        Some(_) => Err(ListenError::Ambiguous),
        None => Ok((*call_id, up)),
    }
}

impl Up {
    fn is_attended(&self) -> bool {
        self.take_over.as_ref().is_some_and(|take_over| !take_over.is_closed())
    }

    /// Fails where nobody takes it, or somebody else was quicker.
    fn give(&self, wanted: TakeOver) -> Result<(), ()> {
        self.take_over.as_ref().ok_or(())?.try_send(wanted).map_err(drop)
    }

    /// `None` if [`LISTENER_LIMIT`] hear it already.
    fn hear(&self, call_id: CallId) -> Option<Listening> {
        let has_room = self.listeners.send_if_modified(|listeners| {
            let has_room = *listeners < LISTENER_LIMIT;
            *listeners += usize::from(has_room);
            has_room
        });
        let sound = || self.sound.get_or_init(|| broadcast::Sender::new(RING_FRAMES)).subscribe();
        has_room.then(|| Listening {
            call_id,
            sound: sound(),
            words: self.words.subscribe(),
            listeners: self.listeners.clone(),
        })
    }
}

impl Listening {
    /// What comes next; waits for it. Nothing is lost when this is given up half-way.
    pub async fn next(&mut self) -> Heard {
        let sound = tokio::select! {
            biased;
            // Its end is that of the sound, too; what was not read of it in time is gone.
            Ok(words) = self.words.recv() => return Heard::Words(words),
            sound = self.sound.recv() => sound,
        };
        match sound {
            Ok(moment) => Heard::Moment(moment),
            Err(RecvError::Lagged(moments)) => Heard::Dropped(moments),
            Err(RecvError::Closed) => Heard::Over,
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listeners.send_modify(|listeners| *listeners -= 1);
    }
}

impl Outlet {
    /// Whether anybody listens.
    pub(super) fn is_heard(&self) -> bool {
        *self.listeners.borrow() > 0
    }

    /// Returns when a listener has come or gone.
    pub(super) async fn changed(&mut self) {
        if self.listeners.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// For all who listen; never waits.
    pub(super) fn tell(&self, moment: Moment) {
        if self.is_heard()
            && let Some(sound) = self.sound.get()
        {
            // Whoever listened has gone in the same moment.
            let _ = sound.send(Arc::new(moment));
        }
    }

    /// The same in words.
    pub(super) fn tell_words(&self, words: Words) {
        if self.is_heard() {
            let _ = self.words.send(words);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.calls.table().remove(&self.call_id);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use audio::SILENT_FRAME;

    use super::*;

    /// A call that was answered, and its outlet.
    pub(in crate::call) fn one_call() -> (CallsUp, Entry, Outlet) {
        let (calls, call_id) = (CallsUp::default(), CallId::new(UnixMs(1)));
        let entry = calls.insert(call_id, Some("+12125550142".into()), Some("101".into()));
        assert!(calls.list().is_empty(), "it is not answered yet");
        calls.note(call_id, Talk::Feature);
        let outlet = calls.outlet(call_id).unwrap();
        (calls, entry, outlet)
    }

    #[tokio::test]
    async fn a_listener_hears_what_comes_and_then_that_it_is_over() {
        let (calls, entry, outlet) = one_call();
        let listed = calls.list();
        assert_eq!((listed.len(), listed[0].kind, listed[0].call_id), (1, "feature", entry.call_id));
        let id = entry.call_id.to_string();
        let mut listening = calls.listen(&id).unwrap();
        outlet.tell([[7; 160], SILENT_FRAME]);
        assert!(matches!(listening.next().await, Heard::Moment(moment) if moment[0][0] == 7 && moment[1][0] == 0));
        drop((entry, outlet));
        assert!(matches!(listening.next().await, Heard::Over));
        assert!(matches!(calls.listen(&id), Err(ListenError::NoSuchCall)));
    }

    #[tokio::test]
    async fn whoever_listens_reads_along() {
        let (calls, entry, outlet) = one_call();
        let words = |text: &str| Words { by_caller: true, text: Redacted::new(text.into()), is_final: false };
        outlet.tell_words(words("nobody listens"));
        let mut listening = calls.listen(&entry.call_id.to_string()).unwrap();
        outlet.tell_words(words("are you open"));
        outlet.tell([SILENT_FRAME; 2]);
        assert!(matches!(listening.next().await, Heard::Words(told) if told == words("are you open")));
        assert!(matches!(listening.next().await, Heard::Moment(_)));
        drop((entry, outlet));
        assert!(matches!(listening.next().await, Heard::Over));
    }

    #[tokio::test]
    async fn whoever_is_slow_loses_the_oldest_and_is_told_how_much() {
        let (calls, entry, outlet) = one_call();
        let mut listening = calls.listen(&entry.call_id.to_string()).unwrap();
        (0..100).for_each(|number| outlet.tell([[number; 160]; 2]));
        let Heard::Dropped(dropped) = listening.next().await else { panic!("nothing is said to be lost") };
        assert_eq!(dropped, 100 - RING_FRAMES as u64);
        assert!(matches!(listening.next().await, Heard::Moment(moment) if moment[0][0] == dropped as i16));
    }

    #[tokio::test]
    async fn only_so_many_may_listen_and_the_call_knows_when_they_come_and_go() {
        let (calls, entry, mut outlet) = one_call();
        let id = entry.call_id.to_string();
        assert!(!outlet.is_heard());
        let mut all: Vec<_> = (0..LISTENER_LIMIT).map(|_| calls.listen(&id[..8]).unwrap()).collect();
        outlet.changed().await;
        assert!(outlet.is_heard());
        assert!(matches!(calls.listen(&id), Err(ListenError::TooMany)));
        all.pop();
        all.push(calls.listen(&id).unwrap());
        drop(all);
        outlet.changed().await;
        assert!(!outlet.is_heard());
    }

    #[test]
    fn the_latest_in_which_two_talk_is_heard_while_there_is_room() {
        let (calls, entry, _outlet) = one_call();
        let talks = calls.talks();
        assert!(calls.listen_to_latest().is_none(), "nobody talks with anybody");
        calls.note(entry.call_id, Talk::People([(); 2].map(|()| Seat { sound: MediaPeer::CLOSED, extension: None })));
        assert!(talks.has_changed().unwrap());
        let all: Vec<_> = (0..LISTENER_LIMIT).map_while(|_| calls.listen_to_latest()).collect();
        assert!(all.len() == LISTENER_LIMIT && all.iter().all(|one| one.call_id == entry.call_id));
        assert!(calls.listen_to_latest().is_none(), "it is full");
    }

    /// One at a time, and only while the attendant talks with the caller.
    #[test]
    fn a_caller_is_taken_over_while_the_attendant_has_them() {
        let (calls, entry, _outlet) = one_call();
        let id = entry.call_id.to_string();
        assert_eq!(calls.take_over(&id, "101"), Err(TakeOverError::NotAttended));
        let mut wanted = calls.attend(entry.call_id);
        assert!(calls.is_anybody_attended());
        assert_eq!(calls.take_over(&id[..8], "101"), Ok(entry.call_id));
        assert_eq!(calls.take_over(&id, "102"), Err(TakeOverError::NotAttended), "somebody was quicker");
        assert!(wanted.try_recv().is_ok_and(|wanted| wanted.by == "101" && wanted.phone.is_none()));
        drop(wanted);
        assert!(!calls.is_anybody_attended());
        assert_eq!(calls.take_over(&id, "101"), Err(TakeOverError::NotAttended));
        drop(entry);
        assert_eq!(calls.take_over(&id, "101"), Err(TakeOverError::NoSuchCall));
    }

    #[test]
    fn an_id_has_to_be_of_one_call() {
        let calls = CallsUp::default();
        let both = [(); 2].map(|()| calls.insert(CallId::new(UnixMs(1)), None, None));
        both.iter().for_each(|entry| calls.note(entry.call_id, Talk::Feature));
        assert!(matches!(calls.listen("0"), Err(ListenError::Ambiguous)));
        assert!(matches!(calls.listen(""), Err(ListenError::NoSuchCall)));
        assert!(matches!(calls.listen("x"), Err(ListenError::NoSuchCall)));
    }

    #[test]
    fn the_line_is_as_poor_as_the_poorest_leg_of_the_calls_that_are_up() {
        let (calls, entry, _outlet) = one_call();
        let (poor, poor_id) = (Leg::Callee, CallId::new(UnixMs(2)));
        assert_eq!(calls.line(), Line { calls: 1, jitter_ms: 0.0 });
        let rings = calls.insert(poor_id, None, None);
        for (call_id, leg, jitter_ms) in
            [(entry.call_id, Leg::Caller, 3.0), (poor_id, poor, 40.0), (poor_id, poor, 20.0)]
        {
            calls.note_jitter(call_id, leg, jitter_ms);
        }
        assert_eq!(calls.line(), Line { calls: 2, jitter_ms: 20.0 });
        drop(rings);
        calls.note_jitter(poor_id, poor, 50.0);
        assert_eq!(calls.line(), Line { calls: 1, jitter_ms: 3.0 }, "what is over disturbs nobody");
        drop(entry);
        assert_eq!(calls.line(), Line::default());
    }
}
