//! What is synced, and who this box is to its cloud.

/// A table that is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The column of its key.
    pub key: &'static str,
}

const fn table(name: &'static str, key: &'static str) -> Table {
    Table { name, key }
}

/// Every table that the change log is about, in the order of their names.
pub const TABLES: [Table; 16] = [
    table("absences", "absence_id"),
    table("call_metrics", "metrics_id"),
    table("call_sessions", "call_id"),
    table("contacts", "contact_id"),
    table("conversation_turns", "turn_id"),
    table("escalations", "escalation_id"),
    table("follow_ups", "follow_up_id"),
    table("jobs", "job_id"),
    table("knowledge_documents", "document_id"),
    table("knowledge_passages", "passage_id"),
    table("notifications", "notification_id"),
    table("people", "person_id"),
    table("received_texts", "text_id"),
    table("recordings", "recording_id"),
    table("verdicts", "verdict_id"),
    table("voicemails", "voicemail_id"),
];

/// Who this box is to its cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Grows whenever it is restored, at least 1.
    pub epoch: u64,
    /// Random, made together with the epoch.
    pub incarnation: [u8; 16],
    /// No cloud has welcomed it in this epoch yet: it may take another one.
    pub claiming: bool,
}
