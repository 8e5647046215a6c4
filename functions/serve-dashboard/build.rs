//! Compresses the built page into the executable. If the page was not built, the executable contains none.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dist = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../dashboards/web/dist");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut table = String::from("&[");
    for (number, file) in files(&dist)?.into_iter().enumerate() {
        let compressed = out.join(format!("{number}.gz"));
        let mut gzip = GzEncoder::new(fs::File::create(&compressed)?, Compression::best());
        gzip.write_all(&fs::read(&file)?)?;
        gzip.finish()?;
        let path = format!("/{}", file.strip_prefix(&dist)?.display());
        let include = format!("({path:?}, include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{number}.gz\"))),");
        table.push_str(&include);
    }
    table.push(']');
    Ok(fs::write(out.join("page.rs"), table)?)
}

/// The files below `folder`, in the order of their names; none if the folder does not exist.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}
