//! What can't be used is refused before the job starts, in one line that says what to do.

use std::time::{Duration, Instant};

use crate::stage::Stage;
use crate::support::proxy::{Proxy, Way, parrot};
use crate::support::redis::{Server, free_port};

/// The store of this URL is refused, in one line with these words in it; no job runs.
#[track_caller]
fn refused(url: &str, parts: &[&str]) {
    let stage = Stage::on(url.to_owned());
    let started = Instant::now();
    let done = stage.run(&["--ttl", "3s"], &["echo", "ran"]);
    done.said_one_line(125, parts);
    println!("    {}", done.err.trim_end());
    assert_eq!(done.out, "");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let status = stage.say(&["status", "x"]);
    assert!(status.code == 125 && status.err.lines().count() == 1 && status.out.is_empty(), "{status:?}");
}

#[test]
fn a_server_that_does_not_let_us_in() {
    let server = Server::with(&["--requirepass", "s3cret"]);
    server.tell(&["ACL", "SETUSER", "weak", "on", ">pw"]);
    server.tell(&["ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@read"]);
    let at = |user: &str| format!("redis://{user}127.0.0.1:{}/", server.port);
    refused(&at(""), &["wants a password: put it into the store URL or REDISCLI_AUTH"]);
    refused(&at(":wrong@"), &["does not accept this user and password: check the store URL"]);
    refused(&at("nobody:s3cret@"), &["does not accept this user and password"]);
    refused(&at("weak@"), &["no password for the user", "put it into the store URL"]);
    refused(&at("weak:pw@"), &["refuses this user a command or key", "it needs all of this: ACL SETUSER"]);
    refused(&at("reader:pw@"), &["refuses this user a command or key", "it needs all of this: ACL SETUSER"]);
    refused(&format!("redis://:s3cret@127.0.0.1:{}/99", server.port), &["has no database 99: choose another one"]);
    refused(&Server::start().url().replace("redis://", "redis://:s3cret@"), &["redis at"]);
}

