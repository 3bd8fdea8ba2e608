//! Which tables this cloud knows. A box with others is told so by name, and sends the rest.

/// In the order of their names.
pub const TABLES: [&str; 16] = [
    "absences",
    "call_metrics",
    "call_sessions",
    "contacts",
    "conversation_turns",
    "escalations",
    "follow_ups",
    "jobs",
    "knowledge_documents",
    "knowledge_passages",
    "notifications",
    "people",
    "received_texts",
    "recordings",
    "verdicts",
    "voicemails",
];

/// Whether it is one of them.
pub(super) fn is_known(table: &str) -> bool {
    TABLES.binary_search(&table).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_found() {
        assert!(TABLES.iter().all(|table| is_known(table)) && TABLES.is_sorted() && !is_known("users"));
    }
}
