//! The commands of `quoteflow`.

pub(crate) mod repair;
pub(crate) mod run;
pub(crate) mod send_again;
pub(crate) mod status;
