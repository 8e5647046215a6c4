//! The folder in which a run keeps its data.

use std::{
    fs::{DirEntry, File, Permissions, TryLockError},
    io::{ErrorKind, IsTerminal, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const LOCK: &str = "lock";
/// The file for values that cannot be read from the stores.
const STATE: &str = "state.json";

/// The data folder, locked by one run at a time.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the folder if it is missing, and locks it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        for folder in ["logs", "tmp", "kafka", "s3", "aws", "bigquery", "home", "dbt"] {
            let folder = path.join(folder);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("{} cannot be created", folder.display()))?;
        }
        // The stand-ins keep the functions' variables in it.
        std::fs::set_permissions(&path, Permissions::from_mode(0o700)).with_context(|| {
            format!("{} cannot be protected; does it belong to another user?", path.display())
        })?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.join(name).display().to_string()
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.join("logs").join(format!("{name}.log"))
    }
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let file = path.join(LOCK);
    let file = File::create(&file).with_context(|| format!("{} cannot be written", file.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another `quoteflow run` uses {}: stop it, or pass --data-dir DIR", path.display())
        }
        Err(TryLockError::Error(error)) => Err(error).context(format!("{} cannot be locked", path.display())),
    }
}

/// The state of the latest run on a data folder.
pub(crate) enum Latest {
    /// There was no run.
    None,
    /// It is running.
    Running,
    /// It ended at this time, and kept this many quotes.
    Ended { at: Option<Timestamp>, quotes: u64 },
}

/// The state of the latest run, read from the data folder without a request to a server.
///
/// # Errors
/// If the folder cannot be read.
pub(crate) fn latest(path: &Path) -> anyhow::Result<Latest> {
    let file = match File::open(path.join(LOCK)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Latest::None),
        opened => opened.with_context(|| format!("{} cannot be read", path.display()))?,
    };
    if matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
        return Ok(Latest::Running);
    }
    let state = path.join(STATE);
    let at = state.metadata().and_then(|state| state.modified()).ok();
    let at = at.and_then(|at| Timestamp::try_from(at).ok());
    Ok(Latest::Ended { at, quotes: fetched(path) })
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    fetched: u64,
}

/// How many quotes the runs on a data folder have fetched; 0 if that was not noted.
pub(crate) fn fetched(path: &Path) -> u64 {
    let state = std::fs::read(path.join(STATE)).unwrap_or_default();
    serde_json::from_slice::<State>(&state).unwrap_or_default().fetched
}

/// Notes how many quotes the runs on a data folder have fetched.
pub(crate) fn note_fetched(path: &Path, fetched: u64) -> anyhow::Result<()> {
    write_json(&path.join(STATE), &State { fetched })
}

/// Writes JSON so that a reader sees the old file or the new one, never half of one.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be written", path.display());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).with_context(cannot)?;
    serde_json::to_writer_pretty(&mut file, value)?;
    file.write_all(b"\n").with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    Ok(())
}

/// Removes everything in the data folder. On a terminal it asks first.
pub(crate) fn reset(path: &Path, yes: bool) -> anyhow::Result<()> {
    if !path.exists() {
        println!("{} does not exist: nothing to remove", path.display());
        return Ok(());
    }
    if !path.join(LOCK).exists() {
        bail!(
            "{} is not a data folder of `quoteflow` (it has no file {LOCK:?}): nothing was removed",
            path.display()
        );
    }
    let _lock = lock(path)?;
    let what =
        format!("{}: {} quotes, {} MB", path.display(), fetched(path), bytes(path).div_ceil(1_000_000));
    if !yes && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        print!("Remove {what}? [y/N] ");
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            println!("nothing was removed");
            return Ok(());
        }
    }
    std::fs::remove_dir_all(path).with_context(|| format!("{} cannot be removed", path.display()))?;
    println!("removed {what}");
    Ok(())
}

/// How many bytes the files below have. Unreadable ones do not count.
fn bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let size = |entry: DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_cannot_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let held = DataDir::open(folder.path()).unwrap();
        let error = DataDir::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("--data-dir"), "{error}");
        assert!(reset(folder.path(), true).is_err());
        assert!(matches!(latest(folder.path()).unwrap(), Latest::Running));
        drop(held);
        assert!(matches!(latest(folder.path()).unwrap(), Latest::Ended { quotes: 0, .. }));
        reset(folder.path(), true).unwrap();
        assert!(!folder.path().exists());
        assert!(matches!(latest(folder.path()).unwrap(), Latest::None));
    }

    #[test]
    fn a_folder_that_is_not_its_own_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("precious"), "").unwrap();
        assert!(reset(folder.path(), true).is_err());
        assert!(folder.path().join("precious").exists());
    }
}
