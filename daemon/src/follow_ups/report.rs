//! Once a week the office hears which promises were not kept in time.

use jiff::civil::{Time, Weekday};
use jiff::{ToSpan as _, Zoned};
use rusqlite::Connection;

use crate::notices::Recipients;
use crate::office::Office;
use crate::storage::{JobKind, NoticeKind, StorageError, UnixMs, follow_ups_between, queue_job, queue_notice};

/// When, on the Monday after.
const AT: Time = Time::constant(8, 0, 0, 0);

/// Sees to it that the week of `now` is reported on when it is over. However often this is done, it is reported once.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn expect_report(sql_tx: &Connection, now: &Zoned) -> Result<(), StorageError> {
    let Some((begins, due)) = week_of(now) else { return Ok(()) };
    let at = UnixMs(now.timestamp().as_millisecond());
    queue_job(sql_tx, JobKind::Report, &begins.0.to_string(), due, at).map(drop)
}

/// Tells of the week that begins at `begins`, if anything was promised in it.
///
/// # Errors
/// [`StorageError::Sql`].
pub fn report(
    sql_tx: &Connection,
    begins: UnixMs,
    (recipients, office): (&Recipients, &Office),
    at: UnixMs,
) -> Result<(), StorageError> {
    let zone = office.time_zone();
    let Some(ends) = moment(begins, zone).and_then(|begins| begins.checked_add(7.days()).ok()) else { return Ok(()) };
    if follow_ups_between(sql_tx, begins, UnixMs(ends.timestamp().as_millisecond()))?.is_empty() {
        return Ok(());
    }
    let subject = begins.0.to_string();
    for notice in recipients.notices(NoticeKind::MissedPromises, &subject, &subject, false) {
        queue_notice(sql_tx, &notice, at)?;
    }
    Ok(())
}

fn moment(at: UnixMs, zone: &jiff::tz::TimeZone) -> Option<Zoned> {
    Some(jiff::Timestamp::from_millisecond(at.0).ok()?.to_zoned(zone.clone()))
}

/// When the week of `now` begins, in its time zone, and when it is reported on.
fn week_of(now: &Zoned) -> Option<(UnixMs, UnixMs)> {
    let back = now.weekday().since(Weekday::Monday);
    let monday = now.date().checked_sub(i64::from(back).days()).ok()?;
    let begins = monday.to_zoned(now.time_zone().clone()).ok()?;
    let due = monday.checked_add(7.days()).ok()?.to_datetime(AT).to_zoned(now.time_zone().clone()).ok()?;
    Some((UnixMs(begins.timestamp().as_millisecond()), UnixMs(due.timestamp().as_millisecond())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::storage::{Storage, StorageConfig, list_notices, queued_jobs};

    #[test]
    fn a_week_begins_on_monday_and_is_reported_on_the_next_one() {
        let shown = |at: UnixMs| {
            jiff::Timestamp::from_millisecond(at.0).unwrap().in_tz("America/New_York").unwrap().datetime().to_string()
        };
        for (now, begins, due) in [
            ("2026-11-23T00:00:00[America/New_York]", "2026-11-23T00:00:00", "2026-11-30T08:00:00"),
            ("2026-11-29T23:59:59[America/New_York]", "2026-11-23T00:00:00", "2026-11-30T08:00:00"),
            // The clocks go back in that week.
            ("2026-10-28T12:00:00[America/New_York]", "2026-10-26T00:00:00", "2026-11-02T08:00:00"),
        ] {
            let week = week_of(&now.parse().unwrap()).unwrap();
            assert_eq!((shown(week.0).as_str(), shown(week.1).as_str()), (begins, due), "{now}");
        }
    }

    #[test]
    fn a_week_with_promises_is_reported_once_and_one_without_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
        let mut config = Config::default();
        config.email.enabled = true;
        config.email.to = vec!["desk@office.example".into()];
        let office = crate::office::sample::office().unwrap();
        let now: Zoned = "2026-11-25T12:00:00[America/New_York]".parse().unwrap();
        storage
            .write_blocking(move |db| {
                let recipients = Recipients::new(&config);
                expect_report(db, &now)?;
                expect_report(db, &now)?;
                let jobs = queued_jobs(db)?;
                assert_eq!(jobs.len(), 1);
                let begins = UnixMs(jobs[0].subject.parse().unwrap());
                report(db, begins, (&recipients, &office), UnixMs(1))?;
                assert_eq!(list_notices(db, None, 9)?, [], "nothing was promised");
                let due_at = UnixMs(now.timestamp().as_millisecond());
                let promise = super::super::FollowUp { due_at, ..super::super::tests::promise() };
                crate::storage::insert_follow_up(db, &promise)?;
                for _ in 0..2 {
                    report(db, begins, (&recipients, &office), UnixMs(2))?;
                }
                let told: Vec<_> = list_notices(db, None, 9)?.iter().map(|notice| notice.new.kind).collect();
                assert_eq!(told, [NoticeKind::MissedPromises]);
                Ok(())
            })
            .unwrap();
    }
}
