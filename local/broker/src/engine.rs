//! Adds to the engine a clock, and the calls of its log cleaner.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use noida::kafka::{engine::EngineState, log::LogConfig};

pub(crate) fn set_clock(engine: &mut EngineState, clock: &Arc<AtomicU64>) {
    let clock = clock.clone();
    engine.clock = Some(Arc::new(move || clock.load(Ordering::Relaxed)));
}

/// Runs the engine's log cleaner on partitions where it may find something, because it is quadratic in a partition's
/// segments. Returns whether anything was removed.
pub(crate) fn clean(engine: &mut EngineState) -> bool {
    let now = engine.now_ms();
    let mut changed = false;
    for topic in engine.topics.values_mut().filter(|topic| !topic.is_internal) {
        let config = LogConfig::of(&topic.configs);
        for part in topic.partitions.values_mut().filter(|part| !part.record_batches.is_empty()) {
            if config.compact {
                changed |= part.compact(&config, now);
            }
            if config.retention_ms >= 0
                || (config.retention_bytes >= 0 && part.size_bytes() > config.retention_bytes)
            {
                changed |= part.apply_retention(&config, now);
            }
        }
    }
    changed
}
