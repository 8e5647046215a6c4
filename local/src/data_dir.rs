//! The folder in which a run keeps its data.

use std::{
    fs::{File, Permissions, TryLockError},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

const LOCK: &str = "lock";

/// The data folder, held by one run at a time.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder where it is missing, and takes it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        for folder in ["logs", "tmp", "kafka", "s3", "aws", "bigquery", "home", "dbt"] {
            let folder = path.join(folder);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        // The stand-ins keep the functions' variables there.
        std::fs::set_permissions(&path, Permissions::from_mode(0o700))
            .with_context(|| format!("{} is not this user's", path.display()))?;
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

/// Forgets everything in the data folder.
pub(crate) fn reset(path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        println!("{} is not there: nothing to forget", path.display());
        return Ok(());
    }
    if !path.join(LOCK).exists() {
        bail!(
            "{} is no data folder of `quoteflow` (it has no file {LOCK:?}): nothing was removed",
            path.display()
        );
    }
    let _lock = lock(path)?;
    std::fs::remove_dir_all(path).with_context(|| format!("{} cannot be removed", path.display()))?;
    println!("forgot {}", path.display());
    Ok(())
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
        assert!(reset(folder.path()).is_err());
        drop(held);
        reset(folder.path()).unwrap();
        assert!(!folder.path().exists());
    }

    #[test]
    fn a_folder_that_is_not_its_own_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("precious"), "").unwrap();
        assert!(reset(folder.path()).is_err());
        assert!(folder.path().join("precious").exists());
    }
}
