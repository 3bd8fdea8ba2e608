//! What a stream tells its call. Keys and clips are few and small and always told; sound is told through a channel of its
//! own, which is there only while somebody listens: most calls only play something, or are bridged, and the room for sound
//! is a fifth of the memory of a call.

use std::time::{Duration, Instant};

use audio::Frame;
use audio::playout::ClipId;
use audio::rtp::FrameKind;
use tokio::sync::mpsc;

/// Keys and clips that wait for one call.
const NOTE_LIMIT: usize = 64;
/// Sounds likewise: 1.3 s of both directions.
const SOUND_LIMIT: usize = 128;

/// What a stream tells its call.
#[derive(Debug)]
pub enum MediaEvent {
    /// 20 ms from the jitter buffer.
    Frame {
        /// The sound.
        frame: Frame,
        /// Heard, concealed or nothing there.
        kind: FrameKind,
        /// When it left the jitter buffer.
        at: Instant,
    },
    /// 20 ms that we said ourselves, not what another leg brought: it can come back in the frame that is told next. Silence
    /// is told only where that was asked for ([`MediaSession::tap`](super::MediaSession::tap)).
    Said(Frame),
    /// A keypad digit was pressed (RFC 4733).
    Digit(char),
    /// The first packet of a clip was sent.
    ClipStarted {
        /// Which.
        clip: ClipId,
        /// When.
        at: Instant,
    },
    /// The last packet of a clip was sent.
    ClipFinished {
        /// Which.
        clip: ClipId,
        /// When.
        at: Instant,
    },
    /// A clip was stopped, or thrown away before it began.
    ClipStopped {
        /// Which.
        clip: ClipId,
        /// How much of it went out.
        heard: Duration,
    },
}

/// What is always told.
#[derive(Debug)]
pub(super) enum Note {
    Digit(char),
    ClipStarted {
        clip: ClipId,
        at: Instant,
    },
    ClipFinished {
        clip: ClipId,
        at: Instant,
    },
    ClipStopped {
        clip: ClipId,
        heard: Duration,
    },
    /// Somebody listens from now on: here it comes.
    Sounds(mpsc::Receiver<Sound>),
}

/// What is told to who listens.
#[derive(Debug)]
pub(super) enum Sound {
    Frame { frame: Frame, kind: FrameKind, at: Instant },
    Said(Frame),
}

impl From<Sound> for MediaEvent {
    fn from(sound: Sound) -> MediaEvent {
        match sound {
            Sound::Frame { frame, kind, at } => MediaEvent::Frame { frame, kind, at },
            Sound::Said(frame) => MediaEvent::Said(frame),
        }
    }
}

/// The end of the call. What it does not take in time is lost, and counted.
#[derive(Debug)]
pub struct MediaEvents {
    notes: mpsc::Receiver<Note>,
    sounds: Option<mpsc::Receiver<Sound>>,
}

/// The end of the stream.
#[derive(Debug)]
pub(super) struct Teller {
    notes: mpsc::Sender<Note>,
    sounds: Option<mpsc::Sender<Sound>>,
    /// What the call did not take in time.
    pub(super) dropped: u64,
}

/// Room for sounds, made where allocating holds up nobody.
#[derive(Debug)]
pub(super) struct Room(mpsc::Sender<Sound>, mpsc::Receiver<Sound>);

impl Room {
    pub(super) fn new() -> Room {
        let (sender, receiver) = mpsc::channel(SOUND_LIMIT);
        Room(sender, receiver)
    }
}

/// Both ends.
pub(super) fn channel() -> (Teller, MediaEvents) {
    let (sender, receiver) = mpsc::channel(NOTE_LIMIT);
    let teller = Teller { notes: sender, sounds: None, dropped: 0 };
    (teller, MediaEvents { notes: receiver, sounds: None })
}

impl MediaEvents {
    /// The next event; `None` when the stream is closed. Nothing is lost when this is given up half-way.
    pub async fn recv(&mut self) -> Option<MediaEvent> {
        loop {
            let note = tokio::select! {
                biased;
                note = self.notes.recv() => note?,
                sound = next(&mut self.sounds) => match sound {
                    Some(sound) => return Some(sound.into()),
                    None => {
                        self.sounds = None;
                        continue;
                    }
                },
            };
            if let Some(event) = self.event(note) {
                return Some(event);
            }
        }
    }

