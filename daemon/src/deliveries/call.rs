//! A call that the cloud has taken, as rows: like one of the box's own, but for where it was taken.

use cloud_api::v1::{Sound, TakenCall, left_message::MessageEnd};
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::config::Config;
use crate::dial_plan::{self, Target};
use crate::office::Office;
use crate::redact::Redacted;
use crate::storage::{
    CallId, Direction, EndedSession, JobKind, NewAudio, NewSession, PeerAddressKind, Recording, RecordingId,
    RecordingKind, StorageError, Termination, UnixMs, Voicemail, VoicemailEnd, VoicemailId, VoicemailStatus,
    end_session, find_call, find_recording, find_voicemail, insert_recording, insert_session, insert_voicemail,
    mark_answered, queue_job,
};

/// Stands for the trunk where none has the number that was called.
const NO_TRUNK: &str = "cloud";
/// Why such a call ended: the box was not there for it.
const CAUSE: &str = "taken_by_cloud";

/// A call that the cloud has taken.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Taken {
    reference: String,
    caller: Option<String>,
    called: Option<String>,
    started_at: UnixMs,
    trunk: String,
    message: Option<Left>,
    call_id: CallId,
    recording_id: RecordingId,
    voicemail_id: VoicemailId,
}

/// Its message.
#[derive(Debug, Clone, PartialEq)]
struct Left {
    ended_at: UnixMs,
    duration_ms: u64,
    ended_by: VoicemailEnd,
    mailbox: Option<String>,
    sound: Option<Sound>,
}

/// The same key for the same thing.
fn key(at: UnixMs, what: &str, reference: &str) -> Uuid {
    let hash = Sha256::digest(format!("{what} {reference}"));
    let random = *hash.first_chunk().unwrap_or(&[0; 10]);
    uuid::Builder::from_unix_timestamp_millis(at.0.unsigned_abs(), &random).into_uuid()
}

impl Taken {
    /// As the cloud tells it; `office` and `config` say whose number was called.
    pub(super) fn new(call: &TakenCall, config: &Config, office: &Office) -> Taken {
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let (caller, called) = (text(&call.caller), text(&call.called));
        let (reference, started_at) = (call.reference.clone(), UnixMs(call.started_at_unix_ms.max(0)));
        let is_of =
            |trunk: &&crate::config::Trunk| called.as_ref().is_some_and(|number| trunk.numbers.contains(number));
        let trunk = config.trunks.iter().find(is_of).map_or(NO_TRUNK, |trunk| trunk.name.as_str()).to_owned();
        let message = call.message.as_ref().map(|message| Left {
            ended_at: UnixMs(message.ended_at_unix_ms.max(started_at.0)),
            duration_ms: message.duration_ms.into(),
            ended_by: match message.ended_by() {
                MessageEnd::Key => VoicemailEnd::Key,
                MessageEnd::Hangup => VoicemailEnd::Hangup,
                MessageEnd::SilenceOrLength | MessageEnd::Unspecified => VoicemailEnd::Silence,
            },
            mailbox: mailbox_of(config, office, called.as_deref(), started_at),
            sound: message.sound.clone(),
        });
        Taken {
            call_id: key(started_at, "call", &reference).into(),
            recording_id: key(started_at, "recording", &reference).into(),
            voicemail_id: key(started_at, "voicemail", &reference).into(),
            reference,
            caller,
            called,
            started_at,
            trunk,
            message,
        }
    }

    /// The message's key.
    pub(super) fn voicemail_id(&self) -> VoicemailId {
        self.voicemail_id
    }

    /// Where its sound is to be had.
    pub(super) fn sound(&self) -> Option<&Sound> {
        self.message.as_ref()?.sound.as_ref()
    }

