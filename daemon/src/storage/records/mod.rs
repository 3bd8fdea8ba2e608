//! One file per record kind: its row struct, its insert and its queries.
//!
//! The functions take any connection: the writer's transaction, a reader's snapshot, or a test's own.

mod call_metrics;
mod call_session;
mod change;
mod contact;
mod conversation_turn;
mod diversion;
mod erasure;
mod escalation;
mod follow_up;
mod job;
mod knowledge_document;
mod knowledge_search;
mod notification;
mod person;
mod received_text;
mod recording;
mod registration;
mod trouble;
mod trunk_state;
mod unanswered;
mod verdict;
mod voicemail;

pub use call_metrics::{CallMetrics, Leg, add_metrics, metrics_of};
pub use call_session::{
    CallCounts, CallSession, Direction, EndedSession, INSIDE, NewSession, PeerAddressKind, SessionDetail, SessionState,
    Termination, close_interrupted_sessions, count_calls, end_session, find_by_sip_call_id, find_call, insert_session,
    list_sessions, mark_answered, name_trunk, rate_call, session_detail, set_summary, talked_outside_ms,
};
pub use change::{Change, ChangeOp, changes_after};
pub use contact::{Contact, begin_thread, find_contact, resume_sms, set_contact, stop_sms};
pub use conversation_turn::{
    ConversationTurn, Speaker, TurnTimings, correct_turn, insert_turn, turns_of, update_heard,
};
pub use diversion::{Diversion, diversions, set_diversion};
pub use erasure::{Erased, count_caller, erase_caller};
pub use escalation::{EscalationOutcome, EscalationRow, escalations_of, insert_escalation, set_escalation_outcome};
pub use follow_up::{
    ClosedReason, FollowUp, FollowUpChannel, FollowUpState, acknowledge_follow_up, close_follow_up, find_follow_up,
    follow_ups_between, insert_follow_up, list_follow_ups, missed_follow_ups, note_overdue, note_reminder,
    open_promise_called, open_promise_to, promise_for, set_promise_turn,
};
pub use job::{
    DurableJob, JobKind, JobState, begin_job, cancel_job, fail_job, finish_job, jobs_of, queue_job, queued_jobs,
    release_job, release_jobs, requeue_begun_jobs, revive_job,
};
pub use knowledge_document::{
    KnowledgeDocument, KnowledgePassage, NewPassage, delete_document, document_names, embeddings, find_document,
    passage_texts, passages_of, replace_document,
};
pub use knowledge_search::{
    FoundPassage, FtsWord, find_passage, passage_at, passage_count, passages_by_bm25, passages_with_prefix,
    passages_with_word,
};
pub use notification::{
    Channel, Delivery, FailedAttempt, NewNotice, Notice, NoticeFailure, NoticeKind, NoticeState, await_delivery,
    begin_notice, count_notices, fail_notice, find_notice, finish_notice, last_text_sent_at, list_notices,
    note_delivery, notices_cost_cents, notices_of, queue_notice, requeue_interrupted_notices, revive_notice,
    undelivered_notices, waiting_notices,
};
pub use person::{
    AbsenceRow, PersonRow, absences_after, add_absence, delete_person, end_absences, list_people, set_person,
};
pub use received_text::{ReceivedText, TextEffect, insert_received_text, is_text_known, list_received_texts};
pub use recording::{Recording, RecordingKind, RecordingState, Talk, find_recording, insert_recording, recordings_of};
pub use registration::{
    Registration, delete_registrations, phones_by_extension, registrations, replace_registrations,
    restore_registrations,
};
pub use trouble::{FailingJobs, FailingNotices, Trouble, trouble};
pub use trunk_state::{TrunkState, forget_trunk_states, set_trunk_state, trunk_states};
pub use unanswered::{Unanswered, unanswered};
pub use verdict::{Verdict, WrongAnswer, set_verdict, verdict_on, wrong_answers};
pub use voicemail::{
    Voicemail, VoicemailEnd, VoicemailStatus, close_mailboxes, count_voicemails, find_voicemail, insert_voicemail,
    list_voicemails, reference_of, set_voicemail_mailbox, set_voicemail_status, set_voicemail_transcript,
    set_voicemail_urgent, voicemails_in, voicemails_of,
};

use super::error::StorageError;

/// An update that must hit exactly one row.
fn one_row(updated: usize, what: &'static str) -> Result<(), StorageError> {
    if updated == 1 { Ok(()) } else { Err(StorageError::NotFound(what)) }
}

/// Unsigned sizes in SQLite's signed 64 bits; what does not fit is not a size of this world.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
