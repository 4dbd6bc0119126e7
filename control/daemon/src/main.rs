//! The program `weir`; see the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    weir_control::main()
}
