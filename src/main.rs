//! The `tapehead` binary: hands the command line to [`tapehead::cli`].

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tapehead::cli::main()
}
