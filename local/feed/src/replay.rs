//! The position of the replay, and its state file.

use std::{
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

/// The replay's position: `position` recorded seconds at `since`, advancing at `speed` times real time.
pub(crate) struct Replay {
    position: Duration,
    since: Instant,
    speed: f64,
}

impl Replay {
    pub fn new(position: u64, speed: f64) -> Self {
        Self { position: Duration::from_secs(position), since: Instant::now(), speed }
    }

    /// Whole recorded seconds at `now`.
    pub fn position(&self, now: Instant) -> u64 {
        // If the product overflows, the replay is beyond any end.
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64() * self.speed;
        let elapsed = Duration::try_from_secs_f64(elapsed).unwrap_or_default();
        self.position.saturating_add(elapsed).as_secs()
    }

    pub fn set(&mut self, position: u64) {
        *self = Self::new(position, self.speed);
    }
}

/// The position that an earlier run saved, if there is one.
pub(crate) fn read_state(file: &Path) -> std::io::Result<Option<u64>> {
    match std::fs::read_to_string(file) {
        Ok(text) => text.trim().parse().map(Some).map_err(std::io::Error::other),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the file atomically: a crash leaves the old position or the new one.
pub(crate) fn write_state(file: &Path, position: u64) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut written = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(written, "{position}")?;
    written.persist(file).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_at_its_speed() {
        let replay = Replay::new(90, 10.0);
        let after = |seconds| replay.position(replay.since + Duration::from_secs_f64(seconds));
        assert_eq!(
            [after(0.0), after(0.09), after(0.1), after(0.95), after(1.0), after(11.5)],
            [90, 90, 91, 99, 100, 205]
        );
    }

    #[test]
    fn a_stopped_clock_is_moved_by_hand_only() {
        let mut replay = Replay::new(5, 0.0);
        assert_eq!(replay.position(replay.since + Duration::from_hours(1)), 5);
        replay.set(142);
        assert_eq!(replay.position(replay.since), 142);
    }

    #[test]
    fn state_is_replaced_and_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("position");
        assert_eq!(read_state(&file).unwrap(), None);
        write_state(&file, 7).unwrap();
        write_state(&file, 8).unwrap();
        assert_eq!(read_state(&file).unwrap(), Some(8));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::write(&file, "what").unwrap();
        assert!(read_state(&file).is_err());
    }
}
