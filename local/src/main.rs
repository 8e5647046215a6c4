//! The binary `local`.

use std::process::ExitCode;

fn main() -> ExitCode {
    local::main()
}
