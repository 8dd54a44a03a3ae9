//! The simulated fabric, in virtual time and in real time.

use std::sync::Arc;

use outlive_fabric::conformance::{Harness, Line, Settings, Unable};
use outlive_fabric::sim::{Network, SimAddress, SimEndpoint, SimOptions};
use outlive_fabric::testing::TestTarget;
use outlive_fabric::{Admission, ConnectionId, FabricError, Ticket};

/// What cannot be shown here.
pub(crate) const UNABLE: [&str; 3] = [
    // Operations are values here, not bytes.
    "what_is_not_the_protocol_ends_its_connection_only",
    // A connection has one end each, no halves.
    "whoever_ends_its_sending_is_served_to_its_end",
    // Time here is not that of the system's descriptors.
    "a_descriptor_says_when_to_look",
];

pub(crate) struct Sim {
    network: Network,
    address: SimAddress,
}

/// The same, following the clock.
pub(crate) struct InRealTime(Sim);

impl Sim {
    pub(crate) fn serving(admission: Arc<dyn Admission>, settings: Settings) -> Self {
        Self::on(Network::new(options(settings)), admission)
    }

    fn on(network: Network, admission: Arc<dyn Admission>) -> Self {
        let address = network.serve(admission);
        Self { network, address }
    }
}

impl Harness for Sim {
    type Endpoint = SimEndpoint;

    fn serve(target: Arc<TestTarget>, settings: Settings) -> Self {
        Self::serving(target, settings)
    }

    fn connect(&self, ticket: &Ticket) -> Result<SimEndpoint, FabricError> {
        self.network.connect(self.address, ticket)
    }

    fn connect_blindly(&self, ticket: &Ticket) -> Result<(), FabricError> {
        self.network.connect_blindly(self.address, ticket).map(drop)
    }

    fn connect_on_a_line(&self, ticket: &Ticket) -> Result<(SimEndpoint, Box<dyn Line>), Unable> {
        let endpoint = self.connect(ticket).expect("a valid ticket lets in");
        let line = SimLine {
            network: self.network.clone(),
            connection: endpoint.connection(),
        };
        Ok((endpoint, Box::new(line)))
    }

    fn shut_down(&self) {
        self.network.shut_down(self.address);
    }
}

impl Harness for InRealTime {
    type Endpoint = SimEndpoint;

    fn serve(target: Arc<TestTarget>, settings: Settings) -> Self {
        Self(Sim::on(Network::in_real_time(options(settings)), target))
    }

    fn connect(&self, ticket: &Ticket) -> Result<SimEndpoint, FabricError> {
        self.0.connect(ticket)
    }

    fn connect_blindly(&self, ticket: &Ticket) -> Result<(), FabricError> {
        self.0.connect_blindly(ticket)
    }

    fn connect_on_a_line(&self, ticket: &Ticket) -> Result<(SimEndpoint, Box<dyn Line>), Unable> {
        self.0.connect_on_a_line(ticket)
    }

    fn shut_down(&self) {
        self.0.shut_down();
    }
}

fn options(settings: Settings) -> SimOptions {
    SimOptions {
        op_timeout: settings.op_timeout,
        window_ops: settings.window_ops,
        ..SimOptions::default()
    }
}

struct SimLine {
    network: Network,
    connection: ConnectionId,
}

impl Line for SimLine {
    fn fall_silent(&self) {
        self.network.partition(self.connection);
    }

    /// Operations travel whole, so it falls silent before the next one.
    fn fall_silent_after(&self, _: u64) {
        self.fall_silent();
    }

    fn heal(&self) {
        self.network.heal(self.connection);
    }

    fn cut(&self) {
        // In a silence nobody would hear of it.
        self.heal();
        self.network.lose(self.connection);
    }

    fn end_sending(&self) -> Result<(), Unable> {
        Err(Unable::because(
            "a simulated connection has one end each, no halves",
        ))
    }

    fn inject(&self, _: &[u8]) -> Result<(), Unable> {
        Err(Unable::because(
            "operations are values in the simulator, not bytes",
        ))
    }
}
