//! A client whose requests are carried out once, over any number of takeovers.
//!
//! The Redis protocol has no request identity: a client whose connection breaks cannot know whether its
//! last command was carried out. [`SessionClient`] is a thin layer over the `redis` crate that gives its
//! commands one. It finds the primary among the members by itself, opens a session there, numbers what
//! it sends, and sends it again, after a lost connection or a takeover, until it has the reply. Whoever
//! needs no such promise uses the `redis` crate (or any other client) as it is.
//!
//! ```no_run
//! # fn main() -> Result<(), outlive_kv::client::ClientError> {
//! use outlive_kv::client::{SessionClient, SessionOptions};
//!
//! let mut client = SessionClient::connect(["127.0.0.1:6379", "127.0.0.1:6380"], SessionOptions::default())?;
//! let visits: i64 = client.request(redis::cmd("INCR").arg("visits"))?;
//! println!("visit {visits}, counted once whoever crashed meanwhile");
//! # Ok(())
//! # }
//! ```

use std::time::{Duration, Instant};

use redis::{Arg, Cmd, Connection, FromRedisValue, RedisError, Value, cmd};

/// How long a session client tries.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Gives up on a request after this long, all attempts together.
    pub retry_for: Duration,
    /// How long one member may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long one attempt may go unanswered before the connection counts as lost. A member that
    /// stands still without having died costs this long.
    pub reply_timeout: Duration,
}

impl Default for SessionOptions {
    /// 30 s in all; half a second to connect, 2 s for a reply.
    fn default() -> Self {
        Self {
            retry_for: Duration::from_secs(30),
            connect_timeout: Duration::from_millis(500),
            reply_timeout: Duration::from_secs(2),
        }
    }
}

