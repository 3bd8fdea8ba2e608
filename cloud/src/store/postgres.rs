//! A store in PostgreSQL: any number of boxes, and of instances of this service.
//!
//! The rules look at one row after the other; a question to the server for each would take most of the time. So the rows of a
//! batch are fetched at once when the rules say which they will want, changed in memory, and written at once before the commit:
//! a handful of questions for each batch, however many rows it has.
//!
//! **One transaction at a time for each box**, by a lock that its end gives back (no session is needed, so a pooler may stand
//! between). Another lock is shared by all that write for a tenant, and taken alone by whoever freezes it. All that a
//! transaction changes belongs to one box, so nothing else has to be ordered, and boxes never wait for each other.
//! Serialisable transactions would do the same by refusing and repeating, more often the busier a box is.
//!
//! **Why no partitions, 2026-11.** Keys begin with the tenant and the box, so what is read and written together lies
//! together, and rows go when the box says so, one by one: a month that was dropped here and is there still would be found by the
//! next comparison and sent again. With 3 million rows of 50 boxes over five years, PostgreSQL 15 looks 400 keys up in 2.1 ms; with
//! a partition for each month in 5.3 ms, though each key names its month, because a plan is made over all of them; by hash of
//! the tenant in 1.9 ms. The latest twenty rows of a box take 0.1 ms, with months 3.4 ms, and to delete one month of one box takes
//! 4 ms as it is. What would change our mind: a retention time that the cloud keeps by itself (months), or a table that one
//! VACUUM cannot keep up with (hash).

mod deliveries;
mod rows;
mod tenants;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postgres::error::SqlState;
use postgres::{Client, Config, IsolationLevel, NoTls, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use self::rows::PostgresRows;
use super::columns::from_json;
use super::replica::Replica;
use super::tenants::Standing;
use super::{
    AFTER_ALL_KEYS, BoxName, BoxRecord, Change, Claim, DocumentKind, Heard, Place, Rows, Store, StoreError, admit,
    admit_claim, upkeep,
};
use crate::clock;
use crate::fleet::audit::AuditEntry;
use crate::sync::apply::{BoxState, StoredRow};

/// The format of the database, in the table `format`.
const FORMAT: i64 = 8;
/// A transaction that the server refuses because of others (a deadlock, a failover) is run so often.
const TRIES: u32 = 5;
/// Before it is run again: the first wait, doubled each time, and the longest.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(200);
/// A connection over which nothing comes is asked after so long whether it is still there, and is dead after twice as long.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// For a connection to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// "Offhook " as a number: two instances that start at once make the tables one after the other.
const MIGRATION_LOCK: i64 = 0x4F66_6668_6F6F_6B20;

/// The configuration's database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresConfigError {
    /// Not to be understood.
    #[error("expected postgresql://USER@HOST/DATABASE or \"host=… user=… dbname=…\": {0}")]
    Url(String),
    /// It names a host of the network, and no way to check who answers there.
    #[error("a server that is not on this machine is asked over TLS: add sslmode=require")]
    Plain,
}

/// Where the database is, and how one comes to it.
#[derive(Clone)]
pub(super) struct Server {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

impl Server {
    pub(super) fn connect(&self) -> Result<Client, StoreError> {
        Ok(match &self.tls {
            Some(tls) => self.config.connect(tls.clone())?,
            None => self.config.connect(NoTls)?,
        })
    }
}

/// The store.
pub struct Postgres {
    server: Server,
    connections: usize,
    idle: Mutex<Vec<Connection>>,
    replica: Option<Replica>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Postgres").field("connections", &self.connections).finish_non_exhaustive()
    }
}

