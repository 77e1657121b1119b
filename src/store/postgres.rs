//! A connection to PostgreSQL, for a thread that may block.
//!
//! Owns the connection, its runtime, its schema, how long an answer may take, and notices that the server sends. All
//! tables are in a schema `tollgate` of their own. TLS is used as `sslmode` in the URL says, and the server's
//! certificate must then be one that the system trusts. Does not handle what is asked (see `ledger::store` and
//! `managed::store`), nor which tables there are: their migrations come from there. A session that has failed is
//! dropped, and another one opened.

use std::future::poll_fn;
use std::time::Duration;

use pingora::tls::{ClientConfig, RootCertStore, load_native_certs};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::StoreError;
use crate::secret::Secret;

/// Until the server has accepted a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Until the server has answered, unless the caller has less time.
const ANSWER: Duration = Duration::from_secs(60);
/// A transaction that a gateway leaves open, as where it hangs, keeps no lock for longer.
const SETTINGS: &str =
    "SET search_path = tollgate; SET idle_in_transaction_session_timeout = '15s'";
/// Where the server listens unless the URL says otherwise.
const DEFAULT_PORT: u16 = 5432;
/// What upgrades tables takes this lock: "tollgate", as a number. Those of other tasks have the numbers behind it.
pub const LOCK: i64 = 0x746f_6c6c_6761_7465;

/// The tables of one engine, and how they came to be.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// The table that has their version.
    pub version: &'static str,
    /// The changes that lead from each version to the next.
    pub migrations: &'static [&'static str],
}

/// A connection.
pub struct Session {
    // Before the runtime, so that it is dropped first.
    client: Client,
    /// How many notices have come; closed when the connection has ended.
    notices: watch::Receiver<u64>,
    runtime: Runtime,
    /// Until the server has answered.
    answer: Duration,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// The server is away, or refuses.
    pub fn open(url: &Secret) -> Result<Self, StoreError> {
        Self::open_within(url, ANSWER)
    }

    /// Connects. Each answer may take this time, and so may the connection.
    ///
    /// # Errors
    /// The server is away, or refuses.
    pub fn open_within(url: &Secret, answer: Duration) -> Result<Self, StoreError> {
        let mut config: Config = url.expose().parse()?;
        config.connect_timeout(CONNECT.min(answer));
        if config.get_application_name().is_none() {
            config.application_name("tollgate");
        }
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StoreError::Runtime)?;
        let (noticed, notices) = watch::channel(0);
        let client = runtime.block_on(async {
            let connected = timeout(answer.min(2 * CONNECT), connect(&config, noticed));
            connected.await.map_err(|_| StoreError::Silent)?
        });
        let client = client.map_err(|error| match error.is_of_postgres() {
            true => StoreError::Away {
                place: place(&config),
                error: Box::new(error),
            },
            false => error,
        })?;
        let mut session = Self {
            client,
            notices,
            runtime,
            answer,
        };
        session.run(async |client| {
            client.batch_execute(SETTINGS).await?;
            Ok(())
        })?;
        Ok(session)
    }

    /// Does something with the connection, within the time that an answer may take.
    ///
    /// # Errors
    /// What it does fails, or the server does not answer.
    pub fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run_within(self.answer, work)
    }

    /// The same, within a time of the caller's.
    ///
    /// # Errors
    /// What it does fails, or the server does not answer.
    pub fn run_within<T>(
        &mut self,
        time: Duration,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let client = &mut self.client;
        self.runtime.block_on(async {
            let done = timeout(time, work(client));
            done.await.map_err(|_| StoreError::Silent)?
        })
    }

    /// Waits for a notice of a channel that is listened to, for this time at most. Whether one has come.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn wait_for_notice(&mut self, patience: Duration) -> Result<bool, StoreError> {
        let notices = &mut self.notices;
        let waited = self
            .runtime
            .block_on(async { timeout(patience, notices.changed()).await });
        match waited {
            Ok(Ok(())) => Ok(true),
            Ok(Err(_)) => Err(StoreError::Ended),
            Err(_) => Ok(false),
        }
    }

    /// The version of the tables; 0 where there are none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn version(&mut self, tables: &Tables) -> Result<i64, StoreError> {
        let found = self.run(async |client| version(client, tables).await)?;
        let known = i64::try_from(tables.migrations.len()).unwrap_or(i64::MAX);
        match found > known {
            true => Err(StoreError::Newer {
                place: "the PostgreSQL database".to_owned(),
                found,
                known,
            }),
            false => Ok(found),
        }
    }

    /// Makes or upgrades the tables.
    ///
    /// # Errors
    /// They cannot be changed, or a newer release wrote them.
    pub fn upgrade(&mut self, tables: &Tables) -> Result<(), StoreError> {
        let known = i64::try_from(tables.migrations.len()).unwrap_or(i64::MAX);
        if self.version(tables)? == known {
            return Ok(());
        }
        self.run(async |client| {
            let transaction = client.transaction().await?;
            transaction
                .execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])
                .await?;
            // Another node may have done it while this one waited.
            let found = version(&transaction, tables).await?;
            if found == 0 {
                let exists = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'tollgate')";
                let row = transaction.query_one(exists, &[]).await?;
                // A user that may not create schemas may use one that the operator has made.
                if !row.get::<_, bool>(0) {
                    transaction.batch_execute("CREATE SCHEMA tollgate").await?;
                }
            }
            let done = usize::try_from(found).unwrap_or(0);
            for migration in tables.migrations.iter().skip(done) {
                transaction.batch_execute(migration).await?;
            }
            let (table, version) = (tables.version, known.max(found));
            let set = format!("DELETE FROM {table}; INSERT INTO {table} VALUES ({version})");
            transaction.batch_execute(&set).await?;
            transaction.commit().await?;
            Ok(())
        })
    }
}

