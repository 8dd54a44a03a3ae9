//! A listener that greets whoever it lets in, and clients of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outlive_identity::{
    Authority, Caller, ClientStream, ClientTls, ConnectError, Credentials, DEFAULT_VALIDITY, ListenEvent,
    ListenOptions, Rejected, ServerTls, Source, connector, listen,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tower::Service;

/// Far more than anything here takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) callers: mpsc::UnboundedReceiver<Caller>,
    pub(crate) rejected: Arc<Mutex<Vec<Rejected>>>,
    _serving: tokio::task::JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(tls: ServerTls) -> Self {
        Self::start_with(tls, ListenOptions::default()).await
    }

    pub(crate) async fn start_with(tls: ServerTls, options: ListenOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rejected = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&rejected);
        let mut incoming = listen(listener, tls, options, move |event| {
            if let ListenEvent::Rejected(one) = event {
                told.lock().unwrap().push(one.clone());
            }
        })
        .unwrap();
        let address = incoming.local_addr();
        let (sender, callers) = mpsc::unbounded_channel();
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(async move {
            while let Some(Ok(mut connection)) = incoming.next().await {
                sender.send(connection.caller().clone()).unwrap();
                tokio::spawn(async move {
                    // Greets, then gives back what it is sent until the other side ends.
                    let _ = connection.write_all(b"let in").await;
                    let (mut read, mut write) = tokio::io::split(connection);
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        Self {
            address,
            callers,
            rejected,
            _serving: serving,
        }
    }

    pub(crate) async fn connect(&self, tls: ClientTls) -> Result<ClientStream, ConnectError> {
        let stream = connector(tls, self.address.to_string(), PATIENCE)
            .call("https://ignored".parse().unwrap())
            .await?;
        Ok(stream.into_inner())
    }

    /// Waits for somebody who was not let in.
    pub(crate) async fn await_rejected(&self) -> Rejected {
        eventually(|| self.rejected.lock().unwrap().pop()).await
    }
}

/// Tries until it gives something.
pub(crate) async fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn local_hosts() -> Vec<String> {
    vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
}

pub(crate) fn server_tls(authority: &Authority) -> ServerTls {
    let server = authority.issue_server(
        &"system/server".parse().unwrap(),
        &local_hosts(),
        DEFAULT_VALIDITY,
    );
    ServerTls::new(authority.certificate_pem(), &server.unwrap()).unwrap()
}

pub(crate) fn client(authority: &Authority, name: &str) -> Credentials {
    authority
        .issue_client(&name.parse().unwrap(), DEFAULT_VALIDITY)
        .unwrap()
}

pub(crate) fn client_tls(roots_pem: &str, credentials: &Credentials) -> ClientTls {
    let inline = |text: &str| Source::Inline(text.to_owned().into());
    ClientTls::new(
        inline(roots_pem),
        inline(&credentials.certificate_pem),
        inline(&credentials.key_pem),
    )
}
