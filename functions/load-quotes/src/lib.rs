//! load-quotes
