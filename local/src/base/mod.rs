//! Used by all other modules: the names and limits of the flow, and a run's data folder, addresses and symbols.

pub(crate) mod clock;
pub(crate) mod data_dir;
pub(crate) mod endpoints;
pub(crate) mod hint;
pub mod names;
pub(crate) mod options;
pub(crate) mod polling;
