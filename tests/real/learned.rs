//! A policy learned from a build, on this machine's own system.

use crate::support::Scene;
use crate::{expect_content, needs_programs, unpack_zlib};
use std::process::Command;

/// Each source by itself, as a makefile would have it, and then the program that tests them.
const BUILD: &str = "set -e
for source in zlib/*.c; do
    object=${source##*/}
    gcc -DZ_HAVE_UNISTD_H -c $source -o objects/${object%.c}.o
done
gcc -Izlib zlib/test/example.c objects/*.o -o example
./example compressed.gz";

#[test]
fn what_a_build_needs_is_learned_and_is_no_more_than_that() {
    needs_programs!();
    let scene = Scene::new();
    unpack_zlib(&scene);
    scene.directory("objects");
    scene.file("build.sh", BUILD);
    let mut learn = Command::new(env!("CARGO_BIN_EXE_stockade"));
    learn.current_dir(scene.path()).args(["policy", "learn", "-o", "learned.toml", "--write", "."]);
    let learned = learn.args(["--", "bash", "build.sh"]).output().unwrap();
    let error = String::from_utf8_lossy(&learned.stderr);
    assert!(learned.status.success(), "{error}");
    let flags = ["--policy", "./learned.toml"];
    let again = scene.run(&flags, &["bash", "build.sh"]);
    expect_content(&again);
    assert!(again.text().contains("inflate with dictionary: hello, hello!"), "{}", again.told());
    // It made no directory then, so it can't now; as any build it could.
    let line = "mkdir more 2>/dev/null && echo made || echo denied";
    let denied = scene.run(&flags, &["bash", "-c", line]);
    assert_eq!(denied.text(), "denied\n", "{}", denied.told());
    scene.run(&["--policy", "build"], &["bash", "-c", line]).expect_text("made\n");
}
