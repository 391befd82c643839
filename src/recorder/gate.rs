//! The gate as it is configured: who may talk, how often, and who has to know which password.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::{PeerPlan, Plan};
use crate::limits::SECRET_FILE_BYTES_MAX;
use crate::sip::{Credentials, Gate, Rule};
use crate::sys::OsEntropy;

/// Shown in challenges (RFC 7616 section 3.3).
const REALM: &str = "tapehead";

/// Why there is none: the setting, the file and what is wrong with it.
#[derive(Debug)]
pub struct GateError {
    peer: String,
    file: PathBuf,
    why: io::Error,
}

impl std::fmt::Display for GateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let GateError { peer, file, why } = self;
        write!(
            f,
            "the password of peer {peer} in {} (setting `peers.{peer}.digest_secret_file`): {why}",
            file.display()
        )
    }
}

/// The gate of a plan; passwords are read from their files.
pub(super) fn gate(plan: &Plan) -> Result<Gate, GateError> {
    let rules: Result<Vec<Rule>, GateError> = plan.peers.iter().map(rule).collect();
    Ok(Gate::new(&plan.sip_allow, rules?, REALM, &mut OsEntropy))
}

fn rule(peer: &PeerPlan) -> Result<Rule, GateError> {
    let credentials = match &peer.digest {
        Some(digest) => {
            let (peer, file) = (peer.name.clone(), digest.secret_file.clone());
            let secret = secret(&digest.secret_file).map_err(|why| GateError { peer, file, why })?;
            Some(Credentials::new(&digest.user, &secret))
        }
        None => None,
    };
    // Where the peer challenges our BYE or re-INVITE it is with what both know.
    let (challenge, answer) = (credentials.clone(), credentials);
    Ok(Rule { networks: peer.networks.clone(), rate_per_second: peer.rate_per_second, challenge, answer })
}

/// The first line of a file that only its owner may read.
fn secret(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(io::Error::other(format!("open to others (mode {mode:04o}): run `chmod 600`")));
    }
    let mut text = Zeroizing::new(String::with_capacity(SECRET_FILE_BYTES_MAX));
    file.take(SECRET_FILE_BYTES_MAX as u64).read_to_string(&mut text)?;
    match text.lines().next().unwrap_or("") {
        "" => Err(io::Error::other("the first line is empty")),
        line => Ok(Zeroizing::new(line.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_password_is_the_first_line_of_a_file_that_nobody_else_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let read = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            secret(&path).map(|secret| secret.to_string()).map_err(|why| why.to_string())
        };
        assert_eq!(read("pass word\nmore\n", 0o600).as_deref(), Ok("pass word"));
        assert_eq!(read("\nmore", 0o600).unwrap_err(), "the first line is empty");
        assert!(read("secret", 0o640).unwrap_err().contains("open to others"));
        assert!(secret(&folder.path().join("missing")).is_err());
    }
}
