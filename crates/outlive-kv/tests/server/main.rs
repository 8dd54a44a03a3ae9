//! The server as its clients see it, on a real pair: unit and manager in this process, members each with a
//! runtime of its own, so that one can be killed.

mod clients;
mod members;
mod protocol;
mod support;
mod tools;
