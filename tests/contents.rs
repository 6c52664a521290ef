//! What a sandbox sees that isn't simply the host's: masks, files with content of their own, single devices, secrets. Each
//! attempt succeeds where that key alone is left out.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::fs;
use support::{Scene, skip};

const TELL: &str = "cat data/key data/dir/file 2>&1; ls data/dir; echo $(wc -c < data/plain)";

/// A directory with things that are nobody's business.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.directory("data");
    scene.directory("data/dir");
    for (name, text) in
        [("data/key", "sesame\n"), ("data/dir/file", "hidden\n"), ("data/plain", "plain\n")]
    {
        scene.file(name, text);
    }
    scene
}

#[test]
fn what_is_denied_can_not_be_opened_and_the_rest_can() {
    let scene = scene();
    let free = scene.bash(&["--read", "data"], TELL).expect_code(0);
    assert_eq!(free.text(), "sesame\nhidden\nfile\n6\n");
    let flags = ["--read", "data", "--deny", "data/key", "--deny", "data/dir"];
    let run = scene.bash(&flags, TELL).expect_code(0);
    assert!(!run.text().contains("sesame") && !run.text().contains("hidden"), "{}", run.told());
    assert_eq!(run.text().matches("Permission denied").count(), 2, "{}", run.told());
    assert!(run.text().ends_with("\n6\n"), "{}", run.told());
}

#[test]
fn what_is_hidden_looks_empty() {
    let scene = scene();
    let flags = ["--read", "data", "--hide", "data/key", "--hide", "data/dir"];
    let run = scene.bash(&flags, "wc -c < data/key; ls -A data/dir | wc -l").expect_code(0);
    assert_eq!(run.text(), "0\n0\n", "{}", run.told());
}

#[test]
fn a_mask_in_a_writable_directory_can_not_be_taken_away() {
    let scene = scene();
    let attempts = "rm -f data/key; mv data/key data/other; echo new > data/key; umount data/key; \
                    mv data/dir gone; rmdir data/dir; ln data/key data/link; \
                    cat data/key data/link data/other gone/file data/dir/file; echo done";
    let flags = ["--write", ".", "--deny", "data/key", "--deny", "data/dir"];
    let run = scene.bash(&flags, attempts).expect_code(0);
    assert_eq!(run.text(), "done\n", "{}", run.told());
    assert_eq!(fs::read_to_string(scene.at("data/key")).unwrap(), "sesame\n");
    // Renaming what it stands in takes it along.
    let run =
        scene.bash(&flags, "mv data moved && cat moved/key moved/dir/file; echo $?").expect_code(0);
    assert_eq!(run.text(), "1\n", "{}", run.told());
    fs::rename(scene.at("moved"), scene.at("data")).unwrap();
    let run = scene.bash(&["--write", "."], "rm data/key && cat data/dir/file").expect_code(0);
    assert_eq!(run.text(), "hidden\n");
}

#[test]
fn a_mask_follows_links_and_has_no_way_around() {
    let scene = scene();
    std::os::unix::fs::symlink("data/key", scene.at("link")).unwrap();
    let ways = "cat link data/key data/dir/../key /proc/self/cwd/data/key /proc/self/root$PWD/data/key 2>/dev/null; \
                exec 3< data 2>/dev/null; cat /proc/self/fd/3/key 2>/dev/null; echo done";
    let run = scene.bash(&["--read", ".", "--deny", "link"], ways).expect_code(0);
    assert_eq!(run.text(), "done\n", "{}", run.told());
    let free = scene.bash(&["--read", "."], ways).expect_code(0);
    assert_eq!(free.text().matches("sesame").count(), 6, "{}", free.told());
}

#[test]
fn a_mask_of_what_does_not_exist_is_refused_only_where_it_could_be_made() {
    let scene = scene();
    scene.bash(&["--read", ".", "--deny", "data/none"], "exit 0").expect_code(0);
    scene.bash(&["--deny", "/no/such/place"], "exit 0").expect_code(0);
    let refused = scene.bash(&["--write", ".", "--deny", "data/none"], "exit 0");
    refused.expect_refusal(&[
        "data/none` doesn't exist",
        "the program may write",
        "hint: make it first",
    ]);
    assert!(!fs::exists(scene.at("data/none")).unwrap(), "nothing is left on the host");
}

#[test]
fn what_is_shown_in_a_masked_directory_is_a_contradiction() {
    let scene = scene();
    let flags = ["--read", "data/dir", "--deny", "data"];
    scene
        .bash(&flags, "exit 0")
        .expect_refusal(&["data` is masked, and", "data/dir` in it is shown"]);
}