    /// An event that waits; `None` if none does.
    pub fn try_recv(&mut self) -> Option<MediaEvent> {
        while let Ok(note) = self.notes.try_recv() {
            if let Some(event) = self.event(note) {
                return Some(event);
            }
        }
        self.sounds.as_mut()?.try_recv().ok().map(MediaEvent::from)
    }

    fn event(&mut self, note: Note) -> Option<MediaEvent> {
        Some(match note {
            Note::Digit(digit) => MediaEvent::Digit(digit),
            Note::ClipStarted { clip, at } => MediaEvent::ClipStarted { clip, at },
            Note::ClipFinished { clip, at } => MediaEvent::ClipFinished { clip, at },
            Note::ClipStopped { clip, heard } => MediaEvent::ClipStopped { clip, heard },
            Note::Sounds(sounds) => {
                self.sounds = Some(sounds);
                return None;
            }
        })
    }
}

async fn next(sounds: &mut Option<mpsc::Receiver<Sound>>) -> Option<Sound> {
    match sounds {
        Some(sounds) => sounds.recv().await,
        None => std::future::pending().await,
    }
}

impl Teller {
    pub(super) fn note(&mut self, note: Note) {
        self.dropped += u64::from(self.notes.try_send(note).is_err());
    }

    pub(super) fn sound(&mut self, sound: Sound) {
        if let Some(sounds) = &self.sounds {
            self.dropped += u64::from(sounds.try_send(sound).is_err());
        }
    }

    /// Somebody listens from now on. Who does already goes on.
    pub(super) fn open(&mut self, Room(sender, receiver): Room) {
        if self.sounds.is_none() && self.notes.try_send(Note::Sounds(receiver)).is_ok() {
            self.sounds = Some(sender);
        }
    }

    /// Nobody does any more.
    pub(super) fn close(&mut self) {
        self.sounds = None;
    }
}

#[cfg(test)]
mod tests {
    use audio::SILENT_FRAME;

    use super::*;

    fn said(events: &mut MediaEvents) -> Option<i16> {
        let MediaEvent::Said(frame) = events.try_recv()? else { panic!("not a sound") };
        Some(frame[0])
    }

    #[test]
    fn sound_is_told_while_somebody_listens() {
        let (mut teller, mut events) = channel();
        teller.sound(Sound::Said([1; 160]));
        assert!(events.try_recv().is_none());
        teller.open(Room::new());
        teller.sound(Sound::Said([2; 160]));
        // Who listens twice loses nothing.
        teller.open(Room::new());
        teller.sound(Sound::Said([3; 160]));
        assert_eq!([said(&mut events), said(&mut events), said(&mut events)], [Some(2), Some(3), None]);
        teller.close();
        teller.sound(Sound::Said([4; 160]));
        teller.open(Room::new());
        teller.sound(Sound::Said([5; 160]));
        assert_eq!([said(&mut events), said(&mut events)], [Some(5), None]);
        assert_eq!(teller.dropped, 0);
    }

    #[tokio::test]
    async fn notes_are_told_always_and_before_the_sound() {
        let (mut teller, mut events) = channel();
        teller.open(Room::new());
        teller.sound(Sound::Said(SILENT_FRAME));
        teller.note(Note::Digit('7'));
        assert!(matches!(events.recv().await, Some(MediaEvent::Digit('7'))));
        assert!(matches!(events.recv().await, Some(MediaEvent::Said(_))));
        teller.close();
        teller.note(Note::Digit('8'));
        assert!(matches!(events.recv().await, Some(MediaEvent::Digit('8'))));
        drop(teller);
        assert!(events.recv().await.is_none());
    }

    #[test]
    fn what_is_not_taken_in_time_is_counted() {
        let (mut teller, _events) = channel();
        teller.open(Room::new());
        (0..SOUND_LIMIT + 3).for_each(|_| teller.sound(Sound::Said(SILENT_FRAME)));
        assert_eq!(teller.dropped, 3);
    }
}
