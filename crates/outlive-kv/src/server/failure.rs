//! How a call that got no reply of the service looks to a client.
//!
//! The first word of an error is what client libraries act on:
//!
//! - `READONLY`: not primary. Sentinel-aware clients (redis-py, go-redis, ioredis, Jedis, …) treat it as
//!   "the primary has moved", drop the connection and ask for the primary again; they do so for reads
//!   too. `MOVED` would be the cluster protocol's, which such clients do not speak.
//! - `OOM`: the journal is full; nothing was changed, and it may work later.
//! - `OUTCOMEUNKNOWN`, `UNKNOWNSESSION`, `OUTOFORDER`, `REPLYFORGOTTEN`, `TOOLARGE`, `STOPPED`: ours;
//!   no library sends a request again by itself because of them.

use outlive_pair::CallError;

use crate::reply::Reply;

pub(super) fn reply(error: CallError) -> Reply {
    let primary = |primary: Option<String>| primary.unwrap_or_else(|| "unknown".into());
    Reply::Error(match error {
        CallError::NotPrimary { primary: address } => {
            let address = primary(address);
            format!("READONLY This member is not primary and answers no data commands. primary={address}")
        }
        CallError::OutcomeUnknown { primary: address } => {
            let address = primary(address);
            format!(
                "OUTCOMEUNKNOWN The primary changed meanwhile; the request may have been carried out. primary={address}"
            )
        }
        error @ CallError::UnknownSession { .. } => format!("UNKNOWNSESSION {error}"),
        error @ CallError::OutOfOrder { .. } => format!("OUTOFORDER {error}"),
        error @ CallError::ReplyForgotten { .. } => format!("REPLYFORGOTTEN {error}"),
        error @ CallError::TooLarge { .. } => format!("TOOLARGE {error}"),
        error @ CallError::Full { .. } => format!("OOM {error}"),
        error @ CallError::Stopped { .. } => format!("STOPPED {error}"),
        error => format!("ERR {error}"),
    })
}