impl Postgres {
    /// What `url` says; nothing is connected yet. The server of `sslmode=require` is believed if one of the public
    /// authorities, or of `roots` where there are any, says who it is.
    ///
    /// # Errors
    /// [`PostgresConfigError`].
    pub fn parse(url: &str, roots: Option<RootCertStore>, connections: usize) -> Result<Self, PostgresConfigError> {
        let mut config: Config = url.parse().map_err(|error: postgres::Error| {
            let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            PostgresConfigError::Url(reason)
        })?;
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(KEEP_ALIVE)
            .keepalives_interval(KEEP_ALIVE / 3)
            .keepalives_retries(3)
            .application_name("offhook-cloud");
        let with_tls = matches!(config.get_ssl_mode(), postgres::config::SslMode::Require);
        let here = |host: &postgres::config::Host| match host {
            postgres::config::Host::Tcp(name) => ["localhost", "127.0.0.1", "::1"].contains(&name.as_str()),
            postgres::config::Host::Unix(_) => true,
        };
        if !with_tls && !config.get_hosts().iter().all(here) {
            return Err(PostgresConfigError::Plain);
        }
        let tls = with_tls.then(|| {
            let public = || webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
            MakeRustlsConnect::new(client_config(roots.unwrap_or_else(public)))
        });
        let server = Server { config, tls };
        Ok(Postgres { server, connections: connections.max(1), idle: Mutex::default(), replica: None })
    }

    /// With a streaming replica of this server, for [`queried`](super::AnyStore::queried).
    #[must_use]
    pub fn with_replica(self, replica: Postgres) -> Self {
        Postgres { replica: Some(Replica::new(replica)), ..self }
    }

    pub(super) fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref()
    }

    /// Connects, and makes or migrates the tables.
    ///
    /// # Errors
    /// [`StoreError`], in particular [`Newer`](StoreError::Newer).
    pub fn prepare(&self) -> Result<(), StoreError> {
        let mut client = self.server.connect()?;
        let mut sql_tx = client.transaction()?;
        sql_tx.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])?;
        sql_tx.batch_execute("CREATE TABLE IF NOT EXISTS format (number bigint NOT NULL)")?;
        let found: Option<i64> = sql_tx.query_opt("SELECT number FROM format", &[])?.map(|row| row.get(0));
        if let Some(found) = found.filter(|found| *found > FORMAT) {
            return Err(StoreError::Newer { found, known: FORMAT });
        }
        let steps = [
            (1, include_str!("postgres.sql")),
            (2, include_str!("postgres_fleet.sql")),
            (3, include_str!("postgres_audit.sql")),
            (4, include_str!("postgres_upkeep.sql")),
            (5, include_str!("postgres_tenants.sql")),
            (6, include_str!("postgres_deliveries.sql")),
            (7, include_str!("postgres_backups.sql")),
            (8, include_str!("postgres_forgetting.sql")),
        ];
        for (_, step) in steps.iter().filter(|(format, _)| *format > found.unwrap_or(0)) {
            sql_tx.batch_execute(step)?;
        }
        sql_tx.execute("DELETE FROM format", &[])?;
        sql_tx.execute("INSERT INTO format (number) VALUES ($1)", &[&FORMAT])?;
        let walls = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user";
        let passes: bool = sql_tx.query_one(walls, &[])?.get(0);
        sql_tx.commit()?;
        if passes {
            tracing::warn!("This database user passes row-level security; one that is no superuser would not");
        }
        self.give_back(Connection::prepare(client)?);
        Ok(())
    }

    /// How many connections are opened at most.
    pub fn connections(&self) -> usize {
        self.connections
    }

    pub(super) fn server(&self) -> Server {
        self.server.clone()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, connection: Connection) {
        if !connection.client.is_closed() {
            self.idle().push(connection);
        }
    }

    /// Does `work` over a connection, again where others stand in its way or the connection was dead.
    pub(super) fn with<T>(
        &self,
        mut work: impl FnMut(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tries = 1;
        loop {
            let idle = self.idle().pop();
            let fresh = idle.is_none();
            let mut connection = match idle {
                Some(connection) => connection,
                None => Connection::prepare(self.server.connect()?)?,
            };
            let done = work(&mut connection);
            match &done {
                Err(StoreError::Postgres(error)) if is_dead(error) => {
                    // The others were opened to the same server: they are as dead.
                    self.idle().clear();
                    if fresh {
                        return done;
                    }
                }
                Err(StoreError::Postgres(error)) if tries < TRIES && is_in_the_way(error) => {
                    self.give_back(connection);
                    clock::sleep(full_jitter(RETRY_FIRST, RETRY_MAX, tries - 1, rand::random()));
                    tries += 1;
                }
                Ok(_) | Err(_) => {
                    self.give_back(connection);
                    return done;
                }
            }
        }
    }
}

