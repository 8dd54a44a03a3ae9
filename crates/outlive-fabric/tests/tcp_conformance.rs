//! The conformance suite over TCP, plain and encrypted.

use std::net::TcpStream;
use std::sync::Arc;

use outlive_fabric::conformance::Harness;
use outlive_fabric::tcp::hello::Reply;
use outlive_fabric::tcp::{
    ConnectOptions, DataCertificate, Encryption, Limits, Listener, TcpEndpoint, TlsPolicy, connect,
};
use outlive_fabric::testing::{TestTarget, raw};
use outlive_fabric::{Admission, FabricError, Ticket, conformance_suite};

mod plain {
    use super::*;

    struct Tcp(Listener);

    impl Harness for Tcp {
        type Endpoint = TcpEndpoint;

        fn serve(target: Arc<TestTarget>) -> Self {
            let admission: Arc<dyn Admission> = target;
            let listener = Listener::bind("127.0.0.1:0", admission, Limits::default());
            Self(listener.expect("loopback can be bound"))
        }

        fn connect(&self, ticket: &Ticket) -> Result<TcpEndpoint, FabricError> {
            let address = self.0.local_addr().to_string();
            connect(&address, ticket, &ConnectOptions::default())
        }

        fn connect_blindly(&self, ticket: &Ticket) -> Result<(), FabricError> {
            let mut stream = TcpStream::connect(self.0.local_addr()).map_err(FabricError::Lost)?;
            outcome(raw::greet(&mut stream, ticket))
        }

        fn shut_down(self) {
            self.0.shutdown();
        }
    }

    conformance_suite!(Tcp);
}

mod encrypted {
    use super::*;

    struct Tls {
        listener: Listener,
        certificate: DataCertificate,
    }

    impl Harness for Tls {
        type Endpoint = TcpEndpoint;

        fn serve(target: Arc<TestTarget>) -> Self {
            let certificate = DataCertificate::ephemeral().expect("made");
            let encryption = Encryption {
                policy: TlsPolicy::Require,
                certificate: certificate.clone(),
            };
            let admission: Arc<dyn Admission> = target;
            let listener = Listener::bind_with("127.0.0.1:0", admission, Limits::default(), Some(encryption));
            Self {
                listener: listener.expect("loopback can be bound"),
                certificate,
            }
        }

        fn connect(&self, ticket: &Ticket) -> Result<TcpEndpoint, FabricError> {
            let address = self.listener.local_addr().to_string();
            let options = ConnectOptions {
                tls: Some(self.certificate.pinned()),
                ..ConnectOptions::default()
            };
            connect(&address, ticket, &options)
        }

        fn connect_blindly(&self, ticket: &Ticket) -> Result<(), FabricError> {
            let stream = TcpStream::connect(self.listener.local_addr()).map_err(FabricError::Lost)?;
            let (mut stream, binding) =
                raw::encrypt(stream, &self.certificate.pinned()).map_err(FabricError::Lost)?;
            outcome(raw::greet_bound(&mut stream, ticket, binding))
        }

        fn shut_down(self) {
            self.listener.shutdown();
        }
    }

    conformance_suite!(Tls);
}

fn outcome(greeted: std::io::Result<Reply>) -> Result<(), FabricError> {
    match greeted.map_err(FabricError::Lost)? {
        Reply::Refused(refusal) => Err(FabricError::Refused(refusal)),
        Reply::Welcome { .. } => Ok(()),
        Reply::Challenge(_) => Err(FabricError::Protocol("challenged twice".into())),
    }
}
