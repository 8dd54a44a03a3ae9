// A unit and a manager on loopback, in this process. Doctests include this file too, so it has no inner attributes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use outlive::{Context, Credentials, Session, SessionOptions};
use outlive_identity::{Authority, DEFAULT_VALIDITY, ListenOptions, ServerTls, listen};
use outlive_manager::{Manager, ManagerOptions};
use outlive_unit::{AttachSecret, Unit, UnitOptions};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Who calls unless a test says otherwise.
const ADMINISTRATOR: &str = "administrator";
/// Long enough for a restart on a loaded machine.
pub(crate) const RETRY_FOR: Duration = Duration::from_secs(20);

/// Opens the unit, at each start anew.
type OpenUnit = Box<dyn FnMut(UnitOptions) -> Unit + Send>;

/// Unit and manager in one, as `outlive serve` has them.
pub(crate) struct Server {
    open: OpenUnit,
    control: SocketAddr,
    data: SocketAddr,
    running: Option<Running>,
    folder: Option<tempfile::TempDir>,
    authority: Authority,
    tls: ServerTls,
    administrator: Credentials,
}

struct Running {
    unit: Unit,
    secret: AttachSecret,
    control: Option<Control>,
}

struct Control {
    runtime: Runtime,
    manager: Manager,
    end: Option<oneshot::Sender<()>>,
}

impl Server {
    /// On a file medium in a temporary folder.
    pub(crate) fn on_file(size: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let media = format!("file:{},size={size}", folder.path().join("media").display());
        let mut server = Self::start(media);
        server.folder = Some(folder);
        server
    }

    pub(crate) fn in_memory(size: &str) -> Self {
        Self::start(format!("memory:size={size}"))
    }

    fn start(media: String) -> Self {
        Self::with(move |options| {
            let spec = media.parse().expect("a medium");
            Unit::open(&spec, options).expect("a unit")
        })
    }

    /// On a unit that is opened in this way, at each start.
    pub(crate) fn with(open: impl FnMut(UnitOptions) -> Unit + Send + 'static) -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let (authority, tls) = trust();
        let administrator = issue(&authority, ADMINISTRATOR);
        let mut server = Self {
            open: Box::new(open),
            control: any,
            data: any,
            running: None,
            folder: None,
            tls,
            administrator,
            authority,
        };
        server.resume();
        server
    }

    /// The medium's file.
    pub(crate) fn medium(&self) -> PathBuf {
        self.folder.as_ref().expect("file media").path().join("media")
    }

    /// Ends unit and manager without any of the steps of a clean end.
    pub(crate) fn stop(&mut self) {
        self.stop_manager();
        self.running = None;
    }

    /// Ends the manager; the unit goes on.
    pub(crate) fn stop_manager(&mut self) {
        let control = self.running.as_mut().and_then(|running| running.control.take());
        let Some(mut control) = control else {
            return;
        };
        control.manager.stop();
        drop(control.end.take());
        drop(control.manager);
        // Takes the tasks with it that hold unit and manager.
        control.runtime.shutdown_timeout(Duration::from_secs(5));
    }

    /// Starts again, at the same addresses, on the same medium.
    pub(crate) fn resume(&mut self) {
        let secret = AttachSecret::random().expect("randomness");
        let unit = (self.open)(UnitOptions::new(secret.clone()));
        self.data = unit.serve_data(self.data).expect("a data listener");
        self.running = Some(Running {
            unit,
            secret,
            control: None,
        });
        self.resume_manager();
    }

    /// Starts the manager again, at the same address, with what stands on the unit.
    pub(crate) fn resume_manager(&mut self) {
        let runtime = Runtime::new().expect("a runtime");
        let running = self.running.as_mut().expect("a unit");
        let (end, ended) = oneshot::channel::<()>();
        let (manager, control) = runtime.block_on(async {
            let options = ManagerOptions::new(running.unit.admin_client(), running.secret.proof().to_vec())
                .with_administrator(ADMINISTRATOR.parse().expect("a name"));
            let manager = Manager::attach(options).await.expect("a manager");
            let listener = bind_again(self.control).await;
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
        running.control = Some(Control {
            runtime,
            manager,
            end: Some(end),
        });
    }

    /// Zeroes every floor record on the medium, as if none had ever reached the device.
    pub(crate) fn forget_floors(&self) {
        let path = self.medium();
        let mut bytes = std::fs::read(&path).expect("a medium");
        let found: Vec<_> = (0..bytes.len() - 48)
            .filter(|at| bytes[*at..].starts_with(b"OutlvFLR"))
            .collect();
        for at in found {
            bytes[at..at + 48].fill(0);
        }
        std::fs::write(&path, bytes).expect("written");
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        self.resume();
    }

    pub(crate) fn context(&self) -> Context {
        self.context_with(self.administrator.clone())
    }

    /// A certificate for somebody, and its key.
    pub(crate) fn credentials(&self, name: &str) -> Credentials {
        issue(&self.authority, name)
    }

    /// How whoever has these credentials finds it.
    pub(crate) fn context_with(&self, credentials: Credentials) -> Context {
        self.context_at(self.control, credentials)
    }

    /// The same for another address.
    pub(crate) fn context_at(&self, control: SocketAddr, credentials: Credentials) -> Context {
        Context::new(control.to_string(), self.authority.certificate_pem(), credentials)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.control
    }

    /// Another authority, and certificates of it for everybody; counts from the manager's next start.
    pub(crate) fn change_authority(&mut self) {
        (self.authority, self.tls) = trust();
        self.administrator = issue(&self.authority, ADMINISTRATOR);
    }

    pub(crate) fn session(&self) -> Session {
        self.session_for(RETRY_FOR)
    }

    pub(crate) fn session_for(&self, retry_for: Duration) -> Session {
        Session::connect_with(&self.context(), SessionOptions { retry_for }).expect("a session")
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.running.as_ref().expect("running").unit.incarnation()
    }
}

/// A port that was given up for a moment may serve somebody's outgoing connection until that ends.
async fn bind_again(address: SocketAddr) -> TcpListener {
    let began = std::time::Instant::now();
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && began.elapsed() < RETRY_FOR => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            bound => return bound.expect("a control listener"),
        }
    }
}

fn trust() -> (Authority, ServerTls) {
    let authority = Authority::generate().expect("randomness");
    let name = "system/server".parse().expect("a name");
    let hosts = ["127.0.0.1".to_owned()];
    let shown = authority.issue_server(&name, &hosts, DEFAULT_VALIDITY);
    let tls = ServerTls::new(authority.certificate_pem(), &shown.expect("a certificate"));
    (authority, tls.expect("it is usable"))
}

fn issue(authority: &Authority, name: &str) -> Credentials {
    let name = name.parse().expect("a name");
    authority
        .issue_client(&name, DEFAULT_VALIDITY)
        .expect("a certificate")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