/// Where a URL leads, without its user and password: `host:port/database`.
pub fn place_of(url: &Secret) -> String {
    let config = url.expose().parse::<Config>();
    config.map_or_else(|_| "PostgreSQL".to_owned(), |config| place(&config))
}

fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
        let host = match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        };
        // One port may hold for all hosts.
        let port = ports.get(at).or(ports.first()).unwrap_or(&DEFAULT_PORT);
        format!("{host}:{port}")
    });
    let hosts: Vec<String> = hosts.collect();
    // A database without a name has that of the user.
    let database = config.get_dbname().or(config.get_user());
    format!("{}/{}", hosts.join(","), database.unwrap_or_default())
}

async fn version(
    client: &impl tokio_postgres::GenericClient,
    tables: &Tables,
) -> Result<i64, StoreError> {
    // `to_regclass` may remember in a transaction that there was none before it waited for the lock.
    let exists =
        "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'tollgate' AND tablename = $1)";
    let row = client.query_one(exists, &[&tables.version]).await?;
    if !row.get::<_, bool>(0) {
        return Ok(0);
    }
    let sql = format!("SELECT version::bigint FROM tollgate.{}", tables.version);
    Ok(client.query_one(&sql, &[]).await?.get(0))
}

async fn connect(config: &Config, noticed: watch::Sender<u64>) -> Result<Client, StoreError> {
    if config.get_ssl_mode() == SslMode::Disable {
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(drive(connection, noticed));
        return Ok(client);
    }
    let mut roots = RootCertStore::empty();
    let certificates = load_native_certs().map_err(StoreError::Certificates)?;
    roots.add_parsable_certificates(certificates);
    let tls = ClientConfig::builder().with_root_certificates(roots);
    let tls = MakeRustlsConnect::new(tls.with_no_client_auth());
    let (client, connection) = config.connect(tls).await?;
    tokio::spawn(drive(connection, noticed));
    Ok(client)
}

/// Moves the bytes of a connection until it ends, and counts its notices.
async fn drive<S, T>(mut connection: Connection<S, T>, noticed: watch::Sender<u64>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(_))) => noticed.send_modify(|count| *count += 1),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                // A caller that waits for an answer is told more.
                log::debug!("the connection to PostgreSQL has ended: {error}");
                return;
            }
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_server_is_can_be_told_without_the_password() {
        for (url, place) in [
            (
                "postgres://u:s3cret@db.example/usage?sslmode=require",
                "db.example:5432/usage",
            ),
            (
                "postgres://u:s3cret@a:6000,b:6001/usage",
                "a:6000,b:6001/usage",
            ),
            (
                "host=/run/postgresql user=tollgate password=s3cret",
                "/run/postgresql:5432/tollgate",
            ),
            ("s3cret", "PostgreSQL"),
        ] {
            assert_eq!(place_of(&Secret::new(url.to_owned())), place);
        }
    }

    #[test]
    fn a_server_that_is_away_is_told_with_its_address_and_the_key_that_names_it() {
        // A port that nothing listens on any more.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        drop(listener);
        let url = Secret::new(format!("postgres://u:s3cret@{at}/usage?sslmode=disable"));
        let error = Session::open(&url).err().unwrap();
        assert!(error.is_of_postgres());
        let told = error.to_string();
        let begin = format!(
            "no connection to {at}/usage, which ledger.postgres names: PostgreSQL: error connecting"
        );
        assert!(told.starts_with(&begin), "{told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
}
