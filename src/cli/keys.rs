//! `tapehead keys export FILE`: the data key of one recording, for the official Tink libraries.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::exit::Exit;
use super::output;
use super::place::KeyArg;
use crate::base::Entropy;
use crate::keys::KeyProvider;
use crate::seal::tink_keyset;
use crate::store::{MANIFEST, OsDisk, SealedFile};
use crate::sys::OsEntropy;

/// Arguments of `keys`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Write the data key of a recording as a Tink keyset. Whoever has it can open that recording, and no other
    Export(Export),
}

#[derive(clap::Args)]
struct Export {
    /// A recording's folder or one of its files
    file: PathBuf,
    /// Where the keyset goes [default: RECORDING.keyset.json in this folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the output if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    key: KeyArg,
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    let Command::Export(export) = args.command;
    let Some(keys) = export.key.open() else { return Exit::Usage.into() };
    match write_keyset(&export, &keys) {
        Ok(()) => Exit::Ok.into(),
        Err(why) => {
            eprintln!("tapehead: {why}");
            Exit::Failed.into()
        }
    }
}

fn write_keyset(export: &Export, keys: &dyn KeyProvider) -> Result<(), String> {
    let file = if export.file.is_dir() { export.file.join(MANIFEST) } else { export.file.clone() };
    let sealed = SealedFile::open(&OsDisk, &file).map_err(|why| format!("{}: {why}", file.display()))?;
    let key = keys.unwrap_any(&sealed.block0.keys, sealed.key_context());
    let key = key.map_err(|why| format!("{}: {why}", file.display()))?;
    let named = || PathBuf::from(format!("{}.keyset.json", sealed.block0.recording));
    let output = export.output.clone().unwrap_or_else(named);
    let mut key_id = [0; 4];
    OsEntropy.fill(&mut key_id);
    // Tink takes any number but 0.
    let keyset = tink_keyset(&key, u32::from_be_bytes(key_id).max(1));
    let wrote = output::create(&output, export.force).and_then(|mut out| out.write_all(keyset.as_bytes()));
    wrote.map_err(|why| format!("{}: {why}", output.display()))?;
    let place = String::from_utf8_lossy(&sealed.block0.associated_data()).into_owned();
    println!("{}", advice(&output, &file, &place));
    Ok(())
}

fn advice(keyset: &Path, file: &Path, associated_data: &str) -> String {
    let (keyset, file) = (keyset.display(), file.display());
    format!(
        "\
{keyset} is SECRET: it opens every file of this recording. Delete it when done.

With the official Tink for Python (pip install tink):

    from tink import json_proto_keyset_format, secret_key_access, streaming_aead
    streaming_aead.register()
    handle = json_proto_keyset_format.parse(open({keyset:?}).read(), secret_key_access.TOKEN)
    tape = open({file:?}, 'rb')
    tape.seek(4096)                      # skip block 0
    aead = handle.primitive(streaming_aead.StreamingAead)
    plain = aead.new_decrypting_stream(tape, b'{associated_data}').read()

Of another file of the recording the number at the end of the associated data is that of the segment, 0 for the manifest.",
        keyset = keyset.to_string(),
        file = file.to_string(),
    )
}
