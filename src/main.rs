//! The `tapehead` binary: hands the command line to [`tapehead::cli`].

fn main() -> std::process::ExitCode {
    tapehead::cli::main()
}
