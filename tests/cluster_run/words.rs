//! What users of a cluster type and get.

use crate::scene::scene;
use crate::stage::Stage;
use crate::support::redis::Server;

#[test]
fn locks_of_all_nodes_are_listed_and_wrong_words_are_told() {
    let (quarter, stage) = scene();
    let (cluster, names) = (&quarter.cluster, ["a", "b", "c", "d", "e", "f"]);
    let homes: std::collections::BTreeSet<usize> = names.iter().map(|name| cluster.owner(cluster.slot(name))).collect();
    assert_eq!(homes.len(), 3, "each node has its part");
    stage.say(&[&["run"], &names[..], &["--", "true"]].concat()).was_silent(0);
    assert_eq!(stage.say(&["status"]).out, "a: free\nb: free\nc: free\nd: free\ne: free\nf: free\n");
    let doctor = stage.say(&["doctor"]);
    assert!(doctor.out.contains("cluster, up for") && doctor.out.contains("only while 4 of these 6 name"), "{doctor:?}");
    let on = |url: String| Stage::on(url).run(&["-n"], &["true"]);
    let server = Server::start();
    on(format!("redis+cluster://127.0.0.1:{}?max_ttl=3s", server.port)).said_one_line(125, &["is no node of a cluster"]);
    let node = cluster.nodes[(cluster.owner(cluster.slot("x")) + 1) % 6].port;
    let done = on(format!("redis://127.0.0.1:{node}/?max_ttl=3s&prefix=words"));
    done.said_one_line(125, &["redis+cluster://"]);
}
