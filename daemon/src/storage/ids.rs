//! Keys and times of rows.
//!
//! **Keys are UUIDv7 (RFC 9562 §5.7) stored as 36 characters of lower-case text.** A blob would save 20 bytes a row
//! and index entry; text was chosen because a person reads it in `sqlite3`, `offhook calls show` finds a prefix of it
//! with the primary key's index, and the change log, JSON and the sync API carry it unchanged. Both sort by creation.

use std::{
    fmt,
    str::FromStr,
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};
use uuid::{ContextV7, Timestamp, Uuid};

/// A moment as milliseconds since 1970-01-01 00:00 UTC, as every `…_at` column stores it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// The wall clock now. For the shells only: pure cores are given the time.
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// Milliseconds from `earlier` to here; 0 if the wall clock went backwards.
    pub fn since_ms(self, earlier: UnixMs) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

impl ToSql for UnixMs {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0))
    }
}

impl FromSql for UnixMs {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(UnixMs)
    }
}

/// Shared, so that keys of one millisecond sort in the order they were made.
static CONTEXT: Mutex<ContextV7> = Mutex::new(ContextV7::new());

fn new_uuid(at: UnixMs) -> Uuid {
    let ms = u64::try_from(at.0).unwrap_or(0);
    let nanos = u32::try_from(ms % 1_000).unwrap_or(0) * 1_000_000;
    Uuid::new_v7(Timestamp::from_unix(&CONTEXT, ms / 1_000, nanos))
}

macro_rules! row_ids {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new key for a row that comes into being `at` that moment.
            pub fn new(at: UnixMs) -> Self {
                $name(new_uuid(at))
            }

            /// The UUID, for wire types that carry it in another shape.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                $name(uuid)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::from_str(text).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.to_string()))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str()?.parse().map_err(FromSqlError::other)
            }
        }
    )+};
}

row_ids! {
    /// Key of `call_sessions`: our id of a call, the CDR's key and the `call_id` of every span.
    CallId;
    /// Key of `conversation_turns`.
    TurnId;
    /// Key of `call_metrics`.
    MetricsId;
    /// Key of `recordings`.
    RecordingId;
    /// Key of `voicemails`.
    VoicemailId;
    /// Key of `jobs`.
    JobId;
    /// Key of `notifications`.
    NotificationId;
    /// Key of `follow_ups`.
    FollowUpId;
    /// Key of `contacts`.
    ContactId;
    /// Key of `people`.
    PersonId;
    /// Key of `absences`.
    AbsenceId;
    /// Key of `escalations`.
    EscalationId;
    /// Key of `received_texts`.
    TextId;
    /// Key of `verdicts`.
    VerdictId;
    /// Key of `knowledge_documents`.
    DocumentId;
    /// Key of `knowledge_passages`: what a turn cites as its source.
    PassageId;
}
