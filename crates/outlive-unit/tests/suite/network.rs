//! Managers in other processes: both sides know each other, and nobody else programs anything (M3).

use std::net::SocketAddr;
use std::time::Duration;

use outlive_audit::{Audit, AuditOptions};
use outlive_fabric::RegionId;
use outlive_identity::{Authority, ClientTls, ConnectError, Credentials, Name, ServerTls, Source, connector};
use outlive_proto::FromStatus;
use outlive_proto::v1::unit_admin_client::UnitAdminClient;
use outlive_proto::v1::{
    AdmitRequest, AttachRequest, ConnectionsRequest, DescribeRequest, ErrorCode, EventsRequest, FenceRequest,
    PrepareRequest, ProgramRequest, RevokeRequest, UnitStateRequest, WithdrawRequest,
};
use outlive_unit::{AttachSecret, Unit, UnitOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::rig::PATIENCE;

const VALID: Duration = Duration::from_secs(3600);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A unit that serves the manager `system/manager`.
struct Remote {
    _unit: Unit,
    address: SocketAddr,
    authority: Authority,
    folder: TempDir,
    _serving: JoinHandle<()>,
}

impl Remote {
    async fn start() -> Self {
        let authority = Authority::generate().unwrap();
        let shown = server_credentials(&authority, "system/unit");
        Self::showing(authority, &shown).await
    }

    async fn showing(authority: Authority, shown: &Credentials) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = UnitOptions::new(AttachSecret::of_nobody());
        options.audit = Audit::open(&folder.path().join("audit"), AuditOptions::default()).unwrap();
        let unit = Unit::open(&"memory:size=16MiB".parse().unwrap(), options).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = ServerTls::new(authority.certificate_pem(), shown).unwrap();
        let serving = unit.clone();
        let serving = tokio::spawn(async move {
            let managers = vec![name("system/manager"), name("system/other")];
            let never = std::future::pending();
            serving.serve_admin(listener, tls, managers, never).await.unwrap();
        });
        Self {
            _unit: unit,
            address,
            authority,
            folder,
            _serving: serving,
        }
    }

    fn tls(&self, credentials: Credentials) -> ClientTls {
        let authority = self.authority.certificate_pem().to_owned();
        ClientTls::new(
            Source::Inline(authority.into()),
            Source::Inline(credentials.certificate_pem.into()),
            Source::Inline(credentials.key_pem),
        )
        .expecting(name("system/unit"))
    }

    fn admin_with(&self, credentials: Credentials) -> UnitAdminClient<Channel> {
        let connector = connector(self.tls(credentials), self.address.to_string(), PATIENCE);
        UnitAdminClient::new(
            Endpoint::from_static("http://unit.invalid").connect_with_connector_lazy(connector),
        )
    }

    /// A client whose certificate says `identity`.
    fn admin(&self, identity: &str) -> UnitAdminClient<Channel> {
        self.admin_with(self.authority.issue_client(&name(identity), VALID).unwrap())
    }

    fn audited(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("audit")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn server_credentials(authority: &Authority, identity: &str) -> Credentials {
    let hosts = ["127.0.0.1".to_owned()];
    authority.issue_server(&name(identity), &hosts, VALID).unwrap()
}

fn attach() -> AttachRequest {
    AttachRequest {
        proof: Vec::new(),
        manager: "says what it likes".into(),
    }
}

fn code(outcome: Result<impl Sized, Status>) -> ErrorCode {
    let status = outcome.err().expect("must be refused");
    status
        .control_error()
        .unwrap_or_else(|| panic!("untyped: {status}"))
        .code
}

/// What each method answers to somebody who names a manager generation.
async fn codes_of_all(mut admin: UnitAdminClient<Channel>, manager_generation: u64) -> Vec<ErrorCode> {
    let region = RegionId([1; 16]).0.to_vec();
    vec![
        code(
            admin
                .prepare(PrepareRequest {
                    manager_generation,
                    ..PrepareRequest::default()
                })
                .await,
        ),
        code(
            admin
                .program(ProgramRequest {
                    manager_generation,
                    region: region.clone(),
                    ..ProgramRequest::default()
                })
                .await,
        ),
        code(
            admin
                .withdraw(WithdrawRequest {
                    manager_generation,
                    region: region.clone(),
                })
                .await,
        ),
        code(
            admin
                .admit(AdmitRequest {
                    manager_generation,
                    ticket_id: vec![1; 16],
                    secret: vec![1; 32],
                    region: region.clone(),
                    ..AdmitRequest::default()
                })
                .await,
        ),
        code(
            admin
                .fence(FenceRequest {
                    manager_generation,
                    region: region.clone(),
                    ..FenceRequest::default()
                })
                .await,
        ),
        code(
            admin
                .revoke(RevokeRequest {
                    manager_generation,
                    identity: "tenant".into(),
                    ..RevokeRequest::default()
                })
                .await,
        ),
        code(
            admin
                .describe(DescribeRequest {
                    manager_generation,
                    region,
                    page: Vec::new(),
                })
                .await,
        ),
        code(
            admin
                .connections(ConnectionsRequest {
                    manager_generation,
                    region: Vec::new(),
                })
                .await,
        ),
        code(admin.events(EventsRequest { manager_generation }).await),
        code(admin.unit_state(UnitStateRequest { manager_generation }).await),
    ]
}

#[tokio::test]
async fn the_named_manager_needs_nothing_but_its_certificate() {
    let remote = Remote::start().await;
    let mut admin = remote.admin("system/manager");
    // Until it has attached it may do nothing, either.
    assert_eq!(codes_of_all(admin.clone(), 0).await, [ErrorCode::Superseded; 10]);
    let attached = admin.attach(attach()).await.unwrap().into_inner();
    let manager_generation = attached.manager_generation;
    let state = UnitStateRequest { manager_generation };
    admin.unit_state(state).await.unwrap();
    let lines = remote.audited();
    let line = lines.iter().find(|line| line["act"] == "attach").unwrap();
    // What its certificate says counts, not what it calls itself.
    assert_eq!(
        (&line["outcome"], &line["identity"]),
        (&"done".into(), &"system/manager".into())
    );
}

#[tokio::test]
async fn nobody_else_may_do_anything_whatever_certificate_they_have() {
    let remote = Remote::start().await;
    let mut manager = remote.admin("system/manager");
    let generation = manager
        .attach(attach())
        .await
        .unwrap()
        .into_inner()
        .manager_generation;
    for identity in ["tenant", "administrator", "system/server", "system/manager2"] {
        let mut admin = remote.admin(identity);
        assert_eq!(code(admin.attach(attach()).await), ErrorCode::NoAccess);
        assert_eq!(codes_of_all(admin, generation).await, [ErrorCode::NoAccess; 10]);
    }
    let refused = remote.audited();
    let refused = refused.iter().find(|line| line["identity"] == "tenant").unwrap();
    assert_eq!(
        (&refused["act"], &refused["outcome"]),
        (&"attach".into(), &"refused".into())
    );
    assert!(refused["source"].as_str().unwrap().starts_with("127.0.0.1:"));
    // The one in charge was not superseded.
    let request = UnitStateRequest {
        manager_generation: generation,
    };
    manager.unit_state(request).await.unwrap();
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_of_a_server_does_not_connect() {
    let remote = Remote::start().await;
    let foreign = Authority::generate().unwrap();
    let impostors = [
        foreign.issue_client(&name("system/manager"), VALID).unwrap(),
        server_credentials(&remote.authority, "system/manager"),
    ];
    for credentials in impostors {
        let status = remote.admin_with(credentials).attach(attach()).await.unwrap_err();
        let error = ConnectError::find(&status);
        assert!(matches!(error, Some(ConnectError::Refused { .. })), "{status:?}");
    }
    while remote.audited().len() < 2 {
        tokio::task::yield_now().await;
    }
    for line in remote.audited() {
        assert_eq!(
            (&line["act"], &line["outcome"]),
            (&"attach".into(), &"refused".into())
        );
    }
}

#[tokio::test]
async fn an_impostor_unit_is_not_believed() {
    let authority = || Authority::generate().unwrap();
    let mut untrusted = Vec::new();
    // Another server of the same authority, a client of it, and somebody from elsewhere.
    let own = authority();
    let shown = server_credentials(&own, "system/server");
    untrusted.push(Remote::showing(own, &shown).await);
    let own = authority();
    let shown = own.issue_client(&name("system/unit"), VALID).unwrap();
    untrusted.push(Remote::showing(own, &shown).await);
    let elsewhere = server_credentials(&authority(), "system/unit");
    untrusted.push(Remote::showing(authority(), &elsewhere).await);
    for remote in untrusted {
        let status = remote.admin("system/manager").attach(attach()).await.unwrap_err();
        let error = ConnectError::find(&status);
        assert!(
            matches!(error, Some(ConnectError::Untrusted { .. })),
            "{status:?}"
        );
    }
}

#[tokio::test]
async fn of_two_managers_the_later_one_counts() {
    let remote = Remote::start().await;
    let (mut first, mut second) = (remote.admin("system/manager"), remote.admin("system/other"));
    let before = first
        .attach(attach())
        .await
        .unwrap()
        .into_inner()
        .manager_generation;
    let request = EventsRequest {
        manager_generation: before,
    };
    let mut events = first.events(request).await.unwrap().into_inner();
    let after = second
        .attach(attach())
        .await
        .unwrap()
        .into_inner()
        .manager_generation;
    assert_eq!(after, before + 1);
    assert_eq!(codes_of_all(first, before).await, [ErrorCode::Superseded; 10]);
    assert_eq!(code(events.message().await), ErrorCode::Superseded);
    let request = UnitStateRequest {
        manager_generation: after,
    };
    second.unit_state(request).await.unwrap();
}

#[tokio::test]
async fn strangers_do_not_keep_a_manager_out() {
    let remote = Remote::start().await;
    let mut held = Vec::new();
    for number in 0..10 {
        let credentials = remote
            .authority
            .issue_client(&name(&format!("t{number}")), VALID)
            .unwrap();
        let tls = remote.tls(credentials);
        for _ in 0..20 {
            let mut connector = connector(tls.clone(), remote.address.to_string(), PATIENCE);
            // Those beyond what is told why are closed at once.
            let uri = "http://unit.invalid".parse().unwrap();
            if let Ok(stream) = tower::Service::call(&mut connector, uri).await {
                held.push(stream);
            }
        }
    }
    assert!(!held.is_empty());
    remote.admin("system/manager").attach(attach()).await.unwrap();
    // And they do not stay: a stranger's connection is ended, though it asks for nothing.
    let mut stream = held.remove(0).into_inner();
    let mut rest = Vec::new();
    let ended = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
    let ended = tokio::time::timeout(PATIENCE, ended).await;
    assert!(ended.is_ok(), "it is still open");
}
