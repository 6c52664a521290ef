//! Files that are no policies, policies that extend others, and what isn't UTF-8.

use super::{Place, nowhere, only_problem};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

#[test]
fn only_regular_files_of_a_sensible_size_are_read() {
    let place = Place::new();
    let path = |name: &str| place.path().join(name);
    nix::unistd::mkfifo(&path("fifo.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(path("directory.toml")).unwrap();
    File::create(path("huge.toml")).unwrap().set_len(1 << 30).unwrap();
    symlink("/dev/zero", path("link.toml")).unwrap();
    symlink("loop.toml", path("loop.toml")).unwrap();
    std::os::unix::net::UnixListener::bind(path("socket.toml")).unwrap();
    for (name, message) in [
        ("fifo.toml", "a policy must be a regular file, and this is a FIFO"),
        ("directory.toml", "a policy must be a regular file, and this is a directory"),
        ("socket.toml", "a policy must be a regular file, and this is a socket"),
        ("link.toml", "a policy must be a regular file, and this is a device"),
        ("/dev/zero", "a policy must be a regular file, and this is a device"),
        ("/dev/stdin", "a policy must be a regular file, and this is a device"),
        ("huge.toml", "the file is too large for a policy (at most 1048576 bytes)"),
        ("loop.toml", "failed to read: Too many levels of symbolic links (os error 40)"),
        ("missing.toml", "failed to read: No such file or directory (os error 2)"),
        ("/proc/self/mem/", "failed to read: Not a directory (os error 20)"),
    ] {
        let ended = place.check(name);
        assert_eq!(ended.problems(), [format!("{name}: {message}")], "{}", ended.stderr);
        // The same where a policy extends it.
        let ended = place.write("p.toml", format!("extends = './{name}'")).check("p.toml");
        if !name.starts_with('/') {
            let expected = format!("p.toml:1:11: extends: `./{name}`: {message}");
            assert_eq!(ended.problems(), [expected], "{}", ended.stderr);
        }
    }
}

#[test]
fn a_link_to_a_policy_is_a_policy() {
    let place = Place::new();
    place.write("real/p.toml", "extends = './base.toml'").write("real/base.toml", "");
    symlink("real/p.toml", place.path().join("link.toml")).unwrap();
    // What it extends is looked for beside the link, as what it names in `read` is.
    let ended = place.check("link.toml");
    let expected = "link.toml:1:11: extends: `./base.toml`: failed to read: No such file or directory (os error 2)";
    assert_eq!(ended.problems(), [expected]);
    place.write("base.toml", "");
    assert_eq!(place.check("link.toml").good(), "link.toml: ok\n");
}

#[test]
fn text_that_is_not_utf8_is_told_with_its_place() {
    let place = Place::new();
    let ended = place.write("p.toml", b"# fine\ndescription = 'caf\xe9'\n").check("p.toml");
    insta::assert_snapshot!(ended.stderr, @r"
    error: p.toml:2:19: the byte 0xe9 is not UTF-8
      |
    2 | description = 'caf
      |                   ^
    ");
    ended.problems();
    let ended = place.write("b.toml", "extends = './p.toml'").check("b.toml");
    assert_eq!(ended.problems(), ["b.toml:1:11: extends: `./p.toml`: the byte 0xe9 is not UTF-8"]);
    assert_eq!(
        place.write("bom.toml", "\u{feff}description = 'x'").check("bom.toml").good(),
        "bom.toml: ok\n"
    );
}

#[test]
fn arguments_that_are_not_utf8_are_paths_or_told() {
    let place = Place::new();
    let name = OsStr::from_bytes(b"caf\xe9.toml");
    fs::write(place.path().join(name), "").unwrap();
    assert_eq!(place.check(name).good(), "caf\\xe9.toml: ok\n");
    let missing = OsStr::from_bytes(b"th\xe9.toml");
    assert_eq!(
        place.check(missing).problems(),
        ["th\\xe9.toml: failed to read: No such file or directory (os error 2)"]
    );
    let word = OsStr::from_bytes(b"caf\xe9");
    let hint = "`stockade policy list` shows them; a path has a `/` or ends in `.toml`";
    assert_eq!(
        place.check(word).problems(),
        [format!("policy: `caf\\xe9` is not a shipped policy ({hint})")]
    );

    let explain = |flag: &str, value: &[u8]| {
        let value = OsStr::from_bytes(value);
        place.stockade([
            OsStr::new("policy"),
            OsStr::new("explain"),
            OsStr::new("worker"),
            OsStr::new(flag),
            value,
        ])
    };
    let ended = explain("--memory", b"5\xffMiB");
    assert_eq!(ended.problems(), ["command line: --memory: `5\\xffMiB` is not UTF-8"]);
    let ended = explain("--env", b"A=\xff");
    assert_eq!(ended.problems(), ["command line: --env: `A=\\xff` is not UTF-8"]);
    let ended = explain("--env", b"\xff=A");
    assert_eq!(ended.problems(), ["command line: --env: `\\xff=A` is not UTF-8"]);
    let ended = explain("--read", b"/srv/\xff");
    assert!(ended.good().contains("/srv/\\xff"), "{ended:?}");
    // What isn't a value of ours, the parser of the command line refuses.
    let ended = explain("--stage", b"\xff");
    assert_eq!(ended.code, Some(125), "{ended:?}");
    assert!(ended.stderr.starts_with("error: "), "{ended:?}");
}

#[test]
fn policies_that_extend_each_other_are_told_with_the_circle() {
    let place = Place::new();
    place.write("a.toml", "extends = './b.toml'").write("b.toml", "extends = 'sub/c.toml'");
    place.write("sub/c.toml", "extends = '../a.toml'");
    assert_eq!(
        place.check("a.toml").problems(),
        [
            "sub/c.toml:1:11: extends: the policies extend each other: a.toml -> b.toml -> sub/c.toml -> a.toml"
        ]
    );
    place.write("self.toml", "extends = 'self.toml'");
    assert_eq!(
        place.check("self.toml").problems(),
        ["self.toml:1:11: extends: the policies extend each other: self.toml -> self.toml"]
    );
}

#[test]
fn a_long_chain_of_policies_is_refused() {
    let place = Place::new();
    for number in 0..20 {
        place.write(&format!("{number}.toml"), format!("extends = './{}.toml'", number + 1));
    }
    place.write("20.toml", "");
    assert_eq!(place.check("10.toml").good(), "10.toml: ok\n");
    assert_eq!(
        place.check("0.toml").problems(),
        ["15.toml:1:11: extends: more than 16 policies extend one another"]
    );
}

#[test]
fn problems_of_an_extended_policy_are_told_in_its_file() {
    let place = Place::new();
    place.write("a.toml", "extends = './sub/b.toml'\n[limits]\npids = 0");
    place.write("sub/b.toml", "[limits]\nmemory = 1");
    assert_eq!(
        place.check("a.toml").problems(),
        [
            "a.toml:3:8: limits.pids: `0` is not a whole number from 1 to 4194304",
            "sub/b.toml:2:10: limits.memory: `1` is not a size (write `512MiB`)",
        ]
    );
}

#[test]
fn a_policy_can_not_be_a_word_that_is_no_policy() {
    let place = Place::new();
    let hint = "`stockade policy list` shows them; a path has a `/` or ends in `.toml`";
    for (word, message) in [
        ("wroker", "`wroker` is not a shipped policy (did you mean `worker`?)".into()),
        ("xyzzy", format!("`xyzzy` is not a shipped policy ({hint})")),
        ("", format!("`` is not a shipped policy ({hint})")),
    ] {
        assert_eq!(place.check(word).problems(), [format!("policy: {message}")]);
        let problem = only_problem(&format!("extends = '{word}'"));
        assert_eq!(problem, format!("p.toml:1:11: extends: {message}"));
    }
    let problem = only_problem("extends = \"a\\u0000.toml\"");
    assert_eq!(
        problem,
        "p.toml:1:11: extends: `a\\u{0}.toml` has a NUL character, which no path can have"
    );
    let ended = place.stockade(["policy", "show", "./worker.toml"]);
    let expected = format!("policy: `./worker.toml` is not a shipped policy ({hint})");
    assert_eq!(ended.problems(), [expected]);
    let ended = place.check(nowhere());
    let expected = "/nonexistent/p.toml: failed to read: No such file or directory (os error 2)";
    assert_eq!(ended.problems(), [expected]);
}
