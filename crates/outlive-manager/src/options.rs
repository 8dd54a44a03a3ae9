//! What a manager is started with.

use std::fmt;
use std::sync::Arc;

use outlive_audit::Audit;
use outlive_fabric::tcp::{self, ConnectOptions};
use outlive_fabric::{Endpoint, FabricError, Ticket};
use outlive_identity::{Authority, Name, Serial};
use outlive_proto::v1::unit_admin_client::UnitAdminClient;
use tonic::transport::Channel;

use crate::limits;

/// Connects to a unit's data listener over the fabric: `(address, ticket, how)` to an endpoint. Blocks for at
/// most the provider's own time-out; called from a thread of the manager's, never from async code.
pub type CatalogConnector =
    Arc<dyn Fn(&str, &Ticket, &ConnectOptions) -> Result<Box<dyn Endpoint>, FabricError> + Send + Sync>;

/// What a manager is started with.
#[derive(Clone)]
pub struct ManagerOptions {
    /// Reaches the unit's admin service: in `serve` over an in-process channel (`Unit::admin_client`), else
    /// over the network. The channel must reconnect by itself (tonic's channels do).
    pub unit: UnitAdminClient<Channel>,
    /// Proof that this manager may program the unit (development form: the unit's shared secret).
    pub proof: Vec<u8>,
    /// Name of this manager, for people: it stands in the unit's log.
    pub name: String,
    /// How the catalog's data connection is made.
    pub connect: CatalogConnector,
    /// Opens, reconnects and takeovers per second, all clients together.
    pub opens_per_second: u32,
    /// Opens that may come at once after a quiet time.
    pub open_burst: u32,
    /// Opens, reconnects and takeovers per second of one identity.
    pub identity_opens_per_second: u32,
    /// Opens of one identity that may come at once after a quiet time.
    pub identity_open_burst: u32,
    /// Identities that are made administrators at an attach if the catalog does not know them; with the serial number of
    /// the one certificate that counts, where not every one does. So the first administrator gets in; who was revoked or
    /// lost the role stays without.
    pub administrators: Vec<(Name, Option<Serial>)>,
    /// Signs certificates for `IssueIdentity`; `None`: they come from an authority of one's own.
    pub authority: Option<Arc<Authority>>,
    /// Where grants, refusals, fences and administrative acts are written down.
    pub audit: Audit,
}

impl ManagerOptions {
    /// Options with the default connector (tcp).
    #[must_use]
    pub fn new(unit: UnitAdminClient<Channel>, proof: Vec<u8>) -> Self {
        Self {
            unit,
            proof,
            name: format!("manager of process {}", std::process::id()),
            connect: tcp_connector(),
            opens_per_second: limits::OPENS_PER_SECOND,
            open_burst: limits::OPEN_BURST,
            identity_opens_per_second: limits::IDENTITY_OPENS_PER_SECOND,
            identity_open_burst: limits::IDENTITY_OPEN_BURST,
            administrators: Vec::new(),
            authority: None,
            audit: Audit::off(),
        }
    }

    /// Makes `name`, with any certificate that a trusted authority signed for it, an administrator.
    #[must_use]
    pub fn with_administrator(mut self, name: Name) -> Self {
        self.administrators.push((name, None));
        self
    }
}

impl fmt::Debug for ManagerOptions {
    /// Never the proof.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerOptions")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Reaches the catalog over the fabric's tcp provider.
#[must_use]
pub fn tcp_connector() -> CatalogConnector {
    Arc::new(|address, ticket, options| {
        let endpoint = tcp::connect(address, ticket, options)?;
        Ok(Box::new(endpoint) as Box<dyn Endpoint>)
    })
}
