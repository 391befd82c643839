//! Any bytes as a sealed file, and as a manifest's JSON: verified, exported and recovered without a panic.
#![no_main]

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use libfuzzer_sys::fuzz_target;
use tapehead::base::Wall;
use tapehead::keys::{KeyContext, KeyError, KeyProvider};
use tapehead::recording::Manifest;
use tapehead::seal::{Block0, DataKey, WrappedKey};
use tapehead::store::{Disk, Entry, export, recover_segment, verify};

fuzz_target!(|data: &[u8]| {
    if let Ok(manifest) = Manifest::from_json(data) {
        assert!(Manifest::from_json(&manifest.to_json()).is_ok());
    }
    if let Ok(block0) = Block0::decode(data)
        && let Ok(again) = block0.encode()
    {
        assert_eq!(Block0::decode(&again).as_ref(), Ok(&block0));
    }
    let disk = OneFile(Mutex::new(data.to_vec()));
    let path = PathBuf::from("0001.tape.part");
    verify(&disk, std::slice::from_ref(&path), Some(&AnyKey), &|_| {});
    let written = Cell::new(0);
    let _ =
        export(&disk, &path, &AnyKey, &mut io::sink(), &mut |samples| written.set(written.get() + samples));
    assert!(written.get() <= data.len() as u64, "no more samples than bytes");
    let _ = recover_segment(&disk, &path, &AnyKey);
    let longest = data.len() + 4096;
    assert!(disk.0.lock().unwrap().len() <= longest.max(1 << 20), "recovery does not blow a file up");
});

/// A disk that holds one file, whatever it is called.
struct OneFile(Mutex<Vec<u8>>);

impl Disk for OneFile {
    fn list(&self, _: &Path) -> io::Result<Vec<Entry>> {
        Err(io::ErrorKind::NotADirectory.into())
    }
    fn size(&self, _: &Path) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
    fn read(&self, _: &Path, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let file = self.0.lock().unwrap();
        let rest = file.get(offset as usize..).unwrap_or(&[]);
        let bytes = rest.len().min(out.len());
        out[..bytes].copy_from_slice(&rest[..bytes]);
        Ok(bytes)
    }
    fn create(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, _: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.0.lock().unwrap();
        let end = offset as usize + bytes.len();
        if end > 1 << 20 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let length = file.len().max(end);
        file.resize(length, 0);
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }
    fn truncate(&self, _: &Path, size: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(size as usize, 0);
        Ok(())
    }
    fn sync(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// Opens everything with the key that the seeds were sealed with.
struct AnyKey;

impl KeyProvider for AnyKey {
    fn name(&self) -> &str {
        "fuzz"
    }
    fn wrap(&self, _: &DataKey, _: KeyContext<'_>, _: Wall) -> Result<WrappedKey, KeyError> {
        Err(KeyError::Refused("not asked for".to_owned()))
    }
    fn unwrap(&self, _: &WrappedKey, _: KeyContext<'_>) -> Result<DataKey, KeyError> {
        Ok(DataKey::new([7; 32]))
    }
    fn unwrap_any(&self, _: &[WrappedKey], _: KeyContext<'_>) -> Result<DataKey, KeyError> {
        Ok(DataKey::new([7; 32]))
    }
}
