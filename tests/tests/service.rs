//! What a service manager is told.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tempfile::TempDir;
use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

/// In the place of a service manager.
struct Manager {
    socket: UnixDatagram,
    _folder: TempDir,
}

impl Manager {
    /// With a service.
    fn start() -> (Self, Weir) {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let patience = Some(Duration::from_mins(1));
        socket.set_read_timeout(patience).expect("a timeout");
        let path = path.to_str().expect("a path");
        let config = config(&Upstream::hello()).to_string();
        let weir = Weir::start_with(&config, &[("NOTIFY_SOCKET", path)]);
        let manager = Self {
            socket,
            _folder: folder,
        };
        (manager, weir)
    }

    fn told(&self) -> String {
        let mut buffer = [0; 256];
        let len = self.socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    /// Once nobody is left who could tell more.
    fn assert_told_nothing_more(&self) {
        self.socket.set_nonblocking(true).expect("a socket");
        let mut buffer = [0; 256];
        let more = self.socket.recv(&mut buffer);
        assert!(more.is_err(), "{}", String::from_utf8_lossy(&buffer));
    }
}

#[test]
fn systemd_is_told_when_listeners_accept_and_when_a_drain_begins() {
    let (manager, mut weir) = Manager::start();
    assert_eq!(manager.told(), "READY=1\n");
    assert_eq!(weir.get("/", &[]).status, 200);
    weir.signal("TERM");
    assert_eq!(manager.told(), "STOPPING=1\n");
    assert!(weir.wait().success());
    manager.assert_told_nothing_more();
}

#[test]
fn systemd_is_told_which_process_is_the_service_once_one_has_taken_over() {
    let (manager, mut weir) = Manager::start();
    assert_eq!(manager.told(), "READY=1\n");
    weir.hand_over();
    // By the new process that it accepts, then by the one before whom it has handed over to.
    assert_eq!(manager.told(), "READY=1\n");
    assert_eq!(manager.told(), format!("MAINPID={}\n", weir.id()));
    assert_eq!(weir.get("/", &[]).status, 200);
    // That one drains and has ended, and the service has not: nobody said that it stops.
    manager.assert_told_nothing_more();
}