/// Anywhere between nothing and `first`, which is doubled with each attempt before this one and never more than `max`:
/// those who stood in each other's way do not meet again. `random` is at least 0 and below 1.
pub(super) fn full_jitter(first: Duration, max: Duration, attempts_before: u32, random: f64) -> Duration {
    first.saturating_mul(1 << attempts_before.min(16)).min(max).mul_f64(random)
}

fn client_config(roots: RootCertStore) -> ClientConfig {
    let builder =
        ClientConfig::builder_with_provider(ring::default_provider().into()).with_safe_default_protocol_versions();
    builder.expect("ring has ciphers for both versions").with_root_certificates(roots).with_no_client_auth()
}

/// Others were quicker; nothing is wrong.
fn is_in_the_way(error: &postgres::Error) -> bool {
    let codes = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
    error.code().is_some_and(|code| codes.contains(code))
}

/// The connection is of no use any more.
fn is_dead(error: &postgres::Error) -> bool {
    let codes = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];
    match error.code() {
        Some(code) => codes.contains(code),
        None => error.is_closed() || error.as_db_error().is_none(),
    }
}

/// What the server says, rather than only that it says something.
pub(super) fn in_words(error: &postgres::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"))
}

/// A connection and the questions it knows.
pub(super) struct Connection {
    client: Client,
    statements: Statements,
}

macro_rules! statements {
    ($($name:ident: $sql:expr;)+) => {
        /// Planned once for each connection.
        pub(super) struct Statements { $($name: Statement,)+ }

        impl Statements {
            fn prepare(client: &mut Client) -> Result<Self, postgres::Error> {
                Ok(Statements { $($name: client.prepare($sql)?,)+ })
            }
        }
    };
}

// `rows` looks each key up: the planner, which believes that a box has few rows as long as nobody has counted them, would
// rather read them all and compare.
statements! {
    set_tenant: "SELECT set_config('offhook.tenant_id', $1, true)";
    begin_write: "SELECT set_config('offhook.tenant_id', $1, true), pg_advisory_xact_lock_shared(1, hashtext($1))";
    begin_place: "SELECT set_config('offhook.tenant_id', $1, true), pg_advisory_xact_lock_shared(1, hashtext($1)),
        pg_advisory_xact_lock(hashtextextended($2, 0))";
    begin_alone: "SELECT set_config('offhook.tenant_id', $1, true), pg_advisory_xact_lock(1, hashtext($1))";
    standing: "SELECT standing FROM tenants WHERE tenant_id = $1";
    box_state: "SELECT epoch, incarnation, watermark, applied FROM boxes
        WHERE tenant_id = $1 AND box_id = $2";
    set_box_state: "INSERT INTO boxes (tenant_id, box_id, epoch, incarnation, watermark, applied)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (tenant_id, box_id) DO UPDATE SET epoch = excluded.epoch, incarnation = excluded.incarnation,
            watermark = excluded.watermark, applied = excluded.applied";
    rows: "SELECT row_key, epoch, row_version, applied, hash, columns::text
        FROM unnest($4::text[]) AS wanted (wanted_key) CROSS JOIN LATERAL (
            SELECT * FROM synced_rows
            WHERE tenant_id = $1 AND box_id = $2 AND table_name = $3 AND row_key = wanted_key LIMIT 1) AS found";
    rows_between: "SELECT row_key, epoch, row_version, applied, hash, columns::text FROM synced_rows
        WHERE tenant_id = $1 AND box_id = $2 AND table_name = $3 AND row_key > $4 AND row_key <= $5
        ORDER BY row_key";
    put_rows: "INSERT INTO synced_rows
            (tenant_id, box_id, table_name, row_key, epoch, row_version, applied, hash, columns)
        SELECT $1, $2, table_name, row_key, epoch, row_version, applied, hash, columns::json
        FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[], $9::text[])
            AS news (table_name, row_key, epoch, row_version, applied, hash, columns)
        ON CONFLICT (tenant_id, box_id, table_name, row_key) DO UPDATE SET epoch = excluded.epoch,
            row_version = excluded.row_version, applied = excluded.applied, hash = excluded.hash,
            columns = excluded.columns";
    sums: "SELECT table_name, epoch, day, row_count, hash FROM day_sums
        WHERE tenant_id = $1 AND box_id = $2
            AND (table_name, epoch, day) IN (SELECT * FROM unnest($3::text[], $4::bigint[], $5::integer[]))";
    put_sums: "INSERT INTO day_sums (tenant_id, box_id, table_name, epoch, day, row_count, hash)
        SELECT $1, $2, * FROM unnest($3::text[], $4::bigint[], $5::integer[], $6::bigint[], $7::bytea[])
        ON CONFLICT (tenant_id, box_id, table_name, epoch, day) DO UPDATE SET row_count = excluded.row_count,
            hash = excluded.hash";
    day_sums: "SELECT day, row_count, hash FROM day_sums
        WHERE tenant_id = $1 AND box_id = $2 AND table_name = $3 AND epoch = $4 AND row_count > 0";
    note_heard: "INSERT INTO enrolled (tenant_id, box_id, enrolled_at, release, heard_at, equal_at)
        VALUES ($1, $2, $3, coalesce($4, ''), $3, $5)
        ON CONFLICT (tenant_id, box_id) DO UPDATE SET release = coalesce($4, enrolled.release),
            heard_at = excluded.heard_at, equal_at = coalesce($5, enrolled.equal_at)
        WHERE enrolled.revoked_at IS NULL";
}

