//! The binary `quoteflow`.

use std::process::ExitCode;

fn main() -> ExitCode {
    quoteflow::main()
}
