//! fetch-quotes
