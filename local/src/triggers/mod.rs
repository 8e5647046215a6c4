//! Invokes the functions, and passes on the events that do.

pub(crate) mod bridge;
pub(crate) mod dashboard;
pub(crate) mod object_events;
pub(crate) mod transform;