impl Connection {
    fn prepare(mut client: Client) -> Result<Self, StoreError> {
        // A plan that is kept is one for the table as it was: a few rows are read whole, a million must not be.
        client.batch_execute("SET plan_cache_mode = force_custom_plan")?;
        let statements = Statements::prepare(&mut client)?;
        Ok(Connection { client, statements })
    }

    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// A transaction that sees which boxes there are, of all tenants, and nothing else.
    pub(super) fn transaction_over_all(&mut self) -> Result<postgres::Transaction<'_>, StoreError> {
        let mut sql_tx = self.client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start()?;
        sql_tx.execute("SELECT set_config('offhook.upkeep', 'on', true)", &[])?;
        Ok(sql_tx)
    }

    /// A transaction that sees one tenant.
    pub(super) fn transaction(
        &mut self,
        tenant_id: &str,
    ) -> Result<(postgres::Transaction<'_>, &Statements), StoreError> {
        // Each question sees what was committed before it: what came before the lock was given is seen after it.
        let builder = self.client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
        let mut sql_tx = builder.start()?;
        sql_tx.execute(&self.statements.set_tenant, &[&tenant_id])?;
        Ok((sql_tx, &self.statements))
    }

    /// A transaction over one box, which nobody else changes meanwhile.
    pub(super) fn of_box(&mut self, of: &BoxName) -> Result<postgres::Transaction<'_>, StoreError> {
        let (sql_tx, _) = self.writing(&of.tenant_id, Some(&of.to_string()))?;
        Ok(sql_tx)
    }

    /// A transaction that writes for a tenant that is open here; for a box or document, one at a time by its name, `place`.
    pub(super) fn writing(
        &mut self,
        tenant_id: &str,
        place: Option<&str>,
    ) -> Result<(postgres::Transaction<'_>, &Statements), StoreError> {
        let (sql_tx, statements, standing) = self.begin(tenant_id, place)?;
        admit(tenant_id, standing.unwrap_or_default())?;
        Ok((sql_tx, statements))
    }

    /// As [`writing`](Connection::writing), and where the tenant lives; None if nothing is known of it.
    fn begin(&mut self, tenant_id: &str, place: Option<&str>) -> Result<Begun<'_>, StoreError> {
        let builder = self.client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
        let (mut sql_tx, statements) = (builder.start()?, &self.statements);
        // Two names with one hash wait for each other for nothing.
        match place {
            Some(place) => sql_tx.execute(&statements.begin_place, &[&tenant_id, &place])?,
            None => sql_tx.execute(&statements.begin_write, &[&tenant_id])?,
        };
        // A question after that of the lock: it sees what whoever had it has committed.
        let standing = standing(&mut sql_tx, statements, tenant_id)?;
        Ok((sql_tx, statements, standing))
    }
}

