//! Every form in which a store's address may come, in tables.

use crate::store::Server as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::address::{Address, Roots, SslMode};
use super::habits::{Found, Surroundings, password};

fn around(variables: &[(&str, &str)], home: &Path) -> Surroundings {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Surroundings { variables, home: Some(home.to_owned()), user: Some("me".to_owned()), asks_passwd: false }
}

fn read(url: &str) -> Address {
    Address::parse(url, &around(&[], Path::new("/nowhere"))).unwrap_or_else(|why| panic!("{url}: {why}"))
}

/// user password hosts dbname
fn told(address: &Address) -> String {
    let password = address.password.as_ref().map_or("-", |password| password.reveal());
    let hosts: Vec<String> = address.hosts.iter().map(|host| host.shown()).collect();
    format!("{} {password} {} {}", address.user, hosts.join(","), address.dbname)
}

#[test]
fn urls_are_read_as_libpq_reads_them() {
    for (url, as_told) in [
        ("postgres://h", "me - h:5432 me"),
        ("postgresql://h", "me - h:5432 me"),
        ("postgres://h/", "me - h:5432 me"),
        ("postgres://h:6000/locks", "me - h:6000 locks"),
        ("postgres://alice@h/locks", "alice - h:5432 locks"),
        ("postgres://alice:p%40ss%2F%3f@h/locks", "alice p@ss/? h:5432 locks"),
        ("postgres://alice:a:b@h", "alice a:b h:5432 alice"),
        ("postgres://[::1]:7000/d", "me - [::1]:7000 d"),
        ("postgres://[fe80::1]", "me - [fe80::1]:5432 me"),
        ("postgres://h1:1,h2:2,[::1]:3/d", "me - h1:1,h2:2,[::1]:3 d"),
        ("postgres://h1,h2/d", "me - h1:5432,h2:5432 d"),
        ("postgres://%2Fvar%2Frun%2Fpg/d", "me - /var/run/pg/.s.PGSQL.5432 d"),
        ("postgres://%2Ftmp:6000", "me - /tmp/.s.PGSQL.6000 me"),
        ("postgres:///d?host=/run/pg&port=6000", "me - /run/pg/.s.PGSQL.6000 d"),
        ("postgres://?host=h&dbname=d&user=u&password=p", "u p h:5432 d"),
        ("postgres://h/d?user=u", "u - h:5432 d"),
        ("postgres://h1/d?host=h2,h3&port=1,2", "me - h2:1,h3:2 d"),
        ("postgres:///d?hostaddr=10.0.0.7", "me - 10.0.0.7:5432 d"),
        ("postgres://name/d?hostaddr=10.0.0.7", "me - name:5432 d"),
        ("postgres://h/d%20b?application_name=a+b", "me - h:5432 d b"),
    ] {
        assert_eq!(told(&read(url)), as_told, "{url}");
    }
    let address = read("postgres://name/d?hostaddr=10.0.0.7&options=-c%20geqo%3Doff&application_name=ci&connect_timeout=1");
    assert_eq!(address.hosts[0].address.as_deref(), Some("10.0.0.7"));
    assert_eq!((address.options.as_deref(), address.application_name.as_str()), (Some("-c geqo=off"), "ci"));
    assert_eq!(address.connect_timeout, Some(Duration::from_secs(2)), "libpq waits no less");
    assert_eq!(read("postgres://h?connect_timeout=0").connect_timeout, None);
}

