//! What invokes the functions, or passes on what does.

pub(crate) mod bridge;
pub(crate) mod dashboard;
pub(crate) mod object_events;
pub(crate) mod transform;
