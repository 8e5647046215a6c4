//! The servers of a run, and their provisioning.

pub(crate) mod aws;
pub(crate) mod child;
pub(crate) mod functions;
pub(crate) mod history;
pub(crate) mod provision;
pub(crate) mod stand_ins;
