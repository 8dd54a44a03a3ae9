//! A unit and a manager on loopback, in this process, and members of a pair over them.

#![allow(unreachable_pub, reason = "one program, whose modules share this")]

pub mod child;
pub mod counter;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use outlive::{Context, Credentials, RegionSpec, Session, SessionOptions};
use outlive_identity::{Authority, DEFAULT_VALIDITY, ListenOptions, ServerTls, listen};
use outlive_manager::{Manager, ManagerOptions};
use outlive_pair::{CallError, Member, PairConfig, Request, Role, SessionId};
use outlive_unit::{AttachSecret, Unit, UnitOptions};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use self::counter::Counter;

/// Who calls.
const ADMINISTRATOR: &str = "administrator";
/// Long enough for a restart on a loaded machine.
const RETRY_FOR: Duration = Duration::from_secs(20);
/// Longer than anything here takes on a loaded machine; only a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Unit and manager in one, as `outlive serve` has them.
pub struct Server {
    media: String,
    control: SocketAddr,
    data: SocketAddr,
    running: Option<Running>,
    authority: Authority,
    tls: ServerTls,
    administrator: Credentials,
    _folder: tempfile::TempDir,
}

struct Running {
    runtime: Runtime,
    unit: Unit,
    manager: Manager,
    end: Option<oneshot::Sender<()>>,
}

impl Server {
    /// On a file medium in a temporary folder.
    pub fn start() -> Self {
        log();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let media = format!("file:{},size=64MiB", folder.path().join("media").display());
        let authority = Authority::generate().expect("randomness");
        let name = "system/server".parse().expect("a name");
        let shown = authority.issue_server(&name, &["127.0.0.1".to_owned()], DEFAULT_VALIDITY);
        let tls = ServerTls::new(authority.certificate_pem(), &shown.expect("a certificate"));
        let name = ADMINISTRATOR.parse().expect("a name");
        let administrator = authority.issue_client(&name, DEFAULT_VALIDITY);
        let mut server = Self {
            tls: tls.expect("it is usable"),
            administrator: administrator.expect("a certificate"),
            authority,
            media,
            control: any,
            data: any,
            running: None,
            _folder: folder,
        };
        server.resume();
        server
    }

    /// Ends unit and manager without any of the steps of a clean end.
    pub fn stop(&mut self) {
        outside(|| self.end());
    }

    /// Starts again, at the same addresses, on the same medium.
    pub fn resume(&mut self) {
        outside(|| self.begin());
    }

    pub fn restart(&mut self) {
        self.stop();
        self.resume();
    }

    fn end(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        running.manager.stop();
        drop(running.end.take());
        drop(running.unit);
        drop(running.manager);
        // Takes the tasks with it that hold unit and manager.
        running.runtime.shutdown_timeout(Duration::from_secs(5));
    }

    fn begin(&mut self) {
        let runtime = Runtime::new().expect("a runtime");
        let secret = AttachSecret::random().expect("randomness");
        let spec = self.media.parse().expect("a medium");
        let unit = Unit::open(&spec, UnitOptions::new(secret.clone())).expect("a unit");
        self.data = unit.serve_data(self.data).expect("a data listener");
        let (end, ended) = oneshot::channel::<()>();
        let (manager, control) = runtime.block_on(async {
            let options = ManagerOptions::new(unit.admin_client(), secret.proof().to_vec())
                .with_administrator(ADMINISTRATOR.parse().expect("a name"));
            let manager = Manager::attach(options).await.expect("a manager");
            let listener = TcpListener::bind(self.control).await.expect("a control listener");
            let incoming = listen(listener, self.tls.clone(), ListenOptions::default(), |_| {});
            let incoming = incoming.expect("an address");
            let control = incoming.local_addr();
            let serving = tonic::transport::Server::builder()
                .add_routes(manager.routes())
                .serve_with_incoming_shutdown(incoming, async move {
                    let _ = ended.await;
                });
            tokio::spawn(serving);
            (manager, control)
        });
        self.control = control;
        self.running = Some(Running {
            runtime,
            unit,
            manager,
            end: Some(end),
        });
    }

    pub fn context(&self) -> Context {
        Context::new(
            self.control.to_string(),
            self.authority.certificate_pem(),
            self.administrator.clone(),
        )
    }

    pub fn session(&self) -> Session {
        session(&self.context())
    }

    /// A member with a counter, and nothing changed in its configuration.
    pub fn member(&self, pair: &str, advertise: &str) -> Member {
        self.member_with(config(pair, advertise))
    }

    pub fn member_with(&self, config: PairConfig) -> Member {
        Member::start(self.session(), config, Counter::default()).expect("a member")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs `act` on a thread of its own: the server has a runtime of its own, which must not be nested in a test's.
fn outside<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(act).join().expect("no panic"))
}

pub fn session(context: &Context) -> Session {
    Session::connect_with(context, SessionOptions { retry_for: RETRY_FOR }).expect("a session")
}

/// A configuration for tests: false suspicion on a loaded machine would be harmless, but not what is tested.
pub fn config(pair: &str, advertise: &str) -> PairConfig {
    let mut config = PairConfig::new(pair, advertise, Some(RegionSpec::checkpoint(4 << 20)));
    config.suspect_after = Duration::from_secs(5);
    config
}

/// Fails when `future` takes so long that it must hang.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("hangs")
}

pub async fn settled(member: &Member, role: Role) {
    let view = within(member.settled()).await;
    assert_eq!(view.role, role, "{view:?}");
}

/// Waits until `member` has this role.
pub async fn becomes(member: &Member, role: Role) {
    let view = within(member.wait_until(|view| view.role == role)).await;
    assert_eq!(view.role, role, "{view:?}");
}

/// Asks the member, and the number that it answers.
pub async fn number(member: &Member, request: Request) -> Result<i64, CallError> {
    let reply = within(member.call(request)).await?;
    Ok(std::str::from_utf8(&reply)
        .expect("text")
        .parse()
        .expect("a number"))
}

/// Asks these members in turn, again and again, until one answers, as a client does.
pub async fn ask(members: &[Member], request: &Request) -> Vec<u8> {
    let began = Instant::now();
    for member in members.iter().cycle() {
        match within(member.call(request.clone())).await {
            Ok(reply) => return reply,
            Err(error) if error.is_retryable() || matches!(error, CallError::Stopped { .. }) => {
                assert!(began.elapsed() < PATIENCE, "nobody answers: {error}");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("a cycle does not end")
}

/// Opens a session with whichever of the members is primary.
pub async fn open_session(members: &[Member]) -> SessionId {
    let began = Instant::now();
    for member in members.iter().cycle() {
        match within(member.open_session()).await {
            Ok(session) => return session,
            Err(error) => assert!(error.is_retryable() && began.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    unreachable!("a cycle does not end")
}

/// Tries again until `done` gives something.
pub async fn eventually<T>(mut done: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn temporary_context(server: &Server) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("context.json");
    server.context().save(&path).expect("a context file");
    (folder, path)
}

/// Shows the log of a test with `RUST_LOG`.
fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    // Set already by another test of this program.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_test_writer()
        .try_init();
}
