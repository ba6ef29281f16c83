//! The program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all, before any thread: this process may have been started as the init of a sandbox.
    kiln::sandbox::init_if_requested();
    kiln::cli::run(std::env::args_os())
}
