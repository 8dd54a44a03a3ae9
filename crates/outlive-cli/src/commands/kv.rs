//! `outlive kv`: one member of a key-value pair.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use outlive::{Level, RegionSpec};
use outlive_kv::{KvOptions, ServeError, Server};
use outlive_pair::{PairConfig, Role, RoleView, Takeover};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::opening::LevelName;
use crate::output::Output;
use crate::quantity::{parse_size, parse_time};
use crate::views::micros;

/// Run one member of a key-value pair that speaks the Redis protocol
///
/// The first member of a pair becomes primary, the second its backup; when the primary dies the backup takes
/// over. Members find one another through the manager. Prints a line when it listens and one for each change of
/// its role. SIGTERM and Ctrl-C hand over as planned.
#[derive(Debug, Args)]
pub(crate) struct Kv {
    /// The pair's name, which is its region's
    #[arg(long, value_name = "NAME")]
    pair: String,
    /// Where this member listens for clients; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Where this member also listens as a Redis Sentinel, for clients that want one apart from the data
    #[arg(long, value_name = "ADDR")]
    sentinel: Option<SocketAddr>,
    /// Where clients reach this member, if not at --listen
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Level that a request's commit must reach; default: the strongest that the unit's medium offers
    #[arg(long, value_enum)]
    level: Option<LevelName>,
    /// Size of the pair's region, where it is to be made
    #[arg(long, default_value = "256MiB", value_parser = parse_size)]
    size: u64,
    /// Largest snapshot, so the largest state, where the region is to be made; default: a quarter of its size
    #[arg(long, value_parser = parse_size)]
    max_snapshot: Option<u64>,
    /// How often the primary shows that it lives
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = parse_time)]
    heartbeat: Duration,
    /// Silence after which the backup takes over
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = parse_time)]
    suspect_after: Duration,
    /// Takeovers within a minute after which the pair stops instead of going on for ever
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    crash_loop: u32,
    /// Clients at a time
    #[arg(long, default_value_t = 10_000)]
    max_clients: usize,
    /// Allow addresses other than loopback, although clients are not authenticated
    #[arg(long)]
    insecure: bool,
    /// End when this parent process is gone
    #[arg(long, value_name = "PID", hide = true)]
    die_with_parent: Option<i32>,
}

impl Kv {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        self.bind_life_to_parent()?;
        let session = invocation.session()?;
        let options = self.options();
        let output = invocation.output;
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = outlive::threads::runtime(workers, "clients")
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot start threads: {error}")))?;
        runtime.block_on(async {
            let server = Server::start(session, options).await.map_err(failure)?;
            self.tell_addresses(&server, output)?;
            let last = self.follow(&server, output).await?;
            match last.stopped {
                Some(why) => Err(Failure::new(
                    Exit::Failure,
                    format!("pair {} stopped: {why}", self.pair),
                )),
                None => {
                    server.stop().await;
                    Ok(())
                }
            }
        })
    }

    fn tell_addresses(&self, server: &Server, output: Output) -> Result<(), Failure> {
        let sentinel = server.sentinel_address().map(|address| address.to_string());
        let listening = json!({
            "event": "listening",
            "pair": self.pair,
            "address": server.address().to_string(),
            "sentinel": sentinel,
        });
        output.result(&listening, || {
            let sentinel = sentinel
                .as_ref()
                .map(|address| format!(", as a Sentinel on {address}"));
            let sentinel = sentinel.unwrap_or_default();
            format!("pair {}: listening on {}{sentinel}", self.pair, server.address())
        })
    }

    /// Prints each change of role until a signal comes or the member ends.
    async fn follow(&self, server: &Server, output: Output) -> Result<RoleView, Failure> {
        let cannot_catch = |error| Failure::new(Exit::Failure, format!("cannot catch signals: {error}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot_catch)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_catch)?;
        let mut changes = server.member().changes();
        let mut shown = None;
        loop {
            let view = changes.borrow_and_update().clone();
            if shown != Some((view.role, view.generation)) {
                shown = Some((view.role, view.generation));
                output.result(&self.event(&view), || self.text(&view))?;
            }
            if view.role == Role::Stopped {
                return Ok(view);
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return Ok(view) },
                _ = terminate.recv() => return Ok(view),
                _ = interrupt.recv() => return Ok(view),
            }
        }
    }

    fn event(&self, view: &RoleView) -> Value {
        json!({
            "event": "role",
            "pair": self.pair,
            "role": view.role.to_string(),
            "generation": view.generation,
            "primary": view.primary,
            "stopped": view.stopped,
            "takeover": view.last_takeover.as_ref().map(takeover),
        })
    }

    fn text(&self, view: &RoleView) -> String {
        let primary = match (&view.primary, view.role) {
            (Some(primary), Role::Backup | Role::Suspecting | Role::TakingOver) => format!(" of {primary}"),
            _ => String::new(),
        };
        format!(
            "pair {}: {}{primary}, generation {}",
            self.pair, view.role, view.generation
        )
    }

    fn options(&self) -> KvOptions {
        let region = RegionSpec::checkpoint(self.size).max_snapshot(self.max_snapshot.unwrap_or(0));
        let advertise = self.advertise.clone().unwrap_or_default();
        let mut pair = PairConfig::new(&self.pair, advertise, Some(region));
        pair.level = self.level.map(Level::from);
        pair.heartbeat = self.heartbeat;
        pair.suspect_after = self.suspect_after;
        pair.crash_loop.takeovers = self.crash_loop;
        pair.crash_loop.window = Duration::from_secs(60);
        let mut options = KvOptions::new(self.listen, pair);
        options.sentinel = self.sentinel;
        options.max_clients = self.max_clients;
        options.insecure = self.insecure;
        options
    }

    /// The kernel kills this process when its parent ends, however that ends.
    fn bind_life_to_parent(&self) -> Result<(), Failure> {
        let Some(parent) = self.die_with_parent else {
            return Ok(());
        };
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| {
            Failure::new(
                Exit::Failure,
                format!("cannot bind this process to its parent: {error}"),
            )
        })?;
        // It may have ended before the kernel knew.
        if getppid()
            .map(Pid::as_raw_nonzero)
            .is_some_and(|found| found.get() == parent)
        {
            Ok(())
        } else {
            Err(Failure::new(Exit::Failure, "the parent process is gone"))
        }
    }
}

fn takeover(takeover: &Takeover) -> Value {
    json!({
        "fenced_generation": takeover.fenced_generation,
        "generation": takeover.generation,
        "last_sequence": takeover.last_sequence,
        "unread_sets": takeover.unread_sets,
        "unread_bytes": takeover.unread_bytes,
        "torn_sets": takeover.torn_sets,
        "detect_us": micros(takeover.detect),
        "fence_us": micros(takeover.fence),
        "read_us": micros(takeover.read),
        "resume_us": micros(takeover.resume),
        "total_us": micros(takeover.total),
        "unix_ms": takeover.unix_ms,
    })
}

fn failure(error: ServeError) -> Failure {
    if let ServeError::Listen { address, source } = &error {
        return Failure::listening("clients", *address, source, "--listen or --sentinel");
    }
    let exit = match &error {
        ServeError::NotLoopback(_) | ServeError::NothingToAdvertise(_) => Exit::Usage,
        _ => Exit::Failure,
    };
    Failure::from_error(exit, &error)
}