#[test]
fn a_server_that_may_not_or_can_not_keep_locks() {
    let replica = Server::start();
    replica.tell(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    refused(&replica.url(), &["is a read-only replica: give the primary in the store URL"]);
    let full = Server::with(&["--maxmemory", "1"]);
    refused(&full.url(), &["is full: raise its maxmemory"]);
    let forgetful = Server::with(&["--maxmemory-policy", "allkeys-lru"]);
    refused(&forgetful.url(), &["evicts locks when it is full", "set maxmemory-policy noeviction"]);
    let lonely = Server::with(&["--min-replicas-to-write", "1"]);
    refused(&lonely.url(), &["fewer good replicas than its min-replicas-to-write", "look at its replicas"]);
    let loading = parrot(b"-LOADING Redis is loading the dataset in memory\r\n");
    refused(&format!("redis://127.0.0.1:{loading}"), &["is still loading its data: try again in a while"]);
}

#[test]
fn what_is_no_redis_at_all() {
    let http = parrot(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    refused(&format!("redis://127.0.0.1:{http}"), &["does not speak redis: check host and port"]);
    let greeting = parrot(b"220 mail.example.org ESMTP\r\n");
    refused(&format!("redis://127.0.0.1:{greeting}"), &["does not speak redis: check host and port"]);
    let polite = parrot(b"+OK\r\n");
    refused(&format!("redis://127.0.0.1:{polite}"), &["does not speak redis: check host and port"]);
    let plain = Server::start();
    refused(&format!("rediss://127.0.0.1:{}", plain.port), &["no answer from redis at", "whether this is its TLS port"]);
}

#[test]
fn a_server_that_is_not_there() {
    refused(&format!("redis://127.0.0.1:{}", free_port()), &["the job was not run: ", "is the server running there?"]);
    refused("redis://no-such-host.invalid", &["the job was not run: ", "check the name in the URL"]);
    refused("redis+unix:///nowhere/redis.sock", &["the job was not run: ", "is the server running, with this unixsocket?"]);
    let server = Server::start();
    let proxy = Proxy::before(server.port);
    proxy.to_server(Way::Swallow);
    let stage = Stage::new(&proxy.url());
    let done = stage.run(&["--ttl", "1s"], &["echo", "ran"]);
    done.said_one_line(125, &["the job was not run: no answer from redis at", "look at the network"]);
    assert_eq!(done.out, "");
}

#[test]
fn a_store_out_of_reach_can_be_excused_and_a_refusal_can_not() {
    let stage = Stage::new(&format!("redis://127.0.0.1:{}/", free_port()));
    let script = "echo ran with \"${VAULTLOCK_FENCE-no fence}\"; exit 3";
    let run = |policy: &str| {
        let mut command = stage.command(&["run", "--ttl", "1s", "--if-unavailable", policy, "x", "-c", script]);
        command.env("VAULTLOCK_FENCE", "7");
        stage.start(command).end()
    };
    let skipped = run("skip");
    skipped.said_one_line(0, &["the job was skipped", "is the server running there?"]);
    assert_eq!(skipped.out, "");
    let unlocked = run("run");
    unlocked.said_one_line(3, &["RUNNING THE JOB WITHOUT THE LOCK", "is the server running there?"]);
    assert_eq!(unlocked.out, "ran with no fence\n");
    let server = Server::with(&["--requirepass", "s3cret"]);
    let stage = Stage::new(&server.url());
    for policy in ["skip", "run"] {
        let done = stage.run(&["--if-unavailable", policy], &["echo", "ran"]);
        done.said_one_line(125, &["wants a password"]);
        assert_eq!(done.out, "");
    }
}

#[test]
fn a_server_that_goes_while_one_waits_is_waited_for_and_given_up_in_the_end() {
    let mut server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&["--ttl", "1s"], &[]);
    let waiter = stage.wait_behind(&["--ttl", "1s"], &["for", "5"]);
    server.kill();
    holder.end().said_one_line(121, &["lost x"]);
    waiter.end().said_one_line(125, &["the job was not run", "is the server running there?"]);
    stage.log().check(1);
}

#[test]
fn terms_that_differ_are_refused() {
    let server = Server::start();
    Stage::new(&server.url()).run(&[], &["true"]).was_silent(0);
    let other = Stage::on(format!("{}?max_ttl=10s&fresh=true", server.url()));
    other.run(&[], &["true"]).said_one_line(125, &["has a max_ttl of 3s", "use the same max_ttl in every store URL"]);
    let stage = Stage::new(&server.url());
    stage.run(&["--ttl", "4s"], &["true"]).said_one_line(64, &["a ttl of 4s is more than the store's max_ttl of 3s"]);
    stage.run(&["--ttl", "0.5s"], &["true"]).said_one_line(64, &["out of range"]);
    stage.run(&["--kill-after", "2s"], &["true"]).said_one_line(64, &["--kill-after 2s does not fit"]);
}

#[test]
fn a_new_server_tells_who_will_not_wait_that_it_is_too_new() {
    let server = Server::start();
    let stage = Stage::on(format!("{}?max_ttl=3s", server.url()));
    stage.run(&["-n"], &["true"]).said_one_line(75, &["x is busy", "may have forgotten a holder", "try again in", "fresh=true"]);
}

#[test]
fn urls_that_can_not_be_read_are_wrong_words() {
    for (url, part) in [
        ("redis://", "host"),
        ("redis://h:99999", "port"),
        ("redis://h/zero", "is not a redis database"),
        ("redis://h?colour=red", "colour"),
        ("redis://h?max_ttl=soon", "max_ttl"),
        ("redis://h?max_ttl=1h&max_ttl=200h", "max_ttl"),
        ("redis://h?fresh=maybe", "fresh"),
        ("redis://h#x", "%23"),
        ("redis+unix://tmp/x.sock", "three slashes"),
        ("rediss://h?cert=/x", "key="),
        ("redis+cluster://h/1", "one database"),
        ("redis+sentinel://h", "the primary's name"),
        ("mongodb://h", "there is no engine mongodb"),
    ] {
        let done = Stage::on(url.to_owned()).run(&[], &["true"]);
        done.said_one_line(64, &["$VAULTLOCK_STORE: ", part]);
    }
}
