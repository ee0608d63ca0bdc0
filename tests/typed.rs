//! Whatever is typed or written into a config file: it is understood or refused with a reason, nothing panics, and no
//! password is quoted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use vaultlock::cli::config::Config;
use vaultlock::duration;
use vaultlock::name::Name;
use vaultlock::store::locate::Location;

const SECRET: &str = "hunter2";

/// Text that is nearly a store's URL.
fn url() -> impl Strategy<Value = String> {
    let scheme = prop_oneof![
        Just("file"),
        Just("redis"),
        Just("rediss"),
        Just("redis+unix"),
        Just("postgres"),
        Just("postgresql"),
        Just("etcd"),
        Just("etcds"),
        Just("REDIS"),
        Just("zk")
    ];
    let part = || {
        prop_oneof![
            Just(SECRET.to_owned()),
            Just("localhost".to_owned()),
            Just("[::1]".to_owned()),
            Just("%2F%00%zz".to_owned()),
            Just("max_ttl=1s".to_owned()),
            Just("prefix=a".to_owned()),
            Just("password=hunter2".to_owned()),
            "[0-9]{1,7}",
            "\\PC{0,8}",
        ]
    };
    let glue = prop_oneof![Just(":"), Just("@"), Just("/"), Just("?"), Just("&"), Just(","), Just("#"), Just(""), Just("=")];
    let rest = prop::collection::vec((part(), glue), 0..9);
    (scheme, rest).prop_map(|(scheme, rest)| {
        let rest: String = rest.into_iter().map(|(part, glue)| part + glue).collect();
        format!("{scheme}://{rest}")
    })
}

/// Lines that are nearly a config file's.
fn config() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("[stores]".to_owned()),
        Just("[defaults]".to_owned()),
        Just("[[locks]]".to_owned()),
        Just("name = 'a*'".to_owned()),
        Just("store = 'ci'".to_owned()),
        Just("ci = 'redis://:hunter2@h'".to_owned()),
        Just("ci = \"redis://:hunter2@h".to_owned()),
        Just("ttl = '3s'".to_owned()),
        Just("slots = 2".to_owned()),
        Just("x = [hunter2, 'hunter2'".to_owned()),
        "[a-z]{1,5} = \\PC{0,12}",
        "\\PC{0,20}",
    ];
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

/// Where a secret stands as one: after it came nothing that made a host, a path or a file's name of it.
fn is_secret_there(url: &str) -> bool {
    url.contains(&format!(":{SECRET}@")) && url.matches(SECRET).count() == 1 && url.matches('@').count() == 1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_url_is_understood_or_refused_with_a_reason(url in url()) {
        match Location::parse(&url) {
            Ok(location) => {
                let told = format!("{}{}{:?}", location.display(), location.for_job(), location);
                prop_assert!(!is_secret_there(&url) || !told.contains(SECRET), "{url}: {told}");
                let again = Location::parse(&location.for_job()).expect("the job can use what it is told");
                prop_assert_eq!(again.fingerprint(), location.fingerprint(), "{}", url);
            }
            Err(error) => {
                let said = error.to_string();
                prop_assert!(said.len() > 10 && !said.ends_with('.'), "{url}: {said}");
                prop_assert!(!is_secret_there(&url) || !said.contains(SECRET), "{url}: {said}");
            }
        }
    }

    #[test]
    fn a_config_file_is_understood_or_refused_with_a_reason(text in config(), name in "\\PC{1,9}") {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        fs::write(&file, &text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        match Config::find(Some(Path::new(&file))) {
            Ok(config) => {
                if let Ok(name) = Name::new(&name) {
                    let _ = config.store_of(std::slice::from_ref(&name));
                    let _ = config.options_of(&[name]);
                }
            }
            Err(error) => {
                let said = format!("{error:#}");
                prop_assert!(said.contains("config.toml") && !said.contains(SECRET), "{text}: {said}");
            }
        }
    }

    #[test]
    fn a_duration_is_understood_or_refused_with_a_reason(text in "[0-9a-z .hms]{0,12}|\\PC{0,12}") {
        match duration::parse(&text) {
            Ok(span) => prop_assert!(span.as_secs() <= 100 * 366 * 24 * 3600),
            Err(said) => prop_assert!(!said.is_empty() && said.len() < 300, "{text}: {said}"),
        }
    }

    #[test]
    fn a_name_is_taken_as_it_is_or_refused_with_a_reason(text in "\\PC{0,220}|[\\x00-\\x20]{1,3}|\\PC{201,230}") {
        match Name::new(&text) {
            Ok(name) => {
                prop_assert_eq!(name.as_str(), &text);
                let spelled = name.spelled();
                prop_assert!(!spelled.contains(['/', '\0', '{', '}', '*']) && !spelled.starts_with('.'), "{text}: {spelled}");
                prop_assert!((1..=200).contains(&text.len()) && !text.chars().any(char::is_control));
            }
            Err(error) => prop_assert!(!error.to_string().contains(['\n', '\x1b']), "{error}"),
        }
    }
}
