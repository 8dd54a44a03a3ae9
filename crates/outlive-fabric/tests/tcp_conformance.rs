//! The conformance suite over TCP.

use std::net::TcpStream;
use std::sync::Arc;

use outlive_fabric::conformance::Harness;
use outlive_fabric::tcp::hello::Reply;
use outlive_fabric::tcp::{ConnectOptions, Limits, Listener, TcpEndpoint, connect};
use outlive_fabric::testing::{TestTarget, raw};
use outlive_fabric::{Admission, FabricError, Ticket, conformance_suite};

struct Tcp(Listener);

impl Harness for Tcp {
    type Endpoint = TcpEndpoint;

    fn serve(target: Arc<TestTarget>) -> Self {
        let admission: Arc<dyn Admission> = target;
        Self(Listener::bind("127.0.0.1:0", admission, Limits::default()).expect("loopback can be bound"))
    }

    fn connect(&self, ticket: &Ticket) -> Result<TcpEndpoint, FabricError> {
        connect(
            &self.0.local_addr().to_string(),
            ticket,
            &ConnectOptions::default(),
        )
    }

    fn connect_blindly(&self, ticket: &Ticket) -> Result<(), FabricError> {
        let mut stream = TcpStream::connect(self.0.local_addr()).map_err(FabricError::Lost)?;
        match raw::greet(&mut stream, ticket).map_err(FabricError::Lost)? {
            Reply::Refused(refusal) => Err(FabricError::Refused(refusal)),
            Reply::Welcome { .. } => Ok(()),
            Reply::Challenge(_) => Err(FabricError::Protocol("challenged twice".into())),
        }
    }

    fn shut_down(self) {
        self.0.shutdown();
    }
}

conformance_suite!(Tcp);
