//! nginx, with one server.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use socket2::{Domain, Socket, Type};

use crate::wait::eventually;

/// Starts it on a free port, which is given, with its files in `folder`: a line of `access.log` has a
/// request's path and status. `listen` is added to the socket's parameters, `location` is what is done
/// with requests.
///
/// # Panics
///
/// When it does not start.
pub fn start(folder: &Path, listen: &str, location: &str) -> (Child, u16) {
    // Bound and not listening, it keeps the port from everybody but nginx.
    let reserved = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    reserved.set_reuse_port(true).expect("an option");
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    reserved.bind(&any.into()).expect("a port");
    let address = reserved.local_addr().expect("an address").as_socket();
    let port = address.expect("an IP address").port();
    let path = folder.display();
    let config = format!(
        "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;\n\
         events {{}}\n\
         http {{\n\
         log_format count '$uri $status'; access_log {path}/access.log count;\n\
         client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;\n\
         fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;\n\
         server {{ listen 127.0.0.1:{port} reuseport {listen}; location / {{ {location} }} }}\n\
         }}\n"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config).expect("write");
    let child = Command::new(program())
        .arg("-c")
        .arg(&file)
        .arg("-e")
        .arg(folder.join("error.log"))
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx: see services/install.sh");
    eventually("nginx listens", || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    (child, port)
}

/// In Debian it is not on everybody's path.
fn program() -> PathBuf {
    let places = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];
    let found = places.iter().map(Path::new).find(|path| path.is_file());
    found.map_or_else(|| "nginx".into(), Path::to_path_buf)
}
