//! archive-quotes
