//! What users of PostgreSQL are used to around a connection string: `PG*` variables, a service file, `~/.pgpass`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, geteuid};

use crate::secret::Secret;

/// The environment variables that stand in for parameters.
const VARIABLES: [(&str, &str); 16] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("options", "PGOPTIONS"),
    ("application_name", "PGAPPNAME"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("channel_binding", "PGCHANNELBINDING"),
];

/// What a process finds around it; a test makes its own.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub variables: BTreeMap<String, String>,
    pub home: Option<PathBuf>,
    /// The name that this user has on this host.
    pub user: Option<String>,
    /// Whether to look there for what `user` does not say.
    pub asks_passwd: bool,
}

impl Surroundings {
    /// This process's.
    pub fn here() -> Surroundings {
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("PG") || name == "HOME")
            .collect();
        let home = variables.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Surroundings { home: home.or_else(|| Some(account()?.dir)), user: None, asks_passwd: true, variables }
    }

    /// What this user is called on this host, which is what the database calls it where nothing is said.
    pub(super) fn user(&self) -> Option<String> {
        // The passwd database may be a server: it is asked only by who needs it.
        self.user.clone().or_else(|| self.asks_passwd.then(account).flatten().map(|account| account.name))
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// What the environment says of a parameter.
    pub(super) fn parameters(&self) -> Vec<(String, String)> {
        let said = |(key, name): &(&str, &str)| Some(((*key).to_owned(), self.variable(name)?.to_owned()));
        VARIABLES.iter().filter_map(said).collect()
    }

    /// The service to look up where the URL names none.
    pub(super) fn service(&self) -> Option<&str> {
        self.variable("PGSERVICE")
    }

    /// The parameters of a service, out of the first file that has it.
    ///
    /// # Errors
    /// No file has it, or its lines can't be read.
    pub(super) fn of_service(&self, service: &str) -> Result<Vec<(String, String)>, String> {
        let own = match self.variable("PGSERVICEFILE") {
            Some(file) => Some(PathBuf::from(file)),
            None => self.home.as_ref().map(|home| home.join(".pg_service.conf")),
        };
        let system = Path::new(self.variable("PGSYSCONFDIR").unwrap_or("/etc/postgresql-common")).join("pg_service.conf");
        for file in own.into_iter().chain([system]) {
            let Ok(text) = fs::read_to_string(&file) else { continue };
            if let Some(found) = section(&text, service) {
                return found.ok_or_else(|| format!("the service {service:?} in {} has a line without =", file.display()));
            }
        }
        Err(format!("there is no service {service:?}: name one of ~/.pg_service.conf or $PGSERVICEFILE"))
    }

    /// A file of libpq's own folder, if it is there.
    pub(super) fn own_file(&self, name: &str) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join(".postgresql").join(name)).filter(|file| file.exists())
    }

    pub(super) fn passfile(&self) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join(".pgpass"))
    }
}

fn account() -> Option<User> {
    User::from_uid(Uid::from_raw(geteuid().as_raw())).ok().flatten()
}

/// The lines of a section; `None` if there is no such section, and then `None` for what is no line of it.
fn section(text: &str, wanted: &str) -> Option<Option<Vec<(String, String)>>> {
    let heading = format!("[{wanted}]");
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != heading);
    lines.next()?;
    let lines = lines.take_while(|line| !line.starts_with('['));
    let meant = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Some(meant.map(|line| line.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))).collect())
}

/// What a password file says.
pub(super) enum Found {
    Password(Secret),
    Nothing,
    /// There is a file, and others could read it: libpq takes nothing from such a one.
    Open(PathBuf),
}

/// Looks a password up as libpq does: the first line that fits counts.
pub(super) fn password(file: Option<&Path>, host: &str, port: u16, dbname: &str, user: &str) -> Found {
    let Some(file) = file else { return Found::Nothing };
    let Ok(about) = fs::metadata(file) else { return Found::Nothing };
    if !about.is_file() {
        return Found::Nothing;
    }
    if about.mode() & 0o077 != 0 {
        return Found::Open(file.to_owned());
    }
    let Ok(text) = fs::read_to_string(file) else { return Found::Nothing };
    let wanted = [host, &port.to_string(), dbname, user].map(str::to_owned);
    let fits = |fields: &[String]| fields.iter().zip(&wanted).all(|(field, wanted)| field == "*" || field == wanted);
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(fields);
    let line = lines.into_iter().find(|fields| fields.len() == 5 && fits(&fields[..4]));
    match line.map(|mut fields| fields.remove(4)) {
        Some(password) if !password.is_empty() => Found::Password(Secret::new(password)),
        _ => Found::Nothing,
    }
}

/// A line's fields at its colons; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field) = (Vec::new(), String::new());
    let mut characters = line.trim_end_matches('\r').chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => field.extend(characters.next()),
            ':' if fields.len() < 4 => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields
}