#[test]
fn what_is_wrong_is_told_without_a_secret() {
    for (url, part) in [
        ("postgres://u:canary@h:0/d", "port"),
        ("postgres://u:canary@h:99999/d", "port"),
        ("postgres://u:canary@h:x/d", "port"),
        ("postgres://u:canary@::1/d", "[::1]:5432"),
        ("postgres://u:canary@[::1/d", "]"),
        ("postgres://u:canary@[::1]x/d", "]"),
        ("postgres://u:can%zzary@h/d", "%25"),
        ("postgres://u:canary@x@h/d", "%40"),
        ("postgres://u:can/ary@h/d", "%2F"),
        ("postgres://u:can?ary@h/d", "%3F"),
        ("postgres://u:can#ary@h/d", "%23"),
        ("postgres://u:canary@h/d?colour=red", "\"colour\""),
        ("postgres://u:canary@h/d?Canary%20x=1", "no word"),
        ("postgres://u:canary@h/d?canary", "%26"),
        ("postgres://u:canary@h/d?sslmode=often", "often"),
        ("postgres://u:canary@h/d?sslcert=/x", "sslkey="),
        ("postgres://u:canary@h/d?target_session_attrs=standby", "must be written"),
        ("postgres://u:canary@h/d?connect_timeout=soon", "number of seconds"),
        ("postgres://u:canary@h/d?channel_binding=require", "sslmode=verify-full"),
        ("postgres://u:canary@h/d?gssencmode=require", "sslmode=verify-full"),
        ("postgres://u:canary@h/d?prefix=a%20b", "prefix="),
        ("postgres://u:canary@h/d?prefix=pg_x", "prefix="),
        ("postgres://u:canary@h/d?fresh=perhaps", "perhaps"),
        ("postgres://u:canary@h1,h2,h3/d?port=1,2", "2 ports for 3 hosts"),
        ("postgres://u:canary@h1,h2/d?hostaddr=10.0.0.7", "hostaddr"),
        ("postgres://u:canary@h%0a/d", "control"),
        ("postgres://u:canary@h/d?service=nowhere", "no service \"nowhere\""),
    ] {
        let complaint = Address::parse(url, &around(&[], Path::new("/nowhere"))).unwrap_err();
        assert!(complaint.contains(part), "{url}: {complaint}");
        assert!(!complaint.contains("canary"), "{complaint}");
    }
}

#[test]
fn tls_is_full_unless_the_server_is_on_this_host_or_somebody_says_otherwise() {
    for (url, mode) in [
        ("postgres://h", SslMode::VerifyFull),
        ("postgres://10.0.0.7", SslMode::VerifyFull),
        ("postgres://localhost", SslMode::Prefer),
        ("postgres://127.0.0.1", SslMode::Prefer),
        ("postgres://[::1]", SslMode::Prefer),
        ("postgres://h?hostaddr=127.0.0.1", SslMode::Prefer),
        ("postgres://localhost?hostaddr=10.0.0.7", SslMode::VerifyFull),
        ("postgres://%2Ftmp", SslMode::Disable),
        ("postgres://%2Ftmp?sslmode=require", SslMode::Disable),
        ("postgres://h?sslmode=disable", SslMode::Disable),
        ("postgres://h?sslmode=prefer", SslMode::Prefer),
        ("postgres://h?sslmode=require", SslMode::Require),
        ("postgres://h?ssl=true", SslMode::Require),
        ("postgres://localhost?sslmode=verify-ca", SslMode::VerifyCa),
        ("postgres://localhost?sslmode=verify-full", SslMode::VerifyFull),
    ] {
        let address = read(url);
        assert_eq!(address.tls.mode_for(&address.hosts[0]), mode, "{url}");
    }
    let home = tempfile::tempdir().unwrap();
    let own = home.path().join(".postgresql");
    fs::create_dir(&own).unwrap();
    for name in ["root.crt", "postgresql.crt", "postgresql.key"] {
        fs::write(own.join(name), "").unwrap();
    }
    let address = Address::parse("postgres://h", &around(&[], home.path())).unwrap();
    assert_eq!((address.tls.roots, address.tls.cert), (Roots::File(own.join("root.crt")), Some(own.join("postgresql.crt"))));
    let address = Address::parse("postgres://h?sslrootcert=system", &around(&[], Path::new("/nowhere"))).unwrap();
    assert_eq!(address.tls.roots, Roots::System { asked: true });
}

