//! The `hookgate` command.

use std::process::ExitCode;

/// A gateway is mostly small allocations that live as long as a request.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hookgate::cli::main()
}
