//! A PostgreSQL server of one's own: a cluster in a directory that goes away with it, on a free port and a socket there, run
//! by a user of its own where this is root, whom PostgreSQL does not serve. And PgBouncer in front of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tempfile::TempDir;

use super::redis::free_port;
use super::skew::Skew;
use super::until;

/// The database and role that tests use where it does not matter.
const NAME: &str = "postgres";

/// A running server; it ends when this is dropped.
pub struct Postgres {
    pub port: u16,
    dir: TempDir,
    options: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    child: Child,
}

impl Postgres {
    /// A new server that trusts everyone and does not care about its disk: a restart is a new life of it.
    pub fn start() -> Postgres {
        Postgres::with(&["fsync=off"])
    }

    /// A new server with these settings.
    pub fn with(settings: &[&str]) -> Postgres {
        let dir = directory();
        copied_cluster(dir.path());
        if settings.contains(&"fsync=on") {
            // After a crash such a server syncs all its files before it opens, and the copy would be synced with them.
            done(Command::new("sync").arg("-f").arg(dir.path()));
        }
        Postgres::on(dir, settings, Vec::new())
    }

    /// A new server that lives by this clock.
    pub fn by(clock: &Skew, settings: &[&str]) -> Postgres {
        let dir = directory();
        copied_cluster(dir.path());
        Postgres::on(dir, settings, clock.environment())
    }

    /// A standby that follows `primary`.
    pub fn following(primary: &Postgres, settings: &[&str]) -> Postgres {
        let dir = directory();
        let data = dir.path().join("data").display().to_string();
        let from = format!("host=127.0.0.1 port={} user={NAME}", primary.port);
        done(&mut as_owner("pg_basebackup", &["-D", &data, "-d", &from, "-R", "-X", "stream", "-c", "fast"]));
        Postgres::on(dir, settings, Vec::new())
    }

    fn on(dir: TempDir, settings: &[&str], environment: Vec<(String, PathBuf)>) -> Postgres {
        let options: Vec<String> =
            settings.iter().map(|setting| setting.replace("DIR", &dir.path().display().to_string())).collect();
        let port = free_port();
        let child = launch(dir.path(), port, &options, &environment);
        let mut server = Postgres { port, dir, options, environment, child };
        // A port can be taken between the choice and the start.
        for _ in 0..20 {
            if server.comes_up() {
                return server;
            }
            server.port = free_port();
            server.child = launch(server.dir.path(), server.port, &server.options, &server.environment);
        }
        panic!("postgres does not start");
    }

    /// The store URL.
    pub fn url(&self) -> String {
        format!("postgres://{NAME}@127.0.0.1:{}/{NAME}", self.port)
    }

    /// The URL by its socket.
    pub fn socket_url(&self) -> String {
        let directory = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://{NAME}@{directory}:{}/{NAME}", self.port)
    }

    /// A file in the server's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Statements as the superuser; what they bring, rows on lines and columns with `|` between them.
    pub fn tell(&self, statements: &str) -> String {
        self.tell_in(NAME, statements)
    }

    /// The same in another database.
    pub fn tell_in(&self, database: &str, statements: &str) -> String {
        let output = self.psql(database, statements).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        assert!(output.status.success(), "{statements}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn psql(&self, database: &str, statements: &str) -> Command {
        let mut command = Command::new("psql");
        for name in std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("PG")) {
            command.env_remove(name);
        }
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", NAME, "-d", database]);
        command.args(["-p", &self.port.to_string(), "-c", statements]).stdin(Stdio::null());
        command
    }

    /// Makes it read its settings again.
    pub fn reload(&self) {
        self.tell("SELECT pg_reload_conf()");
    }

    /// Who may come in how, as in pg_hba.conf.
    pub fn admit(&self, lines: &str) {
        fs::write(self.path("data/pg_hba.conf"), lines).unwrap();
        self.reload();
    }

    /// Stops it as a power cut would and starts it again on the same port and directory.
    pub fn restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// SIGKILL, to all its processes: what it leaves in memory is gone with them.
    pub fn kill(&mut self) {
        let family = family(self.child.id() as i32);
        for process in &family {
            let _ = kill(Pid::from_raw(*process), Signal::SIGKILL);
        }
        let _ = self.child.wait();
        until("all of postgres is gone", || family.iter().all(|one| !Path::new(&format!("/proc/{one}/exe")).exists()));
    }

    /// Starts it again after a kill.
    pub fn start_again(&mut self) {
        until("postgres is up again", || {
            self.child = launch(self.dir.path(), self.port, &self.options, &self.environment);
            self.comes_up()
        });
    }

    /// Starts a killed standby again as one that recovers for ever and meanwhile lets nobody in.
    pub fn recover_for_ever(&mut self) {
        self.options.push("hot_standby=off".to_owned());
        self.child = launch(self.dir.path(), self.port, &self.options, &self.environment);
        until("postgres refuses because it recovers", || {
            let said = self.psql(NAME, "SELECT 1").output().unwrap().stderr;
            String::from_utf8_lossy(&said).contains("not accepting connections")
        });
    }

    /// Starts a new cluster in place of the one that was killed: another life, which knows nothing.
    pub fn start_anew(&mut self) {
        fs::remove_dir_all(self.path("data")).unwrap();
        cluster(self.dir.path());
        self.start_again();
    }

    /// Drops every table that vaultlock has made.
    pub fn forget(&self) {
        // It may deadlock with those who use them, and one of the two is refused.
        until("the schema is dropped", || {
            let mut psql = self.psql(NAME, "SET client_min_messages = error; DROP SCHEMA IF EXISTS vaultlock CASCADE");
            psql.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
        });
    }

