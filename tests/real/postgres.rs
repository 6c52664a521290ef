//! PostgreSQL: a cluster is made, a server answers SQL over a published port, and its data outlive it.

use crate::support::{Outcome, Scene, Started};
use crate::{free_port, needs_programs, until};
use nix::sys::signal::Signal;

pub(crate) const PROGRAMS: &str = "/usr/lib/postgresql/17/bin";

/// It asks for the name of its user.
pub(crate) const USER: &str =
    "filesystem.files = { '/etc/passwd' = \"postgres:x:1000:1000::/tmp:/bin/sh\\n\" }\n";

/// Nothing was denied but large pages, which it tries to get for its shared memory, and gets along without.
#[track_caller]
fn expect_content(run: &Outcome) {
    assert_eq!(run.status.code(), Some(0), "{}", run.told());
    for denial in run.reported("/denials").as_array().unwrap() {
        assert!(denial["what"].as_str().unwrap().contains("MAP_HUGETLB"), "{}", run.told());
    }
}

fn server(scene: &Scene, name: &str, port: u16) -> Started {
    let rest = format!(
        "{USER}filesystem.write = ['.']\nnetwork = {{ mode = 'filtered', publish = ['{port}:5432'] }}\n"
    );
    let program = format!("{PROGRAMS}/postgres -D data -k /tmp -h 127.0.0.1 2>&1");
    scene.serve(name, "service", &rest, &program)
}

/// What psql prints, behind walls of its own; `None` where no server answers.
pub(crate) fn sql(port: u16, text: &str) -> Option<String> {
    let scene = Scene::new();
    // The published port is one of this host, and psql asks no proxy.
    let (psql, port) = (format!("{PROGRAMS}/psql"), port.to_string());
    let words = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-At", "-v", "ON_ERROR_STOP=1"];
    let run = scene.work(
        "worker",
        "network.mode = 'host'\n",
        &[&[&*psql], &words[..], &["-c", text]].concat(),
    );
    match run.status.code() {
        Some(0) => Some(run.text().to_owned()),
        // psql's word for a connection that can't be made.
        Some(2) => None,
        _ => panic!("{}", run.told()),
    }
}

#[test]
fn postgresql_makes_a_cluster_answers_and_keeps_its_data() {
    needs_programs!();
    let scene = Scene::new();
    let initdb = format!("{PROGRAMS}/initdb");
    let words =
        [&*initdb, "-D", "data", "-U", "postgres", "-A", "trust", "--no-locale", "-E", "UTF8"];
    let run = scene.work("service", &format!("{USER}filesystem.write = ['.']\n"), &words);
    expect_content(&run);

    let port = free_port();
    let first = server(&scene, "postgres-first", port);
    let made = until("an answer", || {
        sql(
            port,
            "CREATE TABLE squares AS SELECT n, n * n AS square FROM generate_series(1, 1000) AS n",
        )
    });
    assert_eq!(made, "SELECT 1000\n");
    let planned = "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; \
                   SET min_parallel_table_scan_size = 0; SELECT sum(square) FROM squares";
    assert_eq!(sql(port, planned).unwrap().lines().last(), Some("333833500"));
    // "Fast": whoever is connected is sent away, and all is written.
    first.signal(Signal::SIGINT);
    let run = first.finish(&scene);
    expect_content(&run);
    assert!(
        str::from_utf8(&run.stdout).unwrap().contains("database system is shut down"),
        "{}",
        run.told()
    );

    let second = server(&scene, "postgres-second", port);
    let kept = until("an answer", || sql(port, "SELECT count(*), max(square) FROM squares"));
    assert_eq!(kept, "1000|1000000\n");
    second.signal(Signal::SIGINT);
    let run = second.finish(&scene);
    expect_content(&run);
    assert!(
        !str::from_utf8(&run.stdout).unwrap().contains("not properly shut down"),
        "{}",
        run.told()
    );
}
