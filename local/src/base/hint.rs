//! Commands in messages. They can be pasted into the shell that called `quoteflow`.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The label of the command at the end of a message.
pub(crate) const START_IT: &str = "Start it: ";
/// The default of `--data-dir`.
pub(crate) const DATA_DIR: &str = ".local";

/// The command that runs the verb on the data folder. In the project's folder it is a `make` command.
pub(crate) fn command(verb: &str, data_dir: &Path) -> String {
    let make = match verb {
        "run" => Some("local"),
        "status" => Some("local-status"),
        "reset" => Some("local-reset"),
        _ => None,
    };
    let data_dir = shortened(data_dir);
    let is_default = data_dir == Path::new(DATA_DIR);
    let data_dir = data_dir.display().to_string();
    match make {
        // make would read a word with a space as two words.
        Some(target) if is_in_project() && (is_default || is_plain(&data_dir)) => {
            let data = if is_default { String::new() } else { format!(" DATA={data_dir}") };
            format!("make {target}{data}")
        }
        _ => {
            let program = env::args().next().unwrap_or_else(|| "quoteflow".to_owned());
            let data = if is_default { String::new() } else { format!(" --data-dir {}", word(&data_dir)) };
            format!("{} {verb}{data}", word(&program))
        }
    }
}

fn is_in_project() -> bool {
    Path::new("Makefile").exists() && Path::new("dbt_stocks/dbt_project.yml").exists()
}

/// The path relative to the working directory, if it is below it.
fn shortened(path: &Path) -> PathBuf {
    let below = env::current_dir().ok().and_then(|here| Some(path.strip_prefix(here).ok()?.to_owned()));
    below.unwrap_or_else(|| path.to_owned())
}

/// The text quoted as one word of a shell.
fn word(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn is_plain(text: &str) -> bool {
    let plain = |character: char| character.is_ascii_alphanumeric() || "_-./:@%+,=".contains(character);
    !text.is_empty() && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_what_a_shell_reads_back() {
        for text in [".local", "/tmp/a b", "it's", "$HOME", "", "a;b", "ü"] {
            let echoed =
                std::process::Command::new("sh").args(["-c", &format!("printf %s {}", word(text))]).output();
            assert_eq!(String::from_utf8(echoed.unwrap().stdout).unwrap(), text);
        }
    }
}