#[test]
fn the_url_goes_before_a_service_before_the_environment() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".pg_service.conf");
    fs::write(&file, "# ours\n[other]\nhost=no\n\n[ci]\n# where\nhost=s1\nport = 6000\nuser=robot\npassword=pw\n[last]\n")
        .unwrap();
    let variables = [("PGHOST", "e1"), ("PGPORT", "7000"), ("PGDATABASE", "ed"), ("PGUSER", "eu"), ("PGPASSWORD", "ep")];
    let read = |url: &str, more: &[(&str, &str)]| {
        told(&Address::parse(url, &around(&[&variables[..], more].concat(), home.path())).unwrap())
    };
    assert_eq!(read("postgres://", &[]), "eu ep e1:7000 ed");
    assert_eq!(read("postgres://h/d", &[]), "eu ep h:7000 d");
    assert_eq!(read("postgres://?service=ci", &[]), "robot pw s1:6000 ed");
    assert_eq!(read("postgres://h:1?service=ci", &[]), "robot pw h:1 ed");
    assert_eq!(read("postgres://", &[("PGSERVICE", "ci")]), "robot pw s1:6000 ed");
    let elsewhere = home.path().join("services");
    fs::write(&elsewhere, "[ci]\nhost=s2\n").unwrap();
    assert_eq!(read("postgres://?service=ci", &[("PGSERVICEFILE", elsewhere.to_str().unwrap())]), "eu ep s2:7000 ed");
    fs::write(home.path().join("pg_service.conf"), "[team]\nhost=s3\n").unwrap();
    assert_eq!(read("postgres://?service=team", &[("PGSYSCONFDIR", home.path().to_str().unwrap())]), "eu ep s3:7000 ed");
    fs::write(&file, "[ci]\nnonsense\n").unwrap();
    let why = Address::parse("postgres://?service=ci", &around(&[], home.path())).unwrap_err();
    assert!(why.contains("without ="), "{why}");
    let all = [
        ("PGSSLMODE", "require"),
        ("PGSSLROOTCERT", "/ca"),
        ("PGSSLCERT", "/c"),
        ("PGSSLKEY", "/k"),
        ("PGCONNECT_TIMEOUT", "7"),
        ("PGTARGETSESSIONATTRS", "any"),
        ("PGAPPNAME", "app"),
        ("PGOPTIONS", "-c x=y"),
        ("PGHOSTADDR", "10.0.0.7"),
        ("PGPASSFILE", "/pass"),
    ];
    let address = Address::parse("postgres://h", &around(&all, home.path())).unwrap();
    assert_eq!((address.tls.mode, address.tls.roots), (Some(SslMode::Require), Roots::File("/ca".into())));
    assert_eq!((address.tls.cert, address.tls.key), (Some("/c".into()), Some("/k".into())));
    assert_eq!((address.connect_timeout, address.wants_primary), (Some(Duration::from_secs(7)), false));
    assert_eq!((address.application_name.as_str(), address.options.as_deref()), ("app", Some("-c x=y")));
    assert_eq!((address.hosts[0].address.as_deref(), address.passfile), (Some("10.0.0.7"), Some("/pass".into())));
}

#[test]
fn passwords_come_from_a_file_that_nobody_else_can_read() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".pgpass");
    let look = |host: &str, port, dbname: &str, user: &str| match password(Some(&file), host, port, dbname, user) {
        Found::Password(password) => password.reveal().to_owned(),
        Found::Nothing => "nothing".to_owned(),
        Found::Open(_) => "open".to_owned(),
    };
    assert_eq!(look("h", 5432, "d", "u"), "nothing", "there is no file");
    let text = "# h:5432:d:u:comment\nh:5432:d:u:one\n*:6000:*:u:t\\:w\\\\o:3\nhere\\:1:*:*:*:four\nshort:1:d\n*:*:*:rich:\n";
    fs::write(&file, text).unwrap();
    for mode in [0o644, 0o640, 0o604] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(look("h", 5432, "d", "u"), "open", "{mode:o}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    for (host, port, dbname, user, found) in [
        ("h", 5432, "d", "u", "one"),
        ("x", 6000, "y", "u", "t:w\\o:3"),
        ("here:1", 1, "y", "z", "four"),
        ("h", 5432, "e", "u", "nothing"),
        ("h", 5432, "d", "rich", "nothing"),
    ] {
        assert_eq!(look(host, port, dbname, user), found, "{host} {port} {dbname} {user}");
    }
}

#[test]
fn an_address_shows_no_secret_and_the_job_gets_none() {
    for (url, bare) in [
        ("postgres://me:canary@h:1/d?prefix=ci", "postgres://h:1/d?prefix=ci"),
        ("postgres://canary@h1:1,h2:2/d", "postgres://h1:1,h2:2/d"),
        ("postgresql:///d?user=canary&host=/tmp&password=canary&max_ttl=3s", "postgresql:///d?host=/tmp"),
        ("postgres://:canary@h", "postgres://h/me"),
        ("postgres://you:canary@h?sslmode=disable", "postgres://h/you?sslmode=disable"),
    ] {
        let address = read(url);
        assert_eq!(address.without_secrets(), bare);
        assert!(address.has_secret(), "{url}");
        assert_eq!(address.identity(), read(bare).identity(), "one store");
    }
    let address = read("postgres://me:canary@h1:1,h2/d");
    assert_eq!(address.display(), "postgres at h1:1,h2:5432");
    assert!(!format!("{address:?}").contains("canary") && address.password_in_url());
    assert!(!read("postgres://h").has_secret());
}
