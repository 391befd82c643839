//! `tapehead export FILE -o out.wav`: opens a recording and writes it as a plain WAV file.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::exit::Exit;
use super::output;
use super::place::KeyArg;
use crate::keys::LocalKeys;
use crate::media::SampleFormat;
use crate::store::{ExportError, Exported, OsDisk, export};

/// Arguments of `export`.
#[derive(clap::Args)]
pub struct Args {
    /// A recording's folder or manifest, or one segment
    file: PathBuf,
    /// Where the WAV file goes; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Overwrite the output if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    key: KeyArg,
}

/// Exports. Exit code 3 if something was missing or damaged, and what was good has been written.
pub fn run(args: Args) -> ExitCode {
    let Some(keys) = args.key.open() else { return Exit::Usage.into() };
    let exported = if args.output.as_os_str() == "-" { to_stdout(&args.file, &keys) } else { to_file(&args, &keys) };
    let exported = match exported {
        Ok(exported) => exported,
        Err(why) => {
            eprintln!("tapehead: {}: {why}", args.file.display());
            return Exit::Failed.into();
        }
    };
    for warning in &exported.warnings {
        eprintln!("WARNING: {warning}");
    }
    eprintln!("{}", summary(&exported, &args.output));
    if exported.warnings.is_empty() { Exit::Ok.into() } else { Exit::Partial.into() }
}

fn to_stdout(file: &Path, keys: &LocalKeys) -> Result<Exported, ExportError> {
    let out = io::stdout().lock();
    if out.is_terminal() {
        let why = "standard output is a terminal: redirect it, or name a file";
        return Err(ExportError::Write(io::Error::other(why)));
    }
    export(&OsDisk, file, keys, &mut BufWriter::with_capacity(1 << 18, out), &mut |_| {})
}

fn to_file(args: &Args, keys: &LocalKeys) -> Result<Exported, ExportError> {
    let out = output::create(&args.output, args.force).map_err(ExportError::Write)?;
    let mut out = BufWriter::with_capacity(1 << 18, out);
    let exported = export(&OsDisk, &args.file, keys, &mut out, &mut |_| {})
        .and_then(|exported| out.flush().map(|()| exported).map_err(ExportError::Write));
    if exported.is_err() {
        // A WAV file that ends somewhere would look like a recording that does.
        let _ = std::fs::remove_file(&args.output);
    }
    exported
}

fn summary(exported: &Exported, output: &Path) -> String {
    let audio = &exported.audio;
    let format = match audio.format {
        SampleFormat::Mulaw => "G.711 µ-law",
        SampleFormat::Alaw => "G.711 A-law",
        SampleFormat::Pcm16 => "PCM 16 bit",
    };
    let seconds = exported.samples as f64 / f64::from(audio.rate.max(1));
    let cut = match exported.cut as f64 / f64::from(audio.rate.max(1)) {
        0.0 => String::new(),
        cut => format!(", {cut:.3} s of pauses cut out"),
    };
    let (output, channels, rate) = (output.display(), audio.channels, audio.rate);
    format!("{output}: {seconds:.3} s, {channels} channels, {format}, {rate} Hz{cut}")
}