    /// SIGSTOP to all its processes: it answers nobody, its kernel still takes connections.
    pub fn freeze(&self) {
        self.signal_all(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        self.tell("SELECT pg_promote()");
        until("the standby is promoted", || self.tell("SELECT pg_is_in_recovery()") == "f");
    }

    fn signal_all(&self, signal: Signal) {
        // The postmaster first: frozen, it makes no more.
        for process in family(self.child.id() as i32) {
            let _ = kill(Pid::from_raw(process), signal);
        }
    }

    /// `false` if it ended before it answered.
    fn comes_up(&mut self) -> bool {
        let mut ended = false;
        until("postgres answers", || {
            ended = self.child.try_wait().unwrap().is_some();
            ended || self.psql(NAME, "SELECT 1").stderr(Stdio::null()).stdout(Stdio::null()).status().unwrap().success()
        });
        !ended
    }
}

impl Drop for Postgres {
    /// Ended by itself it leaves no shared memory behind.
    fn drop(&mut self) {
        self.thaw();
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGQUIT);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while std::time::Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        self.kill();
    }
}

/// PgBouncer in transaction mode before a server; it ends when this is dropped.
pub struct Bouncer {
    pub port: u16,
    dir: TempDir,
    child: Child,
}

impl Bouncer {
    /// With these settings besides, in its own words.
    pub fn before(server: &Postgres, settings: &str) -> Bouncer {
        let dir = directory();
        let (port, at) = (free_port(), dir.path().display());
        let users = format!("\"{NAME}\" \"\"\n");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {at}/users\npool_mode = transaction\nmax_client_conn = 1000\n\
             default_pool_size = 10\nlogfile = {at}/log\n{settings}\n",
            server.port
        );
        fs::write(dir.path().join("users"), users).unwrap();
        fs::write(dir.path().join("ini"), settings).unwrap();
        let child = pooler(dir.path());
        let bouncer = Bouncer { port, dir, child };
        bouncer.comes_up();
        bouncer
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again after a kill, on the same port.
    pub fn start_again(&mut self) {
        self.child = pooler(self.dir.path());
        self.comes_up();
    }

    /// SIGSTOP: its kernel still takes connections.
    pub fn freeze(&self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGCONT);
    }

    fn comes_up(&self) {
        until("pgbouncer listens", || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// The store URL through it.
    pub fn url(&self) -> String {
        format!("postgres://{NAME}@127.0.0.1:{}/{NAME}", self.port)
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pooler(dir: &Path) -> Child {
    as_owner("pgbouncer", &["-q", &dir.join("ini").display().to_string()]).spawn().unwrap()
}

/// A process and those it made, itself first.
fn family(parent: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    [parent].into_iter().chain(children.split_whitespace().filter_map(|child| child.parse().ok())).collect()
}

fn directory() -> TempDir {
    let dir = tempfile::Builder::new().prefix("vl-postgres-").tempdir().unwrap();
    if let Some(owner) = owner() {
        chown(dir.path(), Some(owner.uid.as_raw()), Some(owner.gid.as_raw())).unwrap();
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// Who runs servers where this is root.
fn owner() -> Option<User> {
    let named = |name: &str| User::from_name(name).ok().flatten();
    geteuid().is_root().then(|| named("postgres").or_else(|| named("nobody")).expect("these tests need a user postgres"))
}

/// A new cluster's files, copied from those of one that was made once: initdb takes two seconds of a processor. All copies
/// have one system identifier.
fn copied_cluster(dir: &Path) {
    let version = program_path("initdb").display().to_string().replace('/', "-");
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster{version}"));
    let copy = |from: &Path, to: &Path| done(Command::new("cp").arg("-a").arg(from).arg(to));
    if !kept.exists() {
        let made = directory();
        cluster(made.path());
        let aside = kept.with_file_name(made.path().file_name().unwrap());
        copy(&made.path().join("data"), &aside);
        // Another test's may have come first.
        let _ = fs::rename(&aside, &kept);
        let _ = fs::remove_dir_all(&aside);
    }
    copy(&kept, &dir.join("data"));
}

/// A cluster unlike any other.
fn cluster(dir: &Path) {
    let data = dir.join("data").display().to_string();
    done(&mut as_owner("initdb", &["-D", &data, "-U", NAME, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]));
}

fn launch(dir: &Path, port: u16, options: &[String], environment: &[(String, PathBuf)]) -> Child {
    let (data, port, at) = (dir.join("data").display().to_string(), port.to_string(), dir.display().to_string());
    let mut words = vec!["-D", &data, "-p", &port, "-h", "127.0.0.1", "-k", &at];
    words.extend(["-c", "shared_buffers=16MB", "-c", "max_wal_size=64MB", "-c", "logging_collector=off"]);
    options.iter().for_each(|option| words.extend(["-c", option.as_str()]));
    let mut command = as_owner("postgres", &words);
    command.envs(environment.iter().map(|(name, value)| (name, value))).spawn().unwrap()
}

fn as_owner(program: &str, words: &[&str]) -> Command {
    let program = program_path(program);
    let mut command = match owner() {
        None => Command::new(program),
        Some(owner) => {
            let mut command = Command::new("setpriv");
            let (user, group) = (owner.uid.to_string(), owner.gid.to_string());
            command.args(["--reuid", &user, "--regid", &group, "--clear-groups"]).arg(program);
            command
        }
    };
    command.args(words).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Debian keeps a server's programs out of the way.
fn program_path(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(name)).collect();
    found.retain(|program| program.exists());
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}

fn done(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).output().expect("these tests need postgresql: apt-get install postgresql");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
