//! TCP, plain and encrypted.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use outlive_fabric::conformance::{Harness, Line, Settings, Unable};
use outlive_fabric::tcp::hello::Reply;
use outlive_fabric::tcp::{
    ConnectOptions, DataCertificate, Encryption, Limits, Listener, PinnedCertificate, TcpEndpoint, TlsPolicy,
    connect,
};
use outlive_fabric::testing::line::TcpLine;
use outlive_fabric::testing::{TestTarget, raw};
use outlive_fabric::{Admission, FabricError, Ticket};

pub(crate) struct Plain {
    listener: Listener,
    options: ConnectOptions,
}

impl Harness for Plain {
    type Endpoint = TcpEndpoint;

    fn serve(target: Arc<TestTarget>, settings: Settings) -> Self {
        let admission: Arc<dyn Admission> = target;
        let listener = Listener::bind("127.0.0.1:0", admission, Limits::default());
        Self {
            listener: listener.expect("loopback can be bound"),
            options: options(settings, None),
        }
    }

    fn connect(&self, ticket: &Ticket) -> Result<TcpEndpoint, FabricError> {
        connect(&self.listener.local_addr().to_string(), ticket, &self.options)
    }

    fn connect_blindly(&self, ticket: &Ticket) -> Result<(), FabricError> {
        let mut stream = TcpStream::connect(self.listener.local_addr()).map_err(FabricError::Lost)?;
        outcome(raw::greet(&mut stream, ticket))
    }

    fn connect_on_a_line(&self, ticket: &Ticket) -> Result<(TcpEndpoint, Box<dyn Line>), Unable> {
        Ok(on_a_line(self.listener.local_addr(), ticket, &self.options))
    }

    fn shut_down(&self) {
        self.listener.shutdown();
    }
}

pub(crate) struct Encrypted {
    listener: Listener,
    certificate: DataCertificate,
    options: ConnectOptions,
}

impl Harness for Encrypted {
    type Endpoint = TcpEndpoint;

    fn serve(target: Arc<TestTarget>, settings: Settings) -> Self {
        let certificate = DataCertificate::ephemeral().expect("made");
        let encryption = Encryption {
            policy: TlsPolicy::Require,
            certificate: certificate.clone(),
        };
        let admission: Arc<dyn Admission> = target;
        let listener = Listener::bind_with("127.0.0.1:0", admission, Limits::default(), Some(encryption));
        Self {
            listener: listener.expect("loopback can be bound"),
            options: options(settings, Some(certificate.pinned())),
            certificate,
        }
    }

    fn connect(&self, ticket: &Ticket) -> Result<TcpEndpoint, FabricError> {
        connect(&self.listener.local_addr().to_string(), ticket, &self.options)
    }

    fn connect_blindly(&self, ticket: &Ticket) -> Result<(), FabricError> {
        let stream = TcpStream::connect(self.listener.local_addr()).map_err(FabricError::Lost)?;
        let (mut stream, binding) =
            raw::encrypt(stream, &self.certificate.pinned()).map_err(FabricError::Lost)?;
        outcome(raw::greet_bound(&mut stream, ticket, binding))
    }

    fn connect_on_a_line(&self, ticket: &Ticket) -> Result<(TcpEndpoint, Box<dyn Line>), Unable> {
        Ok(on_a_line(self.listener.local_addr(), ticket, &self.options))
    }

    fn shut_down(&self) {
        self.listener.shutdown();
    }
}

fn options(settings: Settings, tls: Option<PinnedCertificate>) -> ConnectOptions {
    ConnectOptions {
        op_timeout: settings.op_timeout,
        window_ops: settings.window_ops,
        tls,
        ..ConnectOptions::default()
    }
}

fn on_a_line(target: SocketAddr, ticket: &Ticket, options: &ConnectOptions) -> (TcpEndpoint, Box<dyn Line>) {
    let line = TcpLine::to(target).expect("loopback can be bound");
    let endpoint = connect(&line.local_addr().to_string(), ticket, options);
    (endpoint.expect("a valid ticket lets in"), Box::new(line))
}

fn outcome(greeted: std::io::Result<Reply>) -> Result<(), FabricError> {
    match greeted.map_err(FabricError::Lost)? {
        Reply::Refused(refusal) => Err(FabricError::Refused(refusal)),
        Reply::Welcome { .. } => Ok(()),
        Reply::Challenge(_) => Err(FabricError::Protocol("challenged twice".into())),
    }
}