    /// What its sound will be here.
    pub(super) fn audio(&self) -> NewAudio {
        let left = self.message.as_ref();
        let length = left.map_or(0, |left| i64::try_from(left.duration_ms).unwrap_or(0));
        let began = left.map_or(self.started_at.0, |left| left.ended_at.0.saturating_sub(length));
        NewAudio {
            recording_id: self.recording_id,
            call_id: self.call_id,
            kind: RecordingKind::Voicemail,
            started_at: UnixMs(began.max(self.started_at.0)),
        }
    }

    /// Writes what is not there yet. Whether there is a new message.
    ///
    /// # Errors
    /// [`StorageError::Sql`].
    pub(super) fn keep(
        &self,
        sql_tx: &Connection,
        recording: Option<&Recording>,
        now: UnixMs,
    ) -> Result<bool, StorageError> {
        match find_call(sql_tx, &self.call_id.to_string()) {
            Ok(_) => {}
            Err(StorageError::NotFound(_)) => self.keep_session(sql_tx)?,
            Err(error) => return Err(error),
        }
        let Some(left) = &self.message else { return Ok(false) };
        if find_voicemail(sql_tx, self.voicemail_id)?.is_some() {
            return Ok(false);
        }
        if let Some(recording) = recording
            && find_recording(sql_tx, recording.recording_id)?.is_none()
        {
            insert_recording(sql_tx, recording)?;
        }
        let voicemail = Voicemail {
            voicemail_id: self.voicemail_id,
            call_id: self.call_id,
            recording_id: recording.map(|recording| recording.recording_id),
            status: VoicemailStatus::New,
            ended_by: left.ended_by,
            duration_ms: recording.map_or(left.duration_ms, |recording| recording.duration_ms),
            transcript: None,
            transcript_confidence: None,
            is_urgent: false,
            mailbox: left.mailbox.clone(),
            created_at: left.ended_at,
        };
        insert_voicemail(sql_tx, &voicemail)?;
        queue_job(sql_tx, JobKind::Transcribe, &self.voicemail_id.to_string(), now, now)?;
        Ok(true)
    }

    fn keep_session(&self, sql_tx: &Connection) -> Result<(), StorageError> {
        let Taken { call_id, started_at, .. } = *self;
        let session = NewSession {
            call_id,
            direction: Direction::Inbound,
            trunk: self.trunk.clone(),
            peer_address_kind: PeerAddressKind::Public,
            caller_id: self.caller.clone().map(Redacted::new),
            called: self.called.clone().map(Redacted::new),
            sip_call_id: self.reference.clone(),
            started_at,
        };
        insert_session(sql_tx, &session)?;
        mark_answered(sql_tx, call_id, started_at)?;
        let (termination, disposition, ended_at) = match &self.message {
            Some(left) => (Termination::Success, "message_taken", left.ended_at),
            None => (Termination::UpstreamError, "no_message", started_at),
        };
        let end = EndedSession { ended_at, termination, hangup_cause: CAUSE, disposition: Some(disposition) };
        end_session(sql_tx, call_id, end)
    }
}

/// Whose message it would have been, had the box taken the call.
fn mailbox_of(config: &Config, office: &Office, called: Option<&str>, at: UnixMs) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(at.0).ok()?.to_zoned(office.time_zone().clone());
    let mailbox = match dial_plan::inbound(config, called, office.is_open(&at)) {
        Target::Mailbox(name) | Target::Group(name) => config.mailbox(&name),
        Target::Extension(number) => config.mailbox_of(&number),
        Target::Attendant | Target::Queue(_) | Target::Voicemail => None,
    };
    mailbox.map(|mailbox| mailbox.name.clone())
}

#[cfg(test)]
mod tests {
    use cloud_api::v1::LeftMessage;

    use super::*;
    use crate::office::sample;
    use crate::storage::{Storage, StorageConfig, list_voicemails, queued_jobs, session_detail};

    const AT: i64 = 1_780_000_000_000;

