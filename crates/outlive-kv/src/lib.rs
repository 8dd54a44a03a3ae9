//! A key-value service that speaks the Redis protocol (RESP2) and outlives its process: `redis-cli`,
//! `redis-benchmark` and ordinary client libraries use it unchanged, and when the process dies its backup
//! answers within milliseconds with every acknowledged request intact. It is also the tutorial for
//! [`outlive_pair`].
//!
//! # How it is made
//!
//! Read it in this order; each file is one page or two.
//!
//! 1. `store.rs`: the state, plain maps. `value.rs` and `zset.rs`: what a key can hold. Nothing here reads a
//!    clock or depends on random hashing, so two members that apply the same requests hold the same bytes.
//! 2. `commands.rs`: a table from a command's name to how many arguments it takes, whether it reads or writes,
//!    and the function that does it. The functions are in `commands/`, a file for each type.
//! 3. `service.rs`: the store as a [`Service`](outlive_pair::Service), about 60 lines. This is all that it
//!    takes to make a state outlive its process: apply a request, answer a query, snapshot, restore.
//! 4. `request.rs` and `reply.rs`: bytes to commands, replies to bytes, through the `redis-protocol` crate.
//! 5. `server.rs`: listen, and hand what comes in to the pair's [`Member`](outlive_pair::Member);
//!    `server/connection.rs` is the path of one command.
//! 6. `client.rs`: numbered requests for those who need replies once.
//!
//! The same without a network:
//!
//! ```
//! use outlive_kv::{Kv, request};
//! use outlive_pair::{Moment, Service};
//!
//! let (mut primary, mut backup) = (Kv::default(), Kv::default());
//! let set = request::encode(&["SET", "greeting", "hello", "EX", "10"]);
//! let now = Moment { unix_ms: 1_000 };
//! assert_eq!(primary.apply(&set, now), b"+OK\r\n");
//!
//! // The backup applies what the primary journalled, or begins with its snapshot. Either way it is the same.
//! backup.restore(&primary.snapshot())?;
//! let get = request::encode(&["GET", "greeting"]);
//! assert!(backup.is_read_only(&get));
//! assert_eq!(backup.query(&get, now), b"$5\r\nhello\r\n");
//! // Time is part of what is journalled: ten seconds later the key is gone, in every member.
//! assert_eq!(backup.query(&get, Moment { unix_ms: 11_000 }), b"$-1\r\n");
//! # Ok::<(), outlive_pair::RestoreError>(())
//! ```
//!
//! And with one (two such processes are a pair):
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use outlive::{Context, RegionSpec, Session};
//! use outlive_kv::{KvOptions, serve};
//! use outlive_pair::PairConfig;
//!
//! let session = Session::connect(&Context::discover(None)?)?;
//! let pair = PairConfig::new("orders", "", Some(RegionSpec::checkpoint(64 << 20)));
//! let options = KvOptions::new("127.0.0.1:6379".parse()?, pair);
//! serve(session, options, async { drop(tokio::signal::ctrl_c().await) }).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What clients may rely on
//!
//! - A reply means that the request is committed at the pair's level, and that this member was still primary
//!   after the request arrived. Reads are never stale.
//! - A member that is not primary refuses data commands with `READONLY …  primary=HOST:PORT`, for reads too, and
//!   answers `SENTINEL …`, so Sentinel-aware clients follow the primary by themselves. Clients that insist that
//!   a sentinel's `ROLE` is `sentinel` use [`KvOptions::sentinel`].
//! - The Redis protocol gives requests no identity. A client whose connection breaks does not know whether its
//!   last command was carried out, here as with any Redis. [`client::SessionClient`] does: its requests are
//!   numbered (`OUTLIVE SESSION`, `OUTLIVE REQ`) and carried out once, over any number of takeovers.
//!
//! # What it is not
//!
//! No transactions, scripts, publish and subscribe, blocking commands, streams, clusters, access lists, or
//! databases but 0: they are unknown commands here. Replies are those of Redis 7, compared with a real one in
//! the tests; scores are written as by Redis 7.2 and later (`3.1`). `SPOP` takes members that look random to a
//! client and are the same in both members.
//!
//! # How it fails
//!
//! Per command with Redis's own error texts ([`CommandError`]) and the pair's refusals (`server/failure.rs`
//! lists the first words); per connection with Redis's protocol errors ([`request::ProtocolError`]); as a whole
//! with [`ServeError`]. Every buffer and queue is bounded by a constant in the file that has it.

pub mod client;
mod commands;
mod deadline;
mod error;
mod glob;
mod number;
mod reply;
pub mod request;
mod server;
mod service;
mod store;
mod value;
mod zset;

pub use error::CommandError;
pub use server::{KvOptions, ServeError, Server, serve};
pub use service::Kv;
