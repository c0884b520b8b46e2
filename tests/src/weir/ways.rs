//! Ways to start Weir other than by its path: by a link, by a script, where something else is mounted.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Weir, binary};

/// By a process of its own: what other threads start meanwhile would inherit a descriptor of this one, and a file
/// that is open for writing anywhere cannot be executed (`ETXTBSY`).
fn write_script(file: &Path, text: &str) {
    let mut command = Command::new("install");
    command.args(["--mode=755", "/dev/stdin"]).arg(file);
    let mut install = command.stdin(Stdio::piped()).spawn().expect("install runs");
    let mut stdin = install.stdin.take().expect("piped");
    writeln!(stdin, "#!/bin/sh\n{text}").expect("write the script");
    drop(stdin);
    assert!(install.wait().expect("wait").success(), "an executable");
}

/// What runs a command in a mount namespace of its own, in which it may mount: that of a user namespace, or
/// where there are none root's own.
fn unshare() -> Option<&'static str> {
    let ways = ["unshare --map-root-user --mount", "unshare --mount"];
    ways.into_iter().find(|way| {
        let tried = format!("{way} mount --bind /etc/hosts /etc/hosts");
        let output = Command::new("sh").args(["-c", &tried]).output();
        output.expect("sh runs").status.success()
    })
}

impl Weir {
    /// As [`Weir::start`], by a link in its folder, which [`Weir::link`] replaces.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn linked(config: &str) -> Self {
        let linked = |folder: &Path| {
            let link = folder.join("weir");
            symlink(binary(), &link).expect("a link");
            link
        };
        Self::launch_by(linked, config, &[], &["--no-watch"])
    }

    /// Has the link by which it was started lead to a script, which is given the binary as `$WEIR` and its own
    /// folder as `$FOLDER`.
    ///
    /// # Panics
    ///
    /// When that cannot be written.
    pub fn link(&self, script: &str) {
        let (file, link) = (self.folder().join("next"), self.folder().join("link"));
        let (folder, weir) = (self.folder().display(), binary());
        let text = format!("FOLDER='{folder}'\nWEIR='{}'\n{script}", weir.display());
        write_script(&file, &text);
        symlink(&file, &link).expect("a link");
        std::fs::rename(&link, self.folder().join("weir")).expect("another link in its place");
    }

    /// As [`Weir::start`], by `prlimit` with such options (`--as=N`).
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn limited(config: &str, limits: &str) -> Self {
        let limited = |folder: &Path| {
            let script = folder.join("limited");
            let weir = binary();
            let text = format!("exec prlimit {limits} '{}' \"$@\"", weir.display());
            write_script(&script, &text);
            script
        };
        Self::launch_by(limited, config, &[], &["--no-watch"])
    }

    /// Starts where `/etc/hosts` is the file `hosts` of its own folder, with this text at first: in a mount
    /// namespace of its own. `None` where nobody may make one, as in many containers.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn with_hosts(config: &str, hosts: &str) -> Option<Self> {
        Self::mounted(config, |folder| {
            let file = folder.join("hosts");
            std::fs::write(&file, hosts).expect("write the hosts");
            format!("mount --bind '{}' /etc/hosts", file.display())
        })
    }

    /// Starts where this folder is a disk of so many bytes, which [`Weir::inside`] finds. `None` where nobody
    /// may mount one, as in many containers.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn with_disk(config: &str, folder: &Path, bytes: u64) -> Option<Self> {
        let folder = folder.display();
        Self::mounted(config, |_| {
            format!("mount -t tmpfs -o size={bytes} disk '{folder}'")
        })
    }

    /// Where a path leads for Weir, in whatever mount namespace it is.
    pub fn inside(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.process));
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Starts in a mount namespace of its own, once this command has mounted something there; the command is
    /// made for Weir's own folder.
    fn mounted(config: &str, mount: impl Fn(&Path) -> String) -> Option<Self> {
        let unshare = unshare()?;
        let alone = |folder: &Path| {
            let [mounting, script] = ["mounting", "alone"].map(|name| folder.join(name));
            let weir = binary();
            let text = format!("{} && exec '{}' \"$@\"", mount(folder), weir.display());
            write_script(&mounting, &text);
            write_script(
                &script,
                &format!("exec {unshare} '{}' \"$@\"", mounting.display()),
            );
            script
        };
        Some(Self::launch_by(alone, config, &[], &["--no-watch"]))
    }
}
