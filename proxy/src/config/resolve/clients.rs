//! Whom Weir believes about clients, and what it tells of them.

use std::path::Path as FilePath;

use super::Resolver;
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::{
    AccessLog, AccessLogFormat, Clients, Forwarded, ListenerBalance, Underscores, raw,
};
use crate::trace::context::b3;

impl Resolver<'_> {
    pub(super) fn clients(
        &mut self,
        trusted: &[String],
        forwarded: raw::clients::Forwarded,
    ) -> Clients {
        let at = Path::root().key("trusted_proxies");
        let mut networks = Vec::new();
        for (index, text) in trusted.iter().enumerate() {
            match text.parse() {
                Ok(network) => networks.push(network),
                Err(message) => self.fault(Code::InvalidValue, &at.index(index), message),
            }
        }
        Clients {
            trusted: networks,
            forwarded: match forwarded {
                raw::clients::Forwarded::X => Forwarded::XForwarded,
                raw::clients::Forwarded::Standard => Forwarded::Standard,
                raw::clients::Forwarded::Both => Forwarded::Both,
                raw::clients::Forwarded::Off => Forwarded::Off,
            },
        }
    }

    pub(super) fn access_log(&mut self, raw: Option<raw::clients::AccessLog>) -> Option<AccessLog> {
        let raw = raw?;
        let path = raw.path.map(|path| self.file(&path));
        if let Some(path) = &path {
            self.log_file(&Path::root().key("access_log").key("path"), path);
        }
        Some(AccessLog {
            format: match raw.format {
                raw::clients::AccessLogFormat::Json => AccessLogFormat::Json,
                raw::clients::AccessLogFormat::Text => AccessLogFormat::Text,
            },
            path,
        })
    }

    /// It is made where it is not there yet, but no folder is.
    fn log_file(&mut self, at: &Path, path: &FilePath) {
        let folder = path.parent().unwrap_or(FilePath::new(""));
        // Which also asks whether it is a folder.
        let folder = match std::fs::metadata(folder.join(".")) {
            Ok(_) if path.is_dir() => Err("it is a folder".to_owned()),
            found => found.map_err(|error| error.to_string()),
        };
        if let Err(cause) = folder {
            let message = format!("`{}` cannot be opened: {cause}", path.display());
            self.fault(Code::File, at, message);
            self.hint("Weir makes the file, and no folder");
        }
    }
}

pub(super) fn balance(raw: raw::clients::ListenerBalance) -> ListenerBalance {
    match raw {
        raw::clients::ListenerBalance::Kernel => ListenerBalance::Kernel,
        raw::clients::ListenerBalance::Exact => ListenerBalance::Exact,
    }
}

pub(super) fn underscores(raw: raw::clients::Underscores) -> Underscores {
    match raw {
        raw::clients::Underscores::Drop => Underscores::Drop,
        raw::clients::Underscores::Refuse => Underscores::Refuse,
        raw::clients::Underscores::Pass => Underscores::Pass,
    }
}

/// `None` leaves the fields as they are.
pub(super) fn b3(raw: raw::clients::B3) -> Option<b3::Form> {
    match raw {
        raw::clients::B3::Off => None,
        raw::clients::B3::Single => Some(b3::Form::Single),
        raw::clients::B3::Multi => Some(b3::Form::Multi),
    }
}