type Begun<'a> = (postgres::Transaction<'a>, &'a Statements, Option<Standing>);

/// Where a tenant lives; None if nothing is known of it.
fn standing(
    sql_tx: &mut postgres::Transaction<'_>,
    statements: &Statements,
    tenant_id: &str,
) -> Result<Option<Standing>, StoreError> {
    let row = sql_tx.query_opt(&statements.standing, &[&tenant_id])?;
    row.map(|row| Standing::from_json(row.get(0))).transpose()
}

/// Notes that there is this tenant: behind the wall nobody would find it without knowing its name.
fn note_tenant(sql_tx: &mut postgres::Transaction<'_>, tenant_id: &str, now: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO tenants (tenant_id, standing, changed_at, changed_by) VALUES ($1, $2, $3, '')
        ON CONFLICT (tenant_id) DO NOTHING";
    sql_tx.execute(sql, &[&tenant_id, &Standing::Open.to_json()?, &now])?;
    Ok(())
}

/// What [`box_record`] reads.
const BOXES: &str = "SELECT tenant_id, box_id, enrolled_at, release, heard_at, equal_at, revoked_at, silent_since,
        epoch, incarnation, watermark, applied
    FROM enrolled LEFT JOIN boxes USING (tenant_id, box_id)";

fn box_record(row: &Row) -> BoxRecord {
    BoxRecord {
        name: BoxName { tenant_id: row.get(0), box_id: row.get(1) },
        enrolled_at: row.get(2),
        release: row.get(3),
        heard_at: row.get(4),
        equal_at: row.get(5),
        revoked_at: row.get(6),
        silent_since: row.get(7),
        state: row.get::<_, Option<i64>>(8).map(|_| box_state(row, 8)),
    }
}

