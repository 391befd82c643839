//! `tapehead serve`: the recorder for real use.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Exit;
use crate::config::{LogFormat, LogLevel, Machine, Plan, Raw};
use crate::recorder::{Recorder, StartError};
use crate::sys::affinity;

/// Arguments of `serve`.
#[derive(clap::Args)]
pub struct Args {
    /// Read the configuration from this TOML file; TAPEHEAD_... variables override it
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print every setting as commented TOML, with its present value, and end
    #[arg(long)]
    print_config: bool,
}

/// Runs until SIGTERM or SIGINT; the second one ends the draining. SIGHUP has certificates read again.
pub fn run(args: Args) -> ExitCode {
    match serve(&args) {
        Ok(()) => Exit::Ok.into(),
        Err((exit, why)) => {
            eprintln!("{why}");
            exit.into()
        }
    }
}

type Failure = (Exit, String);

fn serve(args: &Args) -> Result<(), Failure> {
    let raw = gather(args.config.as_deref())?;
    let machine = Machine { cores: affinity::allowed_cores().map_or(1, |cores| cores.len()) };
    let checked = Plan::check(&raw, machine);
    if args.print_config {
        // A closed pipe is nobody's fault.
        let _ = std::io::stdout().write_all(raw.to_toml().as_bytes());
    }
    let plan = checked.map_err(|problems| (Exit::Usage, problems.to_string()))?;
    if args.print_config {
        return Ok(());
    }
    log_to_stderr(plan.log_level, plan.log_format);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(system)?.block_on(record(plan))
}

/// The settings: defaults, the file, variables.
pub(super) fn gather(config: Option<&Path>) -> Result<Raw, Failure> {
    let raw = match config {
        None => Raw::default(),
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|why| (Exit::Usage, format!("{name}: the configuration can't be read: {why}")))?;
            Raw::default().file(&name, &text)
        }
    };
    // A variable that is not Unicode can't be one of ours.
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        Some((name, value.to_string_lossy().into_owned()))
    });
    Ok(raw.environment(variables))
}

async fn record(plan: Plan) -> Result<(), Failure> {
    // Before the start, so that no signal is lost.
    let mut signals = [signal(SignalKind::terminate()).map_err(system)?, signal(SignalKind::interrupt()).map_err(system)?];
    let mut again = signal(SignalKind::hangup()).map_err(system)?;
    let recorder = Recorder::start(plan, None).map_err(|why| {
        // Everything but this is found out before a socket is opened.
        let exit = if matches!(why, StartError::Bind(_)) { Exit::Failed } else { Exit::Usage };
        (exit, why.to_string())
    })?;
    let stopper = recorder.stopper();
    loop {
        tokio::select! {
            () = recorder.ended() => break,
            () = either(&mut signals) => stopper.stop(),
            Some(()) = again.recv() => recorder.reload(),
        }
    }
    recorder.join().map_err(|_| (Exit::Failed, "the control thread panicked; see the log".to_owned()))
}

async fn either([terminate, interrupt]: &mut [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn system(why: std::io::Error) -> Failure {
    (Exit::Failed, format!("the system refuses what every program needs: {why}"))
}

fn log_to_stderr(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let subscriber = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(colours);
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}
