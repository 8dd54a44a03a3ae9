//! Who somebody is: names, certificates, authorities, and mutual TLS.
//!
//! An identity is the common name of a certificate that a trusted authority signed. Both sides of a control
//! connection show one; TLS 1.3 only. What an identity may do is not decided here.
//!
//! [`Authority`] signs certificates, [`Folder`] keeps those of a server on disk, [`listen`] lets clients in and says
//! who they are ([`Caller`]), [`connector`] is the other side. Invariants:
//!
//! - A connection comes out of [`listen`] only after its certificate was checked and names exactly one [`Name`]; it
//!   ends when that certificate expires or is not trusted any more.
//! - What a stranger can hold is bounded, and holding it locks nobody else out.
//! - Replaced files count from the next handshake on; unusable ones leave the ones before in force.
//! - Private keys are wiped when dropped, are never shown, and a file with one that others can read is refused.
//!
//! It fails with [`IdentityError`] (files, certificates) and [`ConnectError`] (connections).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use outlive_identity::{Authority, ClientTls, DEFAULT_VALIDITY, ListenOptions, ServerTls, Source};
//! use outlive_identity::{connector, listen};
//! use tokio::io::AsyncWriteExt;
//! use tokio_stream::StreamExt;
//!
//! let authority = Authority::generate()?;
//! let shown = authority.issue_server(&"system/server".parse()?, &["127.0.0.1".into()], DEFAULT_VALIDITY)?;
//! let tls = ServerTls::new(authority.certificate_pem(), &shown)?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let mut incoming = listen(listener, tls, ListenOptions::default(), |_| {})?;
//! let address = incoming.local_addr().to_string();
//! let server = tokio::spawn(async move {
//!     let mut connection = incoming.next().await.expect("one comes").expect("let in");
//!     connection.write_all(b"hello").await.expect("taken");
//!     connection.caller().name.to_string()
//! });
//!
//! let alice = authority.issue_client(&"alice".parse()?, DEFAULT_VALIDITY)?;
//! let inline = |text: &str| Source::Inline(text.to_owned().into());
//! let tls = ClientTls::new(
//!     inline(authority.certificate_pem()),
//!     inline(&alice.certificate_pem),
//!     inline(&alice.key_pem),
//! );
//! connector(tls, address, Duration::from_secs(10)).connect().await?;
//! assert_eq!(server.await?, "alice");
//! # Ok(())
//! # }
//! ```

mod authority;
mod certificate;
mod client;
mod credentials;
mod error;
mod file;
mod folder;
mod name;
mod request;
mod server;
mod tls;

pub use authority::{Authority, DEFAULT_VALIDITY, Issued};
pub use certificate::Certificate;
pub use client::{ClientStream, ClientTls, ConnectError, Connector, Source, connector};
pub use credentials::Credentials;
pub use error::IdentityError;
pub use folder::{Folder, Party};
pub use name::{Caller, MAX_NAME_BYTES, Name, NameError, Serial};
pub use request::SigningRequest;
pub use server::{Connection, Incoming, ListenEvent, ListenOptions, Rejected, ServerTls, listen};
