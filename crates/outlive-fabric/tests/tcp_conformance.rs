//! The conformance suite over TCP.

use std::sync::Arc;

use outlive_fabric::conformance::Harness;
use outlive_fabric::tcp::{ConnectOptions, Limits, Listener, TcpEndpoint, connect};
use outlive_fabric::testing::TestTarget;
use outlive_fabric::{Admission, FabricError, TicketId, conformance_suite};

struct Tcp(Listener);

impl Harness for Tcp {
    type Endpoint = TcpEndpoint;

    fn serve(target: Arc<TestTarget>) -> Self {
        let admission: Arc<dyn Admission> = target;
        Self(Listener::bind("127.0.0.1:0", admission, Limits::default()).expect("loopback can be bound"))
    }

    fn connect(&self, ticket: TicketId) -> Result<TcpEndpoint, FabricError> {
        connect(
            &self.0.local_addr().to_string(),
            ticket,
            &ConnectOptions::default(),
        )
    }

    fn shut_down(self) {
        self.0.shutdown();
    }
}

conformance_suite!(Tcp);
