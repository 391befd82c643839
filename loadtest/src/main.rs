//! The `loadtest` binary: hands the command line to [`loadtest::cli`].

fn main() -> std::process::ExitCode {
    loadtest::cli::main()
}
