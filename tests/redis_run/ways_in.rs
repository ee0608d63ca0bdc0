//! Every kind of URL, with the built binary: a static program must find names and certificates too.

use crate::stage::Stage;
use crate::support::redis::Server;
use vaultlock::store::redis::ACL;

/// The lock is taken, held against others, seen, and given back by this URL.
fn works(url: String) {
    println!("    {url}");
    let stage = Stage::on(url);
    let holder = stage.hold(&[], &[]);
    stage.run(&["-n"], &["true"]).said_one_line(75, &["x is busy"]);
    stage.let_go();
    holder.end().was_silent(0);
    stage.run(&["-n"], &["true"]).was_silent(0);
    assert!(stage.say(&["status"]).out.contains("x: free"));
}

#[test]
fn by_address_by_name_by_socket_and_by_database() {
    let server = Server::start();
    let end = "max_ttl=3s&fresh=true";
    works(format!("redis://127.0.0.1:{}?{end}", server.port));
    works(format!("redis://localhost:{}/?{end}", server.port));
    works(format!("{}?{end}", server.socket_url()));
    works(format!("redis://127.0.0.1:{}/7?{end}", server.port));
    works(format!("{}?db=7&{end}", server.socket_url()));
    works(format!("redis://127.0.0.1:{}/?prefix=other&{end}", server.port));
}

#[test]
fn databases_and_prefixes_are_stores_of_their_own_and_the_socket_is_not() {
    let server = Server::start();
    let end = "max_ttl=3s&fresh=true";
    let stage = Stage::on(format!("redis://127.0.0.1:{}/3?{end}", server.port));
    let holder = stage.hold(&[], &[]);
    for (url, code) in [
        (format!("redis://127.0.0.1:{}/4?{end}", server.port), 0),
        (format!("redis://127.0.0.1:{}/3?prefix=p&{end}", server.port), 0),
        (format!("redis://localhost:{}/3?{end}", server.port), 75),
        (format!("{}?db=3&{end}", server.socket_url()), 75),
    ] {
        let other = Stage::on(url);
        assert_eq!(other.run(&["-n"], &["true"]).code, code, "{}", other.url());
    }
    stage.let_go();
    holder.end().was_silent(0);
}

#[test]
fn with_a_password_as_a_user_with_few_rights_and_by_rediscli_auth() {
    let server = Server::with(&["--requirepass", "s3cret"]);
    let end = "max_ttl=3s&fresh=true";
    let mut rule = vec!["ACL", "SETUSER", "locks", "on", ">p%w", "resetkeys", "resetchannels", "-@all"];
    rule.extend(ACL.split_whitespace());
    server.tell(&rule);
    works(format!("redis://:s3cret@127.0.0.1:{}/?{end}", server.port));
    works(format!("redis://locks:p%25w@localhost:{}/2?{end}", server.port));
    works(format!("{}?user=locks&pass=p%25w&{end}", server.socket_url()));
    let stage = Stage::on(format!("redis://127.0.0.1:{}/?{end}", server.port));
    let mut command = stage.command(&["run", "x", "--", "echo", "in"]);
    command.env("REDISCLI_AUTH", "s3cret");
    let done = stage.start(command).end();
    done.was_silent(0);
    assert_eq!(done.out, "in\n");
}

#[test]
fn by_tls_with_a_private_authority_and_never_with_another() {
    let (server, port) = Server::with_tls(&[]);
    let authority = |name: &str| server.path(&format!("tls/{name}")).display().to_string();
    let end = "max_ttl=3s&fresh=true";
    works(format!("rediss://127.0.0.1:{port}/?cacert={}&{end}", authority("ca.pem")));
    let refused = |url: String, part: &str| {
        Stage::on(url).run(&[], &["echo", "ran"]).said_one_line(125, &["no TLS to redis at", part]);
    };
    refused(format!("rediss://127.0.0.1:{port}/?cacert={}&{end}", authority("other.pem")), "unknown authority");
    refused(format!("rediss://localhost:{port}/?cacert={}&{end}", authority("ca.pem")), "another host");
    refused(format!("rediss://127.0.0.1:{port}/?{end}"), "authorit");
}
