//! The conformance suite over the simulated fabric.

use std::sync::Arc;

use outlive_fabric::conformance::Harness;
use outlive_fabric::sim::{Network, SimAddress, SimEndpoint, SimOptions};
use outlive_fabric::testing::TestTarget;
use outlive_fabric::{FabricError, Ticket, conformance_suite};

struct Sim {
    network: Network,
    address: SimAddress,
}

impl Harness for Sim {
    type Endpoint = SimEndpoint;

    fn serve(target: Arc<TestTarget>) -> Self {
        let network = Network::new(SimOptions::default());
        let address = network.serve(target);
        Self { network, address }
    }

    fn connect(&self, ticket: &Ticket) -> Result<SimEndpoint, FabricError> {
        self.network.connect(self.address, ticket)
    }

    fn connect_blindly(&self, ticket: &Ticket) -> Result<(), FabricError> {
        self.network.connect_blindly(self.address, ticket).map(drop)
    }

    fn shut_down(self) {
        self.network.shut_down(self.address);
    }
}

conformance_suite!(Sim);
