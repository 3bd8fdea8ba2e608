//! `verdicts`: what somebody of the office thinks of what the box has answered.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::redact::Redacted;
use crate::storage::{CallId, StorageError, TurnId, UnixMs, VerdictId};

/// What somebody thinks of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The turn it was given in.
    pub turn_id: TurnId,
    /// Whether it was right.
    pub is_right: bool,
    /// What should have been said, in their words.
    pub better_answer: Option<String>,
    /// Who thinks so.
    pub judged_by: Option<String>,
    /// When.
    pub created_at: UnixMs,
}

/// A wrong answer, for whoever writes the office's knowledge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongAnswer {
    /// What somebody thinks of it.
    pub verdict: Verdict,
    /// The call.
    pub call_id: CallId,
    /// What the caller asked.
    pub question: Redacted<String>,
    /// What was answered.
    pub answer: Option<Redacted<String>>,
}

/// Keeps a verdict, in place of an earlier one on the same turn.
///
/// # Errors
/// A constraint if the turn is unknown.
pub fn set_verdict(sql_tx: &Connection, verdict: &Verdict) -> Result<(), StorageError> {
    sql_tx
        .prepare_cached(
            "INSERT INTO verdicts (verdict_id, created_at, updated_at, turn_id, is_right, better_answer, judged_by)
             VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (turn_id) DO UPDATE SET is_right = ?4, better_answer = ?5, judged_by = ?6, updated_at = ?2",
        )?
        .execute(params![
            VerdictId::new(verdict.created_at),
            verdict.created_at,
            verdict.turn_id,
            verdict.is_right,
            verdict.better_answer,
            verdict.judged_by
        ])?;
    Ok(())
}

/// What is thought of the answer in a turn.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn verdict_on(db: &Connection, turn_id: TurnId) -> Result<Option<Verdict>, StorageError> {
    let mut statement = db.prepare_cached("SELECT * FROM verdicts WHERE turn_id = ?1")?;
    Ok(statement.query_row([turn_id], from_row).optional()?)
}

/// The answers since `since` that were found wrong, the latest verdict first.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn wrong_answers(db: &Connection, since: UnixMs, limit: u32) -> Result<Vec<WrongAnswer>, StorageError> {
    let mut statement = db.prepare_cached(
        "SELECT verdicts.*, call_id, text, answer FROM verdicts JOIN conversation_turns USING (turn_id)
         WHERE is_right = 0 AND conversation_turns.created_at >= ?1
         ORDER BY verdicts.updated_at DESC, verdict_id DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![since, limit], |row| {
        Ok(WrongAnswer {
            verdict: from_row(row)?,
            call_id: row.get("call_id")?,
            question: Redacted::new(row.get("text")?),
            answer: row.get::<_, Option<String>>("answer")?.map(Redacted::new),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Verdict> {
    Ok(Verdict {
        turn_id: row.get("turn_id")?,
        is_right: row.get("is_right")?,
        better_answer: row.get("better_answer")?,
        judged_by: row.get("judged_by")?,
        created_at: row.get("updated_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::records::conversation_turn::{ConversationTurn, Speaker, insert_turn};
    use crate::storage::tests::session_at;
    use crate::storage::{Storage, StorageConfig, insert_session};

    #[test]
    fn the_last_verdict_on_a_turn_counts_and_wrong_answers_are_listed_with_better_ones() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let call_id = CallId::new(UnixMs(5));
        storage
            .write_blocking(move |db| {
                insert_session(db, &session_at(call_id, 5))?;
                let mut turn =
                    ConversationTurn::new(call_id, 1, Speaker::Caller, "do you take cats".to_owned(), UnixMs(10));
                turn.answer = Some(Redacted::new("Yes.".into()));
                let turn_id = turn.turn_id;
                insert_turn(db, &turn)?;
                let verdict = |is_right, better: Option<&str>, at| Verdict {
                    turn_id,
                    is_right,
                    better_answer: better.map(str::to_owned),
                    judged_by: Some("Carla".into()),
                    created_at: UnixMs(at),
                };
                set_verdict(db, &verdict(true, None, 20))?;
                assert_eq!(wrong_answers(db, UnixMs(0), 10)?, []);
                let wrong = verdict(false, Some("No, only dogs."), 30);
                set_verdict(db, &wrong)?;
                assert_eq!(verdict_on(db, turn_id)?, Some(wrong.clone()));
                let listed = wrong_answers(db, UnixMs(0), 10)?;
                assert_eq!((listed.len(), &listed[0].verdict), (1, &wrong));
                assert_eq!(listed[0].question.reveal(), "do you take cats");
                assert_eq!(wrong_answers(db, UnixMs(11), 10)?, [], "asked before that");
                let of_nothing = Verdict { turn_id: TurnId::new(UnixMs(1)), ..wrong };
                assert!(set_verdict(db, &of_nothing).is_err());
                Ok(())
            })
            .unwrap();
    }
}
