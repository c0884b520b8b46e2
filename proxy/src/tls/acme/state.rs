//! What of ACME is on the disk: accounts and certificates, in `data_dir/acme`, a folder for each
//! directory and account. A file is replaced whole, and belongs to this user alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Issuer;
use crate::hex;
use crate::tls::certificate::{Identity, Problem};

/// An account at a directory.
#[derive(Serialize, Deserialize)]
pub(super) struct Account {
    /// As the directory knows them.
    pub(super) contact: Vec<String>,
    pub(super) credentials: AccountCredentials,
}

/// Of one account at one directory.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn of(data_dir: &Path, issuer: &Issuer) -> Self {
        let mut digest = Sha256::new();
        digest.update(&issuer.directory);
        if let Some(external) = &issuer.external_account {
            digest.update("\n");
            digest.update(&external.key_id);
        }
        let digest = digest.finalize();
        Self(data_dir.join("acme").join(hex::text(&digest[..8])))
    }

    /// The account of an earlier order, where it can be read.
    pub(super) fn account(&self) -> Option<Account> {
        let path = self.0.join("account.json");
        let text = read(&path)?;
        let account = serde_json::from_str(&text);
        if account.is_err() {
            // The error's text may quote the key.
            tracing::warn!(path = %path.display(), "an ACME account cannot be read: another is made");
        }
        account.ok()
    }

    pub(super) fn keep_account(&self, account: &Account) -> io::Result<()> {
        self.write("account.json", serde_json::to_string(account)?.as_bytes())
    }

    pub(super) fn forget_account(&self) {
        let _ = fs::remove_file(self.0.join("account.json"));
    }

    /// The certificate of an earlier order, where it is one of this name.
    pub(super) fn certificate(&self, domain: &str) -> Option<Identity> {
        let path = self.0.join(format!("{domain}.pem"));
        let text = read(&path)?;
        match identity(&text, &text, domain) {
            Ok(identity) => Some(identity),
            Err(problem) => {
                let path = path.display();
                tracing::warn!(%path, problem, "a certificate by ACME cannot be used: another is ordered");
                None
            }
        }
    }

    pub(super) fn keep_certificate(&self, domain: &str, key: &str, chain: &str) -> io::Result<()> {
        self.write(&format!("{domain}.pem"), format!("{key}{chain}").as_bytes())
    }

    /// All or nothing, also where the power is cut.
    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)?;
        let draft = self.0.join(format!("{name}.part"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, self.0.join(name))?;
        File::open(&self.0)?.sync_all()
    }
}

/// A chain with its key, for this name.
pub(super) fn identity(chain: &str, key: &str, domain: &str) -> Result<Identity, String> {
    let identity = Identity::new(chain, key).map_err(|problem| match problem {
        Problem::Chain(message) => format!("the certificate: {message}"),
        Problem::Key(message) => format!("the key: {message}"),
    })?;
    if identity.names.iter().any(|name| name == domain) {
        Ok(identity)
    } else {
        Err(format!("the certificate is not for {domain}"))
    }
}

fn read(path: &Path) -> Option<String> {
    match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what ACME left cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn pair(domain: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([domain.to_owned()]).unwrap();
        (key.serialize_pem(), params.self_signed(&key).unwrap().pem())
    }

    #[test]
    fn a_certificate_is_read_back_and_is_this_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder(folder.path().join("acme").join("one"));
        assert!(folder.certificate("a.example").is_none());
        let (key, chain) = pair("a.example");
        folder.keep_certificate("a.example", &key, &chain).unwrap();
        assert!(folder.certificate("a.example").is_some());
        let file = fs::metadata(folder.0.join("a.example.pem")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        let directory = fs::metadata(&folder.0).unwrap();
        assert_eq!(directory.permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_is_damaged_or_for_another_name_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder(folder.path().to_owned());
        let (key, chain) = pair("a.example");
        folder.keep_certificate("b.example", &key, &chain).unwrap();
        assert!(folder.certificate("b.example").is_none());
        folder
            .keep_certificate("a.example", &key, &chain[..99])
            .unwrap();
        assert!(folder.certificate("a.example").is_none());
        let (other, _) = pair("a.example");
        folder
            .keep_certificate("a.example", &other, &chain)
            .unwrap();
        assert!(folder.certificate("a.example").is_none());
        fs::write(folder.0.join("account.json"), "{}").unwrap();
        assert!(folder.account().is_none());
    }
}
