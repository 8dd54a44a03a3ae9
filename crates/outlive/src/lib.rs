//! Placeholder: written in the first session.
