//! Unit, manager and members on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use outlive::{Context, RegionSpec, Session};
use outlive_identity::{Authority, DEFAULT_VALIDITY, ListenOptions, ServerTls, listen};
use outlive_kv::{KvOptions, Server};
use outlive_manager::{Manager, ManagerOptions};
use outlive_pair::{PairConfig, Role};
use outlive_unit::{AttachSecret, Unit, UnitOptions};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The pair's name.
pub(crate) const PAIR: &str = "orders";
/// Far more than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Unit and manager, as `outlive serve` has them.
pub(crate) struct Lab {
    context: Context,
    /// Kept: their last handles end them.
    _serving: (Runtime, Unit, Manager),
}

impl Lab {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let secret = AttachSecret::random().expect("randomness");
        let spec = "memory:size=128MiB".parse().expect("a medium");
        let unit = Unit::open(&spec, UnitOptions::new(secret.clone())).expect("a unit");
        unit.serve_data("127.0.0.1:0".parse().expect("an address"))
            .expect("a data listener");
        let authority = Authority::generate().expect("randomness");
        let name = "system/server".parse().expect("a name");
        let shown = authority.issue_server(&name, &["127.0.0.1".to_owned()], DEFAULT_VALIDITY);
        let tls = ServerTls::new(authority.certificate_pem(), &shown.expect("a certificate"));
        let tls = tls.expect("it is usable");
        let administrator = "administrator".parse().expect("a name");
        let credentials = authority.issue_client(&administrator, DEFAULT_VALIDITY);
        let (manager, control) = runtime.block_on(async {
            let options = ManagerOptions::new(unit.admin_client(), secret.proof().to_vec())
                .with_administrator(administrator);
            let manager = Manager::attach(options).await.expect("a manager");
            let listener = TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a control listener");
            let incoming = listen(listener, tls, ListenOptions::default(), |_| {}).expect("an address");
            let control = incoming.local_addr();
            let server = tonic::transport::Server::builder().add_routes(manager.routes());
            tokio::spawn(server.serve_with_incoming(incoming));
            (manager, control)
        });
        Self {
            context: Context::new(
                control.to_string(),
                authority.certificate_pem(),
                credentials.expect("a certificate"),
            ),
            _serving: (runtime, unit, manager),
        }
    }

    /// Starts a member and waits until it is primary or backup.
    pub(crate) fn member(&self) -> Member {
        self.member_with(|_| {})
    }

    pub(crate) fn member_with(&self, change: impl FnOnce(&mut KvOptions)) -> Member {
        let session = Session::connect(&self.context).expect("a session");
        let pair = PairConfig::new(PAIR, "", Some(RegionSpec::checkpoint(32 << 20)));
        let mut options = KvOptions::new("127.0.0.1:0".parse().expect("an address"), pair);
        options.sentinel = Some("127.0.0.1:0".parse().expect("an address"));
        change(&mut options);
        let runtime = Runtime::new().expect("a runtime");
        let server = runtime
            .block_on(Server::start(session, options))
            .expect("a server");
        runtime.block_on(server.member().settled());
        Member {
            address: server.address(),
            running: Some((runtime, server)),
        }
    }
}

/// A running member.
pub(crate) struct Member {
    pub(crate) address: SocketAddr,
    running: Option<(Runtime, Server)>,
}

impl Member {
    /// Where it is a sentinel.
    pub(crate) fn sentinel(&self) -> SocketAddr {
        self.server().sentinel_address().expect("it listens")
    }

    fn server(&self) -> &Server {
        &self.running.as_ref().expect("it runs").1
    }

    pub(crate) fn role(&self) -> Role {
        self.server().member().role().role
    }

    /// Waits until it has this role.
    pub(crate) fn wait_for(&self, role: Role) {
        let (runtime, server) = self.running.as_ref().expect("it runs");
        let mut changes = server.member().changes();
        let changed = async {
            tokio::time::timeout(PATIENCE, changes.wait_for(|view| view.role == role))
                .await
                .is_ok()
        };
        assert!(runtime.block_on(changed), "{} is {}", self.address, self.role());
    }

    /// Ends it without any of the steps of a clean end.
    pub(crate) fn kill(&mut self) {
        if let Some((runtime, server)) = self.running.take() {
            runtime.shutdown_background();
            drop(server);
        }
    }

    /// Ends it as planned; why it stopped, if not because it was asked to.
    pub(crate) fn stop(&mut self) -> Option<String> {
        let (runtime, server) = self.running.take().expect("it runs");
        runtime.block_on(server.stop()).stopped
    }

    /// The `redis` crate's own connection.
    pub(crate) fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis://{}/", self.address)).expect("an address");
        let connection = client.get_connection().expect("connects");
        connection.set_read_timeout(Some(PATIENCE)).expect("sets");
        connection
    }

    /// A bare socket.
    pub(crate) fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).expect("connects");
        socket.set_read_timeout(Some(PATIENCE)).expect("sets");
        socket
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends bytes and reads until the server closes.
pub(crate) fn send_and_read_to_end(mut socket: TcpStream, bytes: &[u8]) -> String {
    // The server may close before it has read everything.
    let _ = socket.write_all(bytes);
    let _ = socket.shutdown(std::net::Shutdown::Write);
    let mut reply = Vec::new();
    let _ = socket.read_to_end(&mut reply);
    String::from_utf8_lossy(&reply).into_owned()
}

/// Reads exactly these bytes.
pub(crate) fn expect(socket: &mut TcpStream, expected: &[u8]) {
    let mut reply = vec![0; expected.len()];
    socket.read_exact(&mut reply).expect("a reply");
    assert_eq!(
        reply.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
}

/// Tries until it gives something.
pub(crate) fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
