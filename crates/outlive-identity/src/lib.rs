//! Who somebody is: names, certificates, authorities, and mutual TLS.
//!
//! An identity is the common name of a certificate that a trusted authority signed. Both sides of a control
//! connection show one; TLS 1.3 only. What an identity may do is not decided here.

mod name;

pub use name::{Caller, MAX_NAME_BYTES, Name, NameError, Serial};