impl Store for Postgres {
    fn transact<T>(
        &self,
        of: &BoxName,
        mut work: impl FnMut(&mut Rows<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with(|connection| {
            let (sql_tx, statements) = connection.writing(&of.tenant_id, Some(&of.to_string()))?;
            let mut rows = PostgresRows::new(sql_tx, statements, of);
            let done = work(&mut rows)?;
            rows.write()?;
            rows.sql_tx.commit()?;
            Ok(done)
        })
    }

    fn latest_rows(
        &self,
        of: &BoxName,
        table: &str,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, StoredRow)>, StoreError> {
        let sql = "SELECT row_key, epoch, row_version, applied, hash, columns::text FROM synced_rows
            WHERE tenant_id = $1 AND box_id = $2 AND table_name = $3 AND columns IS NOT NULL
                AND row_key < $4
            ORDER BY row_key DESC LIMIT $5";
        let before = before.unwrap_or(AFTER_ALL_KEYS);
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(&of.tenant_id)?;
            let rows = sql_tx.query(sql, &[&of.tenant_id, &of.box_id, &table, &before, &i64::from(limit)])?;
            rows.iter().map(keyed).collect()
        })
    }

    fn rows_between(
        &self,
        of: &BoxName,
        table: &str,
        after: &str,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, StoredRow)>, StoreError> {
        let sql = "SELECT row_key, epoch, row_version, applied, hash, columns::text FROM synced_rows
            WHERE tenant_id = $1 AND box_id = $2 AND table_name = $3 AND columns IS NOT NULL
                AND row_key > $4 AND row_key < $5
            ORDER BY row_key LIMIT $6";
        let before = before.unwrap_or(AFTER_ALL_KEYS);
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(&of.tenant_id)?;
            let rows = sql_tx.query(sql, &[&of.tenant_id, &of.box_id, &table, &after, &before, &i64::from(limit)])?;
            rows.iter().map(keyed).collect()
        })
    }

    fn texts_of(&self, of: &BoxName, table: &str, column: &str) -> Result<BTreeSet<String>, StoreError> {
        let sql = "SELECT DISTINCT columns ->> $4 FROM synced_rows
            WHERE tenant_id = $1 AND box_id = $2 AND table_name = $3 AND columns ->> $4 IS NOT NULL";
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(&of.tenant_id)?;
            let rows = sql_tx.query(sql, &[&of.tenant_id, &of.box_id, &table, &column])?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        })
    }

    fn add_claim(&self, claim: &Claim) -> Result<(), StoreError> {
        let sql = "INSERT INTO claims (code_sha256, tenant_id, expires_at) VALUES ($1, $2, $3)";
        let Claim { code_sha256, tenant_id, expires_at } = claim;
        self.with(|connection| {
            let (mut sql_tx, _, standing) = connection.begin(tenant_id, None)?;
            admit_claim(tenant_id, standing.unwrap_or_default())?;
            sql_tx.execute(sql, &[&code_sha256.as_slice(), tenant_id, expires_at])?;
            Ok(sql_tx.commit()?)
        })
    }

    fn claim(&self, code_sha256: &[u8; 32], now: i64) -> Result<Option<(String, Option<String>)>, StoreError> {
        let sql = "SELECT tenant_id, box_id FROM claims WHERE code_sha256 = $1 AND expires_at > $2";
        self.with(|connection| {
            let found = connection.client.query_opt(sql, &[&code_sha256.as_slice(), &now])?;
            Ok(found.map(|row| (row.get(0), row.get(1))))
        })
    }

    fn take_claim(&self, code_sha256: &[u8; 32], box_id: &str, now: i64) -> Result<Option<String>, StoreError> {
        let sql = "UPDATE claims SET box_id = $2
            WHERE code_sha256 = $1 AND expires_at > $3 AND (box_id IS NULL OR box_id = $2) RETURNING tenant_id";
        self.with(|connection| {
            let taken = connection.client.query_opt(sql, &[&code_sha256.as_slice(), &box_id, &now])?;
            Ok(taken.map(|row| row.get(0)))
        })
    }

    fn enroll(&self, of: &BoxName, now: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO enrolled (tenant_id, box_id, enrolled_at, release) VALUES ($1, $2, $3, '')
            ON CONFLICT (tenant_id, box_id) DO UPDATE SET enrolled_at = excluded.enrolled_at, revoked_at = NULL";
        self.with(|connection| {
            let (mut sql_tx, _, standing) = connection.begin(&of.tenant_id, None)?;
            match standing {
                Some(standing) => admit(&of.tenant_id, standing)?,
                None => note_tenant(&mut sql_tx, &of.tenant_id, now)?,
            }
            sql_tx.execute(sql, &[&of.tenant_id, &of.box_id, &now])?;
            Ok(sql_tx.commit()?)
        })
    }

    fn note_heard(&self, of: &BoxName, heard: Heard<'_>, now: i64) -> Result<bool, StoreError> {
        let (release, equal_at) = heard.columns(now);
        self.with(|connection| {
            let (mut sql_tx, statements, standing) = connection.begin(&of.tenant_id, None)?;
            match standing {
                Some(standing) => admit(&of.tenant_id, standing)?,
                None => note_tenant(&mut sql_tx, &of.tenant_id, now)?,
            }
            let values: [&(dyn postgres::types::ToSql + Sync); 5] =
                [&of.tenant_id, &of.box_id, &now, &release, &equal_at];
            let noted = sql_tx.execute(&statements.note_heard, &values)?;
            sql_tx.commit()?;
            Ok(noted > 0)
        })
    }

    fn is_revoked(&self, of: &BoxName) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) > 0 FROM enrolled WHERE tenant_id = $1 AND box_id = $2 AND revoked_at IS NOT NULL";
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(&of.tenant_id)?;
            Ok(sql_tx.query_one(sql, &[&of.tenant_id, &of.box_id])?.get(0))
        })
    }

    fn revoke(&self, of: &BoxName, now: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE enrolled SET revoked_at = coalesce(revoked_at, $3) WHERE tenant_id = $1 AND box_id = $2";
        self.with(|connection| {
            let (mut sql_tx, _) = connection.writing(&of.tenant_id, None)?;
            let revoked = sql_tx.execute(sql, &[&of.tenant_id, &of.box_id, &now])?;
            sql_tx.commit()?;
            Ok(revoked > 0)
        })
    }

    fn void_certificates(&self, of: &BoxName, before: i64) -> Result<(), StoreError> {
        let sql = "UPDATE enrolled SET void_before = $3 WHERE tenant_id = $1 AND box_id = $2";
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(&of.tenant_id)?;
            sql_tx.execute(sql, &[&of.tenant_id, &of.box_id, &before])?;
            Ok(sql_tx.commit()?)
        })
    }

    fn is_void(&self, of: &BoxName, made_at: i64) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) > 0 FROM enrolled WHERE tenant_id = $1 AND box_id = $2 AND void_before > $3";
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(&of.tenant_id)?;
            Ok(sql_tx.query_one(sql, &[&of.tenant_id, &of.box_id, &made_at])?.get(0))
        })
    }

    fn tenants(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT tenant_id FROM
                (SELECT tenant_id FROM claims UNION SELECT tenant_id FROM enrolled UNION SELECT tenant_id FROM tenants)
                    AS known
                LEFT JOIN tenants USING (tenant_id)
            WHERE coalesce(standing::json ->> 'state', 'open') = 'open' ORDER BY 1";
        self.with(|connection| {
            let rows = connection.transaction_over_all()?.query(sql, &[])?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        })
    }

    fn boxes(&self, tenant_id: &str) -> Result<Vec<BoxRecord>, StoreError> {
        let sql = format!("{BOXES} WHERE tenant_id = $1 ORDER BY box_id");
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(tenant_id)?;
            Ok(sql_tx.query(&sql, &[&tenant_id])?.iter().map(box_record).collect())
        })
    }

    fn known_box(&self, of: &BoxName) -> Result<Option<BoxRecord>, StoreError> {
        let sql = format!("{BOXES} WHERE tenant_id = $1 AND box_id = $2");
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(&of.tenant_id)?;
            Ok(sql_tx.query_opt(&sql, &[&of.tenant_id, &of.box_id])?.as_ref().map(box_record))
        })
    }

    fn document(&self, place: &Place<'_>) -> Result<Option<String>, StoreError> {
        let sql = "SELECT body FROM documents WHERE tenant_id = $1 AND kind = $2 AND name = $3";
        let Place { tenant_id, kind, name } = place;
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(tenant_id)?;
            let body = sql_tx.query_opt(sql, &[tenant_id, &kind.as_str(), name])?;
            Ok(body.map(|row| row.get(0)))
        })
    }

    fn documents(&self, tenant_id: &str, kind: DocumentKind) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT name, body FROM documents WHERE tenant_id = $1 AND kind = $2 ORDER BY name";
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(tenant_id)?;
            let rows = sql_tx.query(sql, &[&tenant_id, &kind.as_str()])?;
            Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
        })
    }

    fn some_documents(
        &self,
        tenant_id: &str,
        kind: DocumentKind,
        names: &[&str],
    ) -> Result<BTreeMap<String, String>, StoreError> {
        let sql = "SELECT name, body FROM documents WHERE tenant_id = $1 AND kind = $2 AND name = ANY($3)";
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(tenant_id)?;
            let rows = sql_tx.query(sql, &[&tenant_id, &kind.as_str(), &names])?;
            Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
        })
    }

    fn change_document<T>(
        &self,
        place: &Place<'_>,
        now: i64,
        mut work: impl FnMut(Option<&str>) -> Result<Change<T>, StoreError>,
    ) -> Result<T, StoreError> {
        let Place { tenant_id, kind, name } = place;
        let read = "SELECT body FROM documents WHERE tenant_id = $1 AND kind = $2 AND name = $3";
        let write = "INSERT INTO documents (tenant_id, kind, name, body, changed_at) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (tenant_id, kind, name) DO UPDATE SET body = excluded.body,
                changed_at = greatest(excluded.changed_at, documents.changed_at + 1)";
        self.with(|connection| {
            // Also for a document that is not there yet, of which no row can be locked.
            let lock = format!("{tenant_id}/{}/{name}", kind.as_str());
            let (mut sql_tx, _) = connection.writing(tenant_id, Some(&lock))?;
            let before: Option<String> =
                sql_tx.query_opt(read, &[tenant_id, &kind.as_str(), name])?.map(|row| row.get(0));
            let Change { body, news, answer } = work(before.as_deref())?;
            if let Some(body) = body {
                sql_tx.execute(write, &[tenant_id, &kind.as_str(), name, &body, &now])?;
            }
            upkeep::note_news(&mut sql_tx, place, news, now)?;
            sql_tx.commit()?;
            Ok(answer)
        })
    }

    fn append_audit(&self, tenant_id: &str, now: i64, body: &str) -> Result<AuditEntry, StoreError> {
        let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
        let read = "SELECT number, at, body, hash FROM audit WHERE tenant_id = $1 ORDER BY number DESC LIMIT 1";
        let write = "INSERT INTO audit (tenant_id, number, at, body, hash) VALUES ($1, $2, $3, $4, $5)";
        self.with(|connection| {
            // Also of one that is frozen or gone: who asks is written down.
            let (mut sql_tx, _) = connection.transaction(tenant_id)?;
            sql_tx.execute(lock, &[&format!("{tenant_id}/audit")])?;
            let before = sql_tx.query_opt(read, &[&tenant_id])?.map(|row| audit_entry(&row));
            let entry = AuditEntry::after(before.as_ref(), now, body.to_owned());
            let values: [&(dyn postgres::types::ToSql + Sync); 5] =
                [&tenant_id, &signed(entry.number), &entry.at, &entry.body, &entry.hash.as_slice()];
            sql_tx.execute(write, &values)?;
            sql_tx.commit()?;
            Ok(entry)
        })
    }

    fn audit(&self, tenant_id: &str, after: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let sql = "SELECT number, at, body, hash FROM audit WHERE tenant_id = $1 AND number > $2
            ORDER BY number LIMIT $3";
        self.with(|connection| {
            let (mut sql_tx, _) = connection.transaction(tenant_id)?;
            let rows = sql_tx.query(sql, &[&tenant_id, &signed(after), &i64::from(limit)])?;
            Ok(rows.iter().map(audit_entry).collect())
        })
    }

    fn news(&self, after: i64) -> Result<Vec<(BoxName, i64)>, StoreError> {
        let sql = "SELECT tenant_id, box_id, changed_at FROM news WHERE changed_at > $1";
        self.with(|connection| {
            let rows = connection.client.query(sql, &[&after])?;
            let news = |row: &Row| (BoxName { tenant_id: row.get(0), box_id: row.get(1) }, row.get(2));
            Ok(rows.iter().map(news).collect())
        })
    }

    fn check(&self) -> Result<(), StoreError> {
        self.with(|connection| {
            connection.client.query_one("SELECT number FROM format", &[])?;
            Ok(())
        })
    }
}

