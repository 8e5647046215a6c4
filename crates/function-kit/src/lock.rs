use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks the mutex, even after another holder panicked. Only for values that no panic can leave half changed.
#[allow(clippy::disallowed_methods, reason = "the one place for it")]
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
