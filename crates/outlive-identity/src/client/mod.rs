//! The calling side: shows a certificate, checks the server's, and says clearly who refused whom.

mod connect;
mod connector;
mod error;
mod server;
mod stream;
mod tls;

pub use connector::{Connector, connector};
pub use error::ConnectError;
pub use stream::ClientStream;
pub use tls::{ClientTls, Source};
