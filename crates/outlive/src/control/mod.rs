//! Calls to the manager.
