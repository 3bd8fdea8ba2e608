//! Messages and promises as calls leave them, without the calls.

use daemon::redact::Redacted;
use daemon::storage::{
    CallId, Direction, FollowUp, FollowUpChannel, FollowUpId, FollowUpState, NewSession, PeerAddressKind, StorageError,
    UnixMs, Voicemail, VoicemailEnd, VoicemailId, VoicemailStatus, insert_session, insert_voicemail, set_contact,
};
use rusqlite::Connection;

/// Anna Bell calls and leaves a message without a recording.
///
/// # Errors
/// The database's.
pub fn leave_message(sql_tx: &Connection) -> Result<Voicemail, StorageError> {
    let now = UnixMs::now();
    let call_id = CallId::new(now);
    let session = NewSession {
        call_id,
        direction: Direction::Inbound,
        trunk: "trunk".into(),
        peer_address_kind: PeerAddressKind::Public,
        caller_id: Some("+12125550142".to_owned().into()),
        called: None,
        sip_call_id: call_id.to_string(),
        started_at: now,
    };
    insert_session(sql_tx, &session)?;
    set_contact(sql_tx, "+12125550142", Some("Anna Bell"), None, now)?;
    let voicemail = Voicemail {
        voicemail_id: VoicemailId::new(now),
        call_id,
        recording_id: None,
        status: VoicemailStatus::New,
        ended_by: VoicemailEnd::Silence,
        duration_ms: 3_000,
        transcript: Some("Please call me back.".to_owned().into()),
        transcript_confidence: None,
        is_urgent: false,
        mailbox: None,
        created_at: now,
    };
    insert_voicemail(sql_tx, &voicemail)?;
    Ok(voicemail)
}

/// To call her back within the hour; four digits that she was told.
pub fn promise(reference: &str) -> FollowUp {
    let now = UnixMs::now();
    FollowUp {
        follow_up_id: FollowUpId::new(now),
        reference: reference.to_owned(),
        call_id: None,
        turn_id: None,
        voicemail_id: None,
        owner: None,
        channel: FollowUpChannel::Phone,
        contact: Some(Redacted::new("+12125550142".into())),
        contact_name: Some(Redacted::new("Anna Bell".into())),
        task: Redacted::new("call back".into()),
        due_at: UnixMs(now.0 + 60 * 60 * 1_000),
        due_text: None,
        state: FollowUpState::Open,
        reminded_at: None,
        escalated_at: None,
        acknowledged_by: None,
        closed_reason: None,
        created_at: now,
    }
}