/// The pause between two attempts grows from the first to the second: a takeover takes milliseconds, a
/// new process seconds.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// A request was not answered by the service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The command was carried out and its reply is this error, or cannot be turned into the type that
    /// was asked for.
    #[error("the reply is an error")]
    Reply(#[source] RedisError),
    /// The session is not known any more (too many others came after it). The request may have been
    /// carried out; it will never be again.
    #[error("the session is not known any more; what its last request did is unknown")]
    UnknownSession(#[source] RedisError),
    /// The request was carried out, but its reply is not remembered any more.
    #[error("the request was carried out, but its reply is not remembered any more")]
    ReplyForgotten(#[source] RedisError),
    /// The session's numbers do not fit: somebody else uses the same session.
    #[error("the session is used by another client, too")]
    OutOfOrder(#[source] RedisError),
    /// The request is larger than the pair takes. It was not carried out.
    #[error("the request is too large")]
    TooLarge(#[source] RedisError),
    /// Nobody answered in time. The request may have been carried out: call
    /// [`resume`](SessionClient::resume) to go on trying, or give up the session.
    #[error("no answer in {tried_for:?}; the request stays unfinished")]
    Unanswered {
        /// How long it was tried.
        tried_for: Duration,
        /// What went wrong last.
        #[source]
        last: RedisError,
    },
    /// The request before this one is unfinished, so this one was not sent.
    #[error("the request before is unfinished: call `resume` first")]
    Unfinished,
}

/// A client session: one request at a time, each carried out once.
pub struct SessionClient {
    addresses: Vec<String>,
    options: SessionOptions,
    connection: Option<Connection>,
    /// Empty until the session is open.
    session: String,
    /// The last request's number.
    number: u64,
    /// The request that was sent, perhaps, and not answered.
    unfinished: Option<Vec<Vec<u8>>>,
}

impl SessionClient {
    /// Finds the primary among these members (`host:port`) and opens a session.
    ///
    /// # Errors
    /// [`ClientError::Unanswered`] if no primary was found in time.
    pub fn connect<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
        options: SessionOptions,
    ) -> Result<Self, ClientError> {
        let addresses = addresses.into_iter().map(Into::into).collect();
        let mut client = Self {
            addresses,
            options,
            connection: None,
            session: String::new(),
            number: 0,
            unfinished: None,
        };
        // Opening twice by accident does no harm: a session that nobody uses is forgotten.
        let opened = client.until_answered(cmd("OUTLIVE").arg("SESSION"))?;
        client.session = redis::from_redis_value(opened).map_err(|error| ClientError::Reply(error.into()))?;
        if client.bind().is_err() {
            // The first request finds a connection anew.
            client.connection = None;
        }
        Ok(client)
    }

    /// The session's id, as `OUTLIVE SESSION` takes it.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Looks for the primary at these addresses from now on; the session, and an unfinished request, go on.
    #[must_use]
    pub fn with_addresses<A: Into<String>>(mut self, addresses: impl IntoIterator<Item = A>) -> Self {
        self.addresses = addresses.into_iter().map(Into::into).collect();
        self
    }

    /// Sends a command until it is answered, and returns its reply.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Reply`] is the service's own.
    pub fn request<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, ClientError> {
        if self.unfinished.is_some() {
            return Err(ClientError::Unfinished);
        }
        let words = command.args_iter().map(|arg| match arg {
            Arg::Simple(word) => word.to_vec(),
            // The place that a cursor takes in an iteration that begins.
            _ => b"0".to_vec(),
        });
        self.unfinished = Some(words.collect());
        self.number += 1;
        self.finish()
    }

    /// Goes on with the request that [`ClientError::Unanswered`] left unfinished; `None` if there is none.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn resume<T: FromRedisValue>(&mut self) -> Result<Option<T>, ClientError> {
        match self.unfinished {
            Some(_) => self.finish().map(Some),
            None => Ok(None),
        }
    }

    fn finish<T: FromRedisValue>(&mut self) -> Result<T, ClientError> {
        let mut numbered = cmd("OUTLIVE");
        numbered
            .arg("REQ")
            .arg(self.number)
            .arg(self.unfinished.as_deref().unwrap_or_default());
        let outcome = self.until_answered(&numbered);
        match &outcome {
            Err(ClientError::Unanswered { .. }) => {}
            Err(ClientError::TooLarge(_)) => {
                self.number -= 1;
                self.unfinished = None;
            }
            _ => self.unfinished = None,
        }
        redis::from_redis_value(outcome?).map_err(|error| ClientError::Reply(error.into()))
    }

    /// Sends `command` to the primary, whichever that is, until it is answered.
    fn until_answered(&mut self, command: &Cmd) -> Result<Value, ClientError> {
        let started = Instant::now();
        let mut pause = PAUSES.0;
        loop {
            // What goes wrong before the command was sent is never its reply, whatever it looks like (a member with too
            // many clients, for one, says so with an ordinary error).
            let (error, verdict) = match self.reach() {
                Err(error) => (error, Verdict::Elsewhere),
                Ok(connection) => match command.query(connection) {
                    Ok(value) => return Ok(value),
                    Err(error) => {
                        let verdict = Verdict::of(&error);
                        (error, verdict)
                    }
                },
            };
            match verdict {
                Verdict::Final(name) => return Err(name(error)),
                Verdict::Again => {}
                Verdict::Elsewhere => self.connection = None,
            }
            let tried_for = started.elapsed();
            if tried_for + pause >= self.options.retry_for {
                return Err(ClientError::Unanswered {
                    tried_for,
                    last: error,
                });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// The connection to the primary, bound to the session; made anew where there is none.
    fn reach(&mut self) -> Result<&mut Connection, RedisError> {
        if self.connection.is_none() {
            self.connection = Some(self.find_primary()?);
            self.bind()?;
        }
        self.connection.as_mut().ok_or_else(not_found)
    }

    /// Binds the connection to the session, once there is one.
    fn bind(&mut self) -> Result<(), RedisError> {
        match &mut self.connection {
            Some(connection) if !self.session.is_empty() => {
                cmd("OUTLIVE").arg("SESSION").arg(&self.session).query(connection)
            }
            _ => Ok(()),
        }
    }

    /// Asks each member for its role; one that is not primary may name another address.
    fn find_primary(&mut self) -> Result<Connection, RedisError> {
        let mut failed = not_found();
        let mut asked = 0;
        let mut addresses = self.addresses.clone();
        while let Some(address) = addresses.get(asked).cloned() {
            asked += 1;
            match self.ask(&address) {
                Ok((connection, Found::Primary)) => {
                    // Where it was last is where it is most likely next time.
                    self.addresses.retain(|known| *known != address);
                    self.addresses.insert(0, address);
                    return Ok(connection);
                }
                Ok((_, Found::Elsewhere(named))) if !addresses.contains(&named) => addresses.push(named),
                Ok(_) => {}
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn ask(&self, address: &str) -> Result<(Connection, Found), RedisError> {
        let client = redis::Client::open(format!("redis://{address}/"))?;
        let mut connection = client.get_connection_with_timeout(self.options.connect_timeout)?;
        connection.set_read_timeout(Some(self.options.reply_timeout))?;
        connection.set_write_timeout(Some(self.options.reply_timeout))?;
        let found = match cmd("ROLE").query(&mut connection)? {
            Value::Array(fields) => Found::of(&fields),
            _ => Found::Nobody,
        };
        Ok((connection, found))
    }
}

enum Found {
    Primary,
    Elsewhere(String),
    Nobody,
}

impl Found {
    /// From the reply to `ROLE`.
    fn of(fields: &[Value]) -> Self {
        match fields {
            [Value::BulkString(role), ..] if role == b"master" => Self::Primary,
            [_, Value::BulkString(host), Value::Int(port), ..] if !host.is_empty() => {
                let host = String::from_utf8_lossy(host);
                Self::Elsewhere(if host.contains(':') {
                    format!("[{host}]:{port}")
                } else {
                    format!("{host}:{port}")
                })
            }
            _ => Self::Nobody,
        }
    }
}

/// What an error says about trying again.
enum Verdict {
    /// The same member may answer later.
    Again,
    /// Another member may answer.
    Elsewhere,
    /// It is the answer.
    Final(fn(RedisError) -> ClientError),
}

impl Verdict {
    fn of(error: &RedisError) -> Self {
        match error.code() {
            // No reply at all: the connection broke or went silent, or no primary was found.
            None | Some("READONLY" | "OUTCOMEUNKNOWN" | "STOPPED") => Self::Elsewhere,
            Some("OOM") => Self::Again,
            Some("UNKNOWNSESSION") => Self::Final(ClientError::UnknownSession),
            Some("REPLYFORGOTTEN") => Self::Final(ClientError::ReplyForgotten),
            Some("OUTOFORDER") => Self::Final(ClientError::OutOfOrder),
            Some("TOOLARGE") => Self::Final(ClientError::TooLarge),
            Some(_) => Self::Final(ClientError::Reply),
        }
    }
}

fn not_found() -> RedisError {
    (redis::ErrorKind::Io, "no member says that it is primary").into()
}
