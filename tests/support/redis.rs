//! A redis-server of one's own: on a free port and a socket in a directory that goes away with it.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::Value;
use tempfile::TempDir;

use super::skew::Skew;

/// A running server; it ends when this is dropped.
pub struct Server {
    pub port: u16,
    dir: TempDir,
    options: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    child: Child,
    auth: Option<(String, String)>,
}

impl Server {
    /// A new server that keeps nothing on disk.
    pub fn start() -> Server {
        Server::with(&[])
    }

    /// A new server with more options, as on its command line.
    pub fn with(options: &[&str]) -> Server {
        Server::born(options, Vec::new())
    }

    /// A new server that lives by this clock.
    pub fn by(clock: &Skew, options: &[&str]) -> Server {
        Server::born(options, clock.environment())
    }

    fn born(options: &[&str], environment: Vec<(String, PathBuf)>) -> Server {
        let dir = tempfile::Builder::new().prefix("vl-redis-").tempdir().unwrap();
        // Empty, for CONFIG REWRITE: what a server has become it is still after a restart.
        std::fs::write(dir.path().join("redis.conf"), "").unwrap();
        let options: Vec<String> =
            options.iter().map(|option| option.replace("DIR", &dir.path().display().to_string())).collect();
        let auth =
            options.iter().position(|option| option == "--requirepass").map(|at| ("default".to_owned(), options[at + 1].clone()));
        // A port can be taken between the choice and the start.
        for _ in 0..20 {
            let port = free_port();
            if let Some(child) = launch(dir.path(), port, &options, &environment) {
                let server = Server { port, dir, options, environment, child, auth };
                server.wait_until_up();
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// A new server with TLS besides, on the port returned, with the authority's certificate in `tls/ca.pem` of its
    /// directory. Its own certificate is for 127.0.0.1 alone.
    pub fn with_tls(options: &[&str]) -> (Server, u16) {
        let files = tempfile::Builder::new().prefix("vl-tls-").tempdir().unwrap().keep();
        make_authority(&files);
        let tls = free_port();
        let path = |name: &str| files.join(name).display().to_string();
        let (port, cert, key, ca) = (tls.to_string(), path("server.pem"), path("server.key"), path("ca.pem"));
        let mut all = vec!["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
        all.extend(options);
        if !options.contains(&"--tls-auth-clients") {
            all.extend(["--tls-auth-clients", "no"]);
        }
        let server = Server::with(&all);
        std::fs::rename(&files, server.dir.path().join("tls")).unwrap();
        (server, tls)
    }

    /// The store URL of database 0.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The URL of its Unix socket.
    pub fn socket_url(&self) -> String {
        format!("redis+unix://{}", self.path("redis.sock").display())
    }

    /// A file in the server's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Gives a command and returns the answer; an error is an answer too.
    pub fn tell(&self, words: &[&str]) -> Value {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        match self.connect() {
            Ok(mut line) => redis::ConnectionLike::req_command(&mut line, &command).unwrap(),
            Err(error) => panic!("{words:?}: {error}"),
        }
    }

    /// The answer as text, lists on one line.
    pub fn ask(&self, words: &[&str]) -> String {
        match self.tell(words) {
            Value::ServerError(error) => error.to_string(),
            value => redis::from_redis_value::<String>(value.clone())
                .or_else(|_| redis::from_redis_value::<Vec<String>>(value.clone()).map(|all| all.join(" ")))
                .unwrap_or_else(|_| format!("{value:?}")),
        }
    }

    /// Stops it as a power cut would and starts it again on the same port and directory.
    pub fn restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again after a kill.
    pub fn start_again(&mut self) {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        self.child = loop {
            match launch(self.dir.path(), self.port, &self.options, &self.environment) {
                Some(child) => break child,
                None => assert!(std::time::Instant::now() < end, "redis-server does not start again"),
            }
        };
        self.wait_until_up();
    }

    /// Whether it was not killed.
    pub fn lives(&self) -> bool {
        Path::new(&format!("/proc/{}", self.child.id())).exists()
    }

    /// SIGSTOP: it answers nobody, its kernel still takes connections.
    pub fn freeze(&self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGSTOP).unwrap();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGCONT).unwrap();
    }

    fn connect(&self) -> redis::RedisResult<redis::Connection> {
        let url = match &self.auth {
            Some((user, password)) => format!("redis://{user}:{password}@127.0.0.1:{}/", self.port),
            None => self.url(),
        };
        redis::Client::open(url)?.get_connection_with_timeout(Duration::from_secs(5))
    }

    fn wait_until_up(&self) {
        super::until("redis-server answers", || {
            self.connect().is_ok_and(|mut line| redis::cmd("PING").query::<String>(&mut line).is_ok())
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `None` if it ended before it listened.
fn launch(dir: &Path, port: u16, options: &[String], environment: &[(String, PathBuf)]) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .current_dir(dir)
        .arg("redis.conf")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--unixsocket", "redis.sock", "--logfile", "redis.log"])
        .args(options)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("these tests need redis-server: apt-get install redis-server");
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while std::time::Instant::now() < end {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// An authority (`ca.pem`), a server's certificate for 127.0.0.1, a client's (`client.pem`), one without a CommonName
/// (`nameless.pem`), and another authority that signed nothing (`other.pem`).
pub fn make_authority(dir: &Path) {
    std::fs::write(dir.join("server.ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    for name in ["client", "nameless"] {
        std::fs::write(dir.join(format!("{name}.ext")), "extendedKeyUsage=clientAuth\n").unwrap();
    }
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    for name in ["ca", "other"] {
        let (pem, secret) = (format!("{name}.pem"), format!("{name}.key"));
        let subject = format!("/CN={name}");
        openssl(dir, &[&["req", "-x509", "-days", "2", "-subj", &subject, "-keyout", &secret, "-out", &pem], &key[..]].concat());
    }
    for name in ["server", "client", "nameless"] {
        let (csr, secret) = (format!("{name}.csr"), format!("{name}.key"));
        let (pem, ext, subject) = (
            format!("{name}.pem"),
            format!("{name}.ext"),
            if name == "nameless" { "/O=none".to_owned() } else { format!("/CN={name}") },
        );
        openssl(dir, &[&["req", "-subj", &subject, "-keyout", &secret, "-out", &csr], &key[..]].concat());
        let signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", &ext, "-out", &pem];
        openssl(dir, &[&["x509", "-req", "-in", &csr], &signed[..]].concat());
    }
}

fn openssl(dir: &Path, words: &[&str]) {
    let output = Command::new("openssl").current_dir(dir).args(words).output().expect("these tests need openssl");
    assert!(output.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
