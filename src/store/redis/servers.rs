//! Several servers of Redis as one store: one server, a Cluster, or the master that Sentinels know.
//!
//! Owns finding the server that takes what is written. A master that has lost its office answers with an error, and is
//! looked for again with the next connection. Does not handle when that is (see its users). Fails with
//! [`NotConnected`].

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, FromRedisValue, RedisConnectionInfo, RedisError};
use tokio::task::AbortHandle;

use super::connection::{NotConnected, connect, connect_to};
use crate::config::{RedisServer, RedisUrl, Store, Topology};
use crate::secret::Secret;

/// Where a store is.
#[derive(Debug)]
pub struct Servers {
    urls: Vec<Secret>,
    topology: Topology,
}

/// A connection to a store.
pub enum Connected {
    /// To one server.
    One(MultiplexedConnection, Ends),
    /// To all that belong to a Cluster.
    Cluster(Box<ClusterConnection>),
}

/// Ends the task that moves the bytes of a connection.
pub struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Servers {
    /// Those of a configuration.
    pub fn of(store: &Store) -> Self {
        Self {
            urls: store.redis.clone(),
            topology: store.topology.clone(),
        }
    }

    /// Where they are, without passwords.
    pub fn places(&self) -> String {
        let places = self.urls.iter().filter_map(RedisUrl::read);
        let places: Vec<String> = places.map(|url| url.to_string()).collect();
        places.join(", ")
    }

    /// Whether a command may name keys of one hash slot alone.
    pub fn has_slots(&self) -> bool {
        self.topology == Topology::Cluster
    }

    /// Connects.
    ///
    /// # Errors
    /// None of them can be reached, or they refuse.
    pub async fn connect(&self) -> Result<Connected, NotConnected> {
        match &self.topology {
            Topology::Single => {
                let url = self.urls.iter().find_map(RedisUrl::read);
                let url = url.ok_or(NotConnected::Silent)?;
                one(connect(&url).await?)
            }
            Topology::Cluster => {
                let urls = self.urls.iter().map(Secret::expose);
                let client = ClusterClient::new(urls).map_err(NotConnected::Redis)?;
                let connected = client.get_async_connection().await;
                let connection = connected.map_err(NotConnected::Redis)?;
                Ok(Connected::Cluster(Box::new(connection)))
            }
            Topology::Sentinel(name) => self.connect_to_master(name).await,
        }
    }

    /// Connects to the master of which a Sentinel knows.
    async fn connect_to_master(&self, name: &str) -> Result<Connected, NotConnected> {
        let mut why = NotConnected::Silent;
        for url in self.urls.iter().filter_map(RedisUrl::read) {
            match master(&url, name).await {
                Ok(server) => match connect_to(&server, url.has_tls, &url.login).await {
                    Ok(connected) => return one(connected),
                    Err(e) => why = e,
                },
                Err(e) => why = e,
            }
        }
        Err(why)
    }
}

impl Connected {
    /// Asks for something. May be dropped while it waits.
    ///
    /// # Errors
    /// The server refuses, or the connection is broken.
    pub async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        match self {
            Self::One(connection, _) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection.as_mut()).await,
        }
    }
}

fn one(
    (connection, driver): (MultiplexedConnection, super::Driver),
) -> Result<Connected, NotConnected> {
    let task = tokio::spawn(driver);
    Ok(Connected::One(connection, Ends(task.abort_handle())))
}

/// Asks a Sentinel where the master is.
async fn master(sentinel: &RedisUrl, name: &str) -> Result<RedisServer, NotConnected> {
    let (server, has_tls) = (&sentinel.server, sentinel.has_tls);
    // Sentinels have no databases.
    let login = sentinel.login.clone().set_db(0);
    let connected = match connect_to(server, has_tls, &login).await {
        // They may have no password where the master has one.
        Err(NotConnected::Redis(_)) => {
            connect_to(server, has_tls, &RedisConnectionInfo::default()).await?
        }
        connected => connected?,
    };
    let mut connected = one(connected)?;
    let mut asked = redis::cmd("SENTINEL");
    asked.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let found = connected.ask(&asked).await.map_err(NotConnected::Redis)?;
    let (host, port): (String, u16) = found;
    Ok(RedisServer::Tcp(host, port))
}