    fn config() -> Config {
        let settings = [
            "trunks=[{name='twilio',profile='generic',sources=['127.0.0.1/32'],numbers=['+12125550142']}]".to_owned(),
            "mailboxes=[{name='Anna',email=['anna@office.example']}]".into(),
            "inbound=[{number='+12125550142',to='voicemail:Anna'}]".into(),
        ];
        Config::load(None, &settings).unwrap()
    }

    fn call(message: Option<LeftMessage>) -> TakenCall {
        TakenCall {
            reference: "CA1".to_owned(),
            caller: "+15551234567".to_owned(),
            called: "+12125550142".to_owned(),
            started_at_unix_ms: AT,
            message,
        }
    }

    fn left() -> LeftMessage {
        LeftMessage { ended_at_unix_ms: AT + 30_000, duration_ms: 7_000, ended_by: MessageEnd::Key.into(), sound: None }
    }

    fn taken(message: Option<LeftMessage>) -> Taken {
        Taken::new(&call(message), &config(), &sample::office().unwrap())
    }

    #[test]
    fn a_call_is_one_of_the_boxs_own_and_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        storage
            .write_blocking(|sql_tx| {
                assert!(!taken(None).keep(sql_tx, None, UnixMs(AT + 60_000))?, "nobody has said anything");
                let first = session_detail(sql_tx, &taken(None).call_id.to_string())?;
                assert_eq!(
                    (first.session.trunk.as_str(), first.session.called.unwrap().reveal().as_str()),
                    ("twilio", "+12125550142")
                );
                assert_eq!(first.session.hangup_cause.as_deref(), Some(CAUSE));
                assert_eq!(first.session.started_at, UnixMs(AT));
                // The message of it was told later.
                let taken = taken(Some(left()));
                assert!(taken.keep(sql_tx, None, UnixMs(AT + 90_000))?);
                assert!(!taken.keep(sql_tx, None, UnixMs(AT + 95_000))?, "it came twice");
                let voicemails = list_voicemails(sql_tx, None, 10)?;
                assert_eq!(voicemails.len(), 1);
                assert_eq!(
                    (voicemails[0].mailbox.as_deref(), voicemails[0].ended_by),
                    (Some("Anna"), VoicemailEnd::Key)
                );
                assert_eq!((voicemails[0].duration_ms, voicemails[0].created_at), (7_000, UnixMs(AT + 30_000)));
                let jobs = queued_jobs(sql_tx)?;
                assert_eq!(
                    (jobs.len(), jobs[0].kind, jobs[0].subject.clone()),
                    (1, JobKind::Transcribe, voicemails[0].voicemail_id.to_string())
                );
                Ok(())
            })
            .unwrap();
    }

    /// A restored box writes the same rows again, and their days are that of the call.
    #[test]
    fn keys_are_made_of_what_the_carrier_calls_it() {
        let (one, other) = (taken(Some(left())), taken(None));
        assert_eq!((one.call_id, one.voicemail_id()), (other.call_id, other.voicemail_id()));
        let day = cloud_api::digest::day_of(&one.call_id.to_string());
        assert_eq!(day, u32::try_from(AT / 86_400_000).ok());
        assert_ne!(one.call_id.as_uuid(), one.voicemail_id.as_uuid());
        let another =
            Taken::new(&TakenCall { reference: "CA2".to_owned(), ..call(None) }, &config(), &sample::office().unwrap());
        assert_ne!(one.call_id, another.call_id);
    }

    #[test]
    fn what_is_not_told_is_not_made_up() {
        let bare = TakenCall { reference: "CA1".to_owned(), started_at_unix_ms: AT, ..TakenCall::default() };
        let taken = Taken::new(&bare, &Config::default(), &sample::office().unwrap());
        assert_eq!((taken.caller.as_ref(), taken.called.as_ref(), taken.trunk.as_str()), (None, None, NO_TRUNK));
        assert_eq!(taken.audio().started_at, UnixMs(AT));
    }
}