/// PostgreSQL has no unsigned numbers; these are far from the end of signed ones.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row, column: usize) -> u64 {
    row.get::<_, i64>(column).unsigned_abs()
}

fn audit_entry(row: &Row) -> AuditEntry {
    let hash: &[u8] = row.get(3);
    // 32 bytes, as the table's CHECK says.
    AuditEntry { number: unsigned(row, 0), at: row.get(1), body: row.get(2), hash: hash.try_into().unwrap_or_default() }
}

/// Sixteen bytes, as the table's CHECK says.
fn hash(row: &Row, column: usize) -> u128 {
    let bytes: &[u8] = row.get(column);
    u128::from_le_bytes(bytes.try_into().unwrap_or_default())
}

fn box_state(row: &Row, first: usize) -> BoxState {
    BoxState {
        epoch: unsigned(row, first),
        incarnation: row.get(first + 1),
        watermark: row.get(first + 2),
        applied: unsigned(row, first + 3),
    }
}

/// Key, epoch, version, transaction, hash and columns.
fn keyed(row: &Row) -> Result<(String, StoredRow), StoreError> {
    let json: Option<&str> = row.get(5);
    let stored = StoredRow {
        epoch: unsigned(row, 1),
        row_version: row.get(2),
        applied: unsigned(row, 3),
        hash: hash(row, 4),
        columns: json.map(from_json).transpose()?,
    };
    Ok((row.get(0), stored))
}
