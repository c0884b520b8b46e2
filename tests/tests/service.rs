//! What a service manager is told.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

#[test]
fn systemd_is_told_when_listeners_accept_and_when_a_drain_begins() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_mins(1)))
        .expect("a timeout");
    let told = || {
        let mut buffer = [0; 256];
        let len = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    let path = path.to_str().expect("a path");
    let config = config(&Upstream::hello()).to_string();
    let mut weir = Weir::start_with(&config, &[("NOTIFY_SOCKET", path)]);
    assert_eq!(told(), "READY=1\n");
    assert_eq!(weir.get("/", &[]).status, 200);
    weir.signal("TERM");
    assert_eq!(told(), "STOPPING=1\n");
    assert!(weir.wait().success());
}