#[test]
fn a_file_of_the_policy_is_there_with_its_content_and_stays_so() {
    let scene = scene();
    let line = "cat /etc/greeting /opt/a/b/deep data/key; echo x > /etc/greeting; rm -f /opt/a/b/deep; \
                chmod 777 /etc/greeting; stat -c '%a %u' /etc/greeting; id -u; cat /etc/greeting";
    let flags = [
        "--read",
        "data",
        "--file",
        "/etc/greeting=hello\n",
        "--file",
        "/opt/a/b/deep=below\n",
        "--file",
        &format!("{}=covered\n", scene.at("data/key")),
    ];
    let run = scene.bash(&flags, line);
    let user = run.text().lines().nth(4).unwrap();
    assert_eq!(
        run.text(),
        format!("hello\nbelow\ncovered\n444 {user}\n{user}\nhello\n"),
        "{}",
        run.told()
    );
    assert_eq!(fs::read_to_string(scene.at("data/key")).unwrap(), "sesame\n");
    let without = scene.bash(&["--read", "data"], "cat /etc/greeting; cat data/key").expect_code(0);
    assert_eq!(without.text(), "sesame\n");
    // In a directory of the host nothing is made.
    let place = format!("{}=x", scene.at("data/new"));
    let refused = scene.bash(&["--read", "data", "--file", &place], "exit 0");
    refused.expect_refusal(&["data/new` isn't a file of the host", "nothing can be made there"]);
    assert!(!fs::exists(scene.at("data/new")).unwrap());
}

#[test]
fn a_secret_is_for_the_program_alone() {
    let scene = scene();
    let line = "cat /run/secrets/db /run/secrets/token; stat -c %a /run/secrets/db; \
                env | grep -c 'ses''ame\\|open-''up'; cat /proc/self/environ /proc/1/environ 2>/dev/null | grep -c 'ses''ame\\|open-''up'; \
                ls -A / | grep -c content";
    let mut command = scene.command(
        &["--secret", "db=data/key", "--secret-env", "token=STOCKADE_TEST_TOKEN", "-v"],
        &["bash", "-c", line],
    );
    command.env("STOCKADE_TEST_TOKEN", "open-up\n");
    let run = scene.finish(command);
    assert_eq!(
        str::from_utf8(&run.stdout).unwrap(),
        "sesame\nopen-up\n400\n0\n0\n0\n",
        "{}",
        run.told()
    );
    for told in [run.report.to_string(), run.stderr.clone()] {
        assert!(!told.contains("sesame") && !told.contains("open-up"), "{}", run.told());
    }
    let without = scene.bash(&[], "cat /run/secrets/db");
    assert_ne!(without.status.code(), Some(0), "{}", without.told());
}

#[test]
fn a_plan_that_is_shown_has_no_secret_in_it() {
    let scene = scene();
    scene.file("p.toml", "extends = 'default'\n[secrets]\nfiles = { db = './data/key' }\nenvironment = { token = 'STOCKADE_TEST_TOKEN' }\n");
    for stage in ["policy", "plan", "operations"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stockade"));
        command.current_dir(scene.path()).env("STOCKADE_TEST_TOKEN", "open-up");
        let told =
            command.args(["policy", "explain", "p.toml", "--stage", stage]).output().unwrap();
        let text = String::from_utf8(told.stdout).unwrap();
        assert!(told.status.success() && text.contains("db"), "{stage}: {text}");
        assert!(!text.contains("sesame") && !text.contains("open-up"), "{stage}: {text}");
    }
}

#[test]
fn a_secret_that_can_not_be_had_is_named() {
    let scene = scene();
    let missing = scene.bash(&["--secret", "db=data/none"], "exit 0");
    missing.expect_refusal(&["failed to read the secret `db` from", "data/none", "No such file"]);
    let wrong = scene.bash(&["--secret", "db=data/dir"], "exit 0");
    wrong.expect_refusal(&["failed to read the secret `db` from", "not a file"]);
    let unset = scene.bash(&["--secret-env", "t=STOCKADE_TEST_UNSET"], "exit 0");
    unset.expect_refusal(&[
        "the variable `STOCKADE_TEST_UNSET`, where the secret `t` is to be, isn't set",
    ]);
}

#[test]
fn a_device_is_there_only_by_name() {
    let scene = scene();
    if !fs::exists("/dev/fuse").unwrap() {
        skip!("fuse: this host has no `/dev/fuse`");
    }
    let line = "test -c /dev/fuse; echo $?";
    scene.bash(&[], line).expect_text("1\n");
    scene.bash(&["--device", "/dev/fuse"], line).expect_text("0\n");
    let disk = scene.bash(&["--device", "/dev/none"], "exit 0");
    disk.expect_refusal(&["/dev/none", "filesystem.devices", "No such file"]);
    let wrong = scene.bash(&["--device", "/dev/pts"], "exit 0");
    wrong.expect_refusal(&["/dev/pts", "not a character device"]);
}
