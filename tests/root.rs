//! A directory of the host as the root, copies on write, and what is kept of them, from outside: a small system made by each
//! test, hostile ones, and the host's files before and after.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Outcome, Scene, Started, is_root, lacks, skip};

/// Programs of the small system.
const PROGRAMS: [&str; 11] =
    ["bash", "cat", "chmod", "dd", "ls", "mkdir", "mv", "rm", "rmdir", "stat", "touch"];

/// A scene with a small system in `image`, and `outside` beside it, where nothing must ever arrive.
struct Image(Scene);

impl Image {
    fn new() -> Self {
        let scene = Scene::new();
        for name in ["image", "outside"] {
            scene.directory(name);
        }
        for name in ["bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
            scene.directory(&format!("image/{name}"));
        }
        scene.file("image/etc/motd", "welcome\n");
        scene.file("outside/secret", "sesame\n");
        let image = Self(scene);
        for program in PROGRAMS {
            image.add(program);
        }
        image
    }

    /// Copies a program of the host's with the libraries that it is linked to.
    fn add(&self, program: &str) {
        let paths = ["/usr/bin", "/bin"].map(|directory| Path::new(directory).join(program));
        let path = paths.iter().find(|path| path.exists()).unwrap();
        self.copy(path, &Path::new("bin").join(program));
        let linked = Command::new("ldd").arg(path).output().unwrap();
        for word in String::from_utf8(linked.stdout).unwrap().split_whitespace() {
            if word.starts_with('/') {
                self.copy(Path::new(word), Path::new(word.trim_start_matches('/')));
            }
        }
    }

    fn copy(&self, from: &Path, to: &Path) {
        let to = self.0.path().join("image").join(to);
        if !to.exists() {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, &to).unwrap();
        }
    }

    /// Runs a line of bash in it.
    fn bash(&self, flags: &[&str], line: &str) -> Outcome {
        self.0.bash(&[&["--root", "image"], flags].concat(), line)
    }

    /// What of the host is there, with contents.
    fn host(&self) -> BTreeMap<PathBuf, String> {
        ["image", "outside"].iter().flat_map(|name| contents(&self.0.path().join(name))).collect()
    }

    /// Replaces a directory of the image by a link.
    fn link(&self, name: &str, to: &str) {
        let place = self.0.path().join("image").join(name);
        fs::rename(&place, self.0.path().join("image").join(format!("{name}.before"))).unwrap();
        symlink(to, place).unwrap();
    }
}

/// Every file below a directory: its kind, permissions, owner, and content.
fn contents(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![top.to_owned()];
    while let Some(path) = todo.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let content = if stat.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            String::new()
        } else if stat.is_symlink() {
            format!("{:?}", fs::read_link(&path).unwrap())
        } else if stat.is_file() && stat.len() < 4096 {
            String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
        } else {
            stat.len().to_string()
        };
        all.insert(path, format!("{:o} {} {content}", stat.mode(), stat.uid()));
    }
    all
}

/// What `stockade diff` lists.
fn diff(scene: &Scene, word: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_stockade"))
        .args(["diff", word])
        .current_dir(scene.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Ends the test where nothing can be copied on write.
macro_rules! needs_overlay {
    () => {
        if let Some(why) = lacks("filesystem.overlay") {
            skip!("overlay: {why}");
        }
    };
}

#[test]
fn a_directory_is_the_root_and_nothing_of_the_host_is_left() {
    let image = Image::new();
    let before = image.host();
    let outside = image.0.at("outside/secret");
    let line = format!(
        "cat /etc/motd; ls /usr/bin/env {outside} /home 2>/dev/null; test / -ef /..; echo $?; \
         touch /etc/new /etc/motd 2>/dev/null; echo $?; echo gone > /dev/null; echo kept > /tmp/x; cat /tmp/x"
    );
    let run = image.bash(&[], &line);
    assert_eq!(run.text(), "welcome\n0\n1\nkept\n", "{}", run.told());
    // The whole table of mounts leads nowhere else, and nothing can be written but what is in memory.
    let run = image.bash(&[], "while read -r line; do echo \"$line\"; done < /proc/self/mountinfo");
    let root = run.text().lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
    assert!(root.split(' ').nth(5).unwrap().starts_with("ro,nosuid,nodev"), "{root}");
    let view = run.reported("/enforcement/filesystem.view/how").as_str().unwrap();
    assert!(view.contains("image` as the root"), "{view}");
    assert_eq!(image.host(), before);
    // Without it the same line finds the host's.
    let host = image.0.bash(&[], "cat /etc/motd 2>/dev/null; ls /usr/bin/env");
    assert_eq!(host.text(), "/usr/bin/env\n", "{}", host.told());
}

#[test]
fn host_paths_are_shown_in_it_only_when_named_beside_it() {
    let image = Image::new();
    image.0.directory("data");
    image.0.file("data/x", "shown\n");
    let line = format!("cat {}; ls -d /usr/share 2>/dev/null; echo done", image.0.at("data/x"));
    let run = image.bash(&["--read", "data"], &line);
    assert_eq!(run.text(), "shown\ndone\n", "{}", run.told());
    let run = image.bash(&[], &format!("cat {} 2>/dev/null; echo done", image.0.at("data/x")));
    assert_eq!(run.text(), "done\n", "{}", run.told());
}

#[test]
fn a_policy_that_was_learned_in_a_root_names_it_and_is_enough() {
    let image = Image::new();
    let (scene, outside) = (&image.0, image.0.at("outside"));
    let program = ["bash", "-c", &format!("cat /etc/motd; echo > {outside}/made")];
    let mut learn = Command::new(env!("CARGO_BIN_EXE_stockade"));
    learn
        .args(["policy", "learn", "-o", "job.toml", "--root", "image", "--write", "outside", "--"]);
    let learned = learn.args(program).current_dir(scene.path()).output().unwrap();
    assert!(learned.status.success(), "{}", String::from_utf8_lossy(&learned.stderr));
    fs::remove_file(scene.at("outside/made")).unwrap();
    let policy = fs::read_to_string(scene.at("job.toml")).unwrap();
    assert!(policy.contains(&format!("root = \"{}\"", scene.at("image"))), "{policy}");
    let accepted = ["limits.memory", "limits.swap", "limits.pids"];
    let accepted = accepted.iter().flat_map(|limit| ["--degrade", limit]);
    let flags: Vec<&str> = ["--policy", "job.toml"].into_iter().chain(accepted).collect();
    scene.run(&flags, &program).expect_text("welcome\n");
    assert!(fs::exists(scene.at("outside/made")).unwrap());
}

#[test]
fn parts_of_the_root_can_be_denied_and_hidden() {
    let image = Image::new();
    let line = "cat /etc/motd; ls -A /run; echo done";
    fs::write(image.0.at("image/run/x"), "").unwrap();
    image.bash(&[], line).expect_text("welcome\nx\ndone\n");
    let run = image.bash(&["--deny", "/etc/motd", "--hide", "/run"], line);
    assert_eq!(run.text(), "done\n", "{}", run.told());
    assert!(run.stderr.contains("Permission denied"), "{}", run.told());
}

#[test]
fn what_the_root_lacks_is_named_and_never_made() {
    let image = Image::new();
    fs::remove_dir(image.0.at("image/tmp")).unwrap();
    let before = image.host();
    image.bash(&[], "exit 0").expect_refusal(&[
        "image` has no `/tmp`, and a directory is needed there to mount on",
        "hint: make it there, or set `filesystem.overlay`",
    ]);
    image
        .bash(&["--file", "/etc/new=x", "--tmp", "none"], "exit 0")
        .expect_refusal(&["has no `/etc/new`, and a file is needed there"]);
    assert_eq!(image.host(), before);
    image.bash(&["--tmp", "none"], "cat /etc/motd").expect_text("welcome\n");
    needs_overlay!();
    let flags =
        ["--overlay", "discard", "--file", "/etc/new=new\n", "--secret", "key=outside/secret"];
    let run =
        image.bash(&flags, "cat /etc/motd /etc/new /run/secrets/key; echo x > /tmp/x; cat /tmp/x");
    assert_eq!(run.text(), "welcome\nnew\nsesame\nx\n", "{}", run.told());
    assert_eq!(image.host(), before);
}

#[test]
fn a_link_in_the_root_moves_no_mount() {
    for name in ["dev", "proc", "tmp"] {
        for absolute in [true, false] {
            let image = Image::new();
            let outside = image.0.at("outside");
            image.link(name, if absolute { &outside } else { "../outside" });
            // The trap is real: on the host that path leads outside.
            assert!(fs::exists(image.0.at(&format!("image/{name}/secret"))).unwrap());
            let before = image.host();
            for flags in [&[][..], &["--overlay", "discard"]] {
                let run = image.bash(flags, "echo x > /tmp/x; echo x > /dev/shm/x; exit 0");
                run.expect_refusal(&[&format!("`/{name}` in"), "a symbolic link"]);
            }
            assert_eq!(image.host(), before, "{name}");
        }
    }
}

#[test]
fn a_link_on_the_way_to_a_file_or_a_host_path_moves_neither() {
    let image = Image::new();
    let outside = image.0.at("outside");
    image.link("etc", &outside);
    let before = image.host();
    image
        .bash(&["--file", "/etc/secret=mine"], "exit 0")
        .expect_refusal(&["`/etc/secret` in", "a symbolic link"]);
    image.bash(&["--deny", "/etc/secret"], "exit 0").expect_refusal(&["/etc/secret"]);
    // A link to where nothing is inside leads nowhere.
    image.bash(&[], "cat /etc/secret 2>/dev/null; echo $?").expect_text("1\n");
    // Where the target of a bind is a link.
    let data = image.0.directory("data");
    image.0.file("data/x", "shown\n");
    let place = image.0.path().join("image").join(data.trim_start_matches('/'));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    symlink(&outside, &place).unwrap();
    let flags = ["--tmp", "none", "--read", "data"];
    image.bash(&flags, "exit 0").expect_refusal(&["a symbolic link"]);
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    image.bash(&flags, &format!("cat {data}/x")).expect_text("shown\n");
    fs::remove_dir_all(image.0.at("image/tmp")).unwrap();
    fs::create_dir(image.0.at("image/tmp")).unwrap();
    fs::set_permissions(image.0.at("image/tmp"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(image.host(), before);
}

#[test]
fn devices_of_the_root_are_never_used() {
    let image = Image::new();
    let outside = image.0.at("outside/secret");
    // What a program writes away would arrive outside.
    symlink(&outside, image.0.at("image/dev/null")).unwrap();
    symlink(&outside, image.0.at("image/dev/tty")).unwrap();
    fs::create_dir(image.0.at("image/dev/pts")).unwrap();
    symlink(&outside, image.0.at("image/dev/pts/ptmx")).unwrap();
    let before = image.host();
    let line = "echo lost > /dev/null; cat /dev/null; stat -c %t:%T /dev/null; ls /dev/pts";
    image.bash(&[], line).expect_text("1:3\nptmx\n");
    assert_eq!(image.host(), before);
}

#[test]
fn a_hostile_image_gives_neither_devices_nor_rights() {
    if !is_root() {
        skip!("root: only root may make device nodes");
    }
    let image = Image::new();
    // Where temporary files are, the host itself may allow neither.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let line = "mount --make-rprivate / && mount --bind image image && mount -o remount,bind,dev,suid image";
    let allowed =
        Command::new("sh").args(["-c", line]).current_dir(image.0.path()).status().unwrap();
    assert!(allowed.success());
    let node = CString::new(image.0.at("image/etc/zero")).unwrap();
    let device = nix::sys::stat::makedev(1, 5);
    let kind = nix::sys::stat::SFlag::S_IFCHR;
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    nix::sys::stat::mknod(node.as_c_str(), kind, mode, device).unwrap();
    fs::set_permissions(image.0.at("image/etc/zero"), fs::Permissions::from_mode(0o666)).unwrap();
    image.copy(Path::new("/bin/bash"), Path::new("bin/rooted"));
    fs::set_permissions(image.0.at("image/bin/rooted"), fs::Permissions::from_mode(0o4755))
        .unwrap();
    // On the host the device can be read.
    assert!(
        Command::new("dd")
            .args(["count=1", "status=none", "of=/dev/null"])
            .arg(format!("if={}", image.0.at("image/etc/zero")))
            .status()
            .unwrap()
            .success()
    );
    for flags in [&[][..], &["--overlay", "discard"]] {
        let line =
            "dd if=/etc/zero count=1 status=none 2>&1 | cat; /bin/rooted -p -c 'echo $UID $EUID'";
        let run = image.bash(flags, line);
        assert!(run.text().contains("Permission denied"), "{}", run.told());
        assert!(run.text().ends_with("\n1000 1000\n"), "{}", run.told());
    }
}

#[test]
fn names_that_are_swapped_while_launches_run_lead_nowhere() {
    let image = Image::new();
    let outside = image.0.at("outside");
    let before = contents(Path::new(&outside));
    let names = ["dev", "proc", "tmp"];
    for name in names {
        symlink(&outside, image.0.at(&format!("image/{name}.link"))).unwrap();
    }
    let done = AtomicBool::new(false);
    let (mut ran, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let path = |name: &str| CString::new(image.0.at(&format!("image/{name}"))).unwrap();
            let pairs = names.map(|name| (path(name), path(&format!("{name}.link"))));
            while !done.load(Ordering::Relaxed) {
                for (one, other) in &pairs {
                    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
                    let flags = RenameFlags::RENAME_EXCHANGE;
                    renameat2(AT_FDCWD, one.as_c_str(), AT_FDCWD, other.as_c_str(), flags).unwrap();
                }
            }
        });
        for _ in 0..200 {
            let run = image.bash(
                &[],
                "echo x > /tmp/probe; echo x > /dev/shm/probe; echo x > /dev/null; exit 0",
            );
            match run.status.code() {
                Some(0) => ran += 1,
                Some(125) => refused += 1,
                _ => panic!("{}", run.told()),
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    println!("{ran} ran, {refused} were refused");
    assert_eq!(contents(Path::new(&outside)), before);
    for name in ["probe", "null", "shm", "pts", "fd"] {
        for top in names {
            let stray = |end: &str| {
                fs::symlink_metadata(image.0.at(&format!("image/{top}{end}/{name}"))).is_ok()
            };
            assert!(!stray("") && !stray(".link"), "{top}/{name} was made on the host");
        }
    }
}

#[test]
fn changes_to_a_copy_are_seen_inside_and_thrown_away() {
    needs_overlay!();
    let image = Image::new();
    let before = image.host();
    let line = "test / -ef /.. || echo out; echo more >> /etc/motd; rm /bin/dd; mkdir /srv; echo x > /srv/x; \
                cat /etc/motd /srv/x; ls /bin/dd 2>/dev/null; \
                mv /etc/motd /etc/other && cat /etc/other";
    let run = image.bash(&["--overlay", "discard"], line);
    assert_eq!(run.text(), "welcome\nmore\nx\nwelcome\nmore\n", "{}", run.told());
    let how = run.reported("/enforcement/filesystem.overlay/how").as_str().unwrap();
    assert!(how.contains("discarded"), "{how}");
    image
        .bash(&["--overlay", "discard"], "cat /etc/motd; ls /")
        .expect_text("welcome\nbin\ndev\netc\nlib\nlib64\nproc\nrun\nsys\ntmp\n");
    assert_eq!(image.host(), before);
}

#[test]
fn changes_are_kept_listed_and_gone_on_with() {
    needs_overlay!();
    let image = Image::new();
    let scene = &image.0;
    fs::create_dir(scene.at("image/etc/old")).unwrap();
    fs::create_dir(scene.at("image/etc/whole")).unwrap();
    for name in ["old/a", "old/b", "whole/a"] {
        scene.file(&format!("image/etc/{name}"), "before");
    }
    let before = image.host();
    let flags = ["--overlay", "kept"];
    let line = "echo more >> /etc/motd; rm /bin/dd; mkdir -p /srv/deep; echo x > /srv/deep/x; \
                rm -r /etc/old /etc/whole; mkdir /etc/old; echo new > /etc/old/b; chmod 700 /run; \
                mkdir /run/gone; rmdir /run/gone";
    let run = image.bash(&flags, line).expect_code(0);
    let all = diff(scene, "./kept");
    insta::assert_snapshot!(all.trim_end(), @r"
    deleted  /bin/dd
    changed  /etc/motd
    deleted  /etc/old/a
    changed  /etc/old/b
    deleted  /etc/whole/
    changed  /run/
    added    /srv/
    added    /srv/deep/
    added    /srv/deep/x
    ");
    // By the id that the report tells, which names the directory too.
    assert_eq!(run.reported("/changes").as_str(), Some(&*scene.at("kept")));
    assert_eq!(diff(scene, run.reported("/id").as_str().unwrap()), all);
    // The next run goes on with them.
    let run = image.bash(
        &flags,
        "cat /etc/motd /srv/deep/x /etc/old/*; ls /etc; ls /bin/dd 2>/dev/null; rm -r /srv",
    );
    assert_eq!(run.text(), "welcome\nmore\nx\nnew\nmotd\nold\n", "{}", run.told());
    assert!(!diff(scene, "kept").contains("/srv"));
    assert_eq!(image.host(), before);
    // As JSON, and of what is none.
    let told = Command::new(env!("CARGO_BIN_EXE_stockade"))
        .args(["diff", "--json", "./kept"])
        .current_dir(scene.path())
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(
        (&json["version"], json["directory"].as_str()),
        (&1.into(), Some(&*scene.at("kept")))
    );
    assert_eq!(
        json["changes"][0],
        serde_json::json!({ "kind": "deleted", "type": "file", "path": "/bin/dd" })
    );
    for (word, said) in [("./outside", "keeps no changes"), ("nobody-0", "no changes are kept of")]
    {
        let told = Command::new(env!("CARGO_BIN_EXE_stockade"))
            .args(["diff", word])
            .current_dir(scene.path())
            .output()
            .unwrap();
        assert_eq!(told.status.code(), Some(125));
        assert!(String::from_utf8(told.stderr).unwrap().contains(said), "{word}");
    }
}

#[test]
fn discarded_changes_have_a_size() {
    needs_overlay!();
    let image = Image::new();
    let line = "dd if=/dev/zero of=/big bs=64k count=64 status=none 2>&1; stat -c %s /big";
    let flags = ["--overlay", "discard", "--overlay-size", "1MiB"];
    let run = image.bash(&flags, line);
    assert!(run.text().contains("No space left on device"), "{}", run.told());
    let size: u64 = run.text().lines().last().unwrap().parse().unwrap();
    assert!(size <= 1 << 20, "{size}");
    image.bash(&["--overlay", "discard"], line).expect_text("4194304\n");
}

#[test]
fn a_directory_of_changes_is_one_sandboxs_and_holds_nothing_else() {
    needs_overlay!();
    let image = Image::new();
    let flags = ["--root", "image", "--overlay", "kept"];
    let mut command = image.0.command(&flags, &["bash", "-c", "echo up; read line || true"]);
    command.current_dir(image.0.path());
    let first = Started::new(command);
    let second = Scene::new();
    let kept = image.0.at("kept");
    let other = ["--root", &image.0.at("image"), "--overlay", &kept];
    second
        .bash(&other, "exit 0")
        .expect_refusal(&["is used by another sandbox, which runs", "hint: wait for its end"]);
    first.finish(&image.0).expect_code(0);
    second.bash(&other, "exit 0").expect_code(0);
    // Of another root, the changes would mean something else.
    image.0.directory("other");
    fs::create_dir(image.0.at("other/tmp")).unwrap();
    image
        .0
        .bash(&["--root", "other", "--overlay", "kept"], "exit 0")
        .expect_refusal(&["keeps the changes of `/` as a copy of"]);
    // What holds other things isn't taken, and what can be seen inside isn't either.
    image
        .bash(&["--overlay", "outside"], "exit 0")
        .expect_refusal(&["outside`: it holds something else"]);
    image
        .bash(&["--overlay", "image/kept"], "exit 0")
        .expect_refusal(&["which is shown inside, overlaps it"]);
    assert!(!fs::exists(image.0.at("image/kept")).unwrap(), "nothing is left of a refused launch");
    let failed = image.0.run(&["--root", "image", "--overlay", "unused"], &["/bin/nothing"]);
    assert_eq!(failed.status.code(), Some(127), "{}", failed.told());
    assert!(!fs::exists(image.0.at("unused")).unwrap(), "nothing is left of a failed launch");
}

#[test]
fn a_copied_directory_can_be_changed_and_stays_as_it_is() {
    needs_overlay!();
    let scene = Scene::new();
    scene.directory("work");
    scene.file("work/a", "before\n");
    let before = contents(&scene.path().join("work"));
    let line = "cd work; echo after > a; echo b > b; cat a b; rm a; ls";
    let run = scene.bash(&["--copy", "work"], line);
    assert_eq!(run.text(), "after\nb\nb\n", "{}", run.told());
    assert_eq!(contents(&scene.path().join("work")), before);
    // Kept, and several of them at once.
    scene.directory("second");
    let beside = Scene::new();
    let kept = beside.at("kept");
    let flags = ["--copy", "work", "--copy", "second", "--overlay", &kept];
    scene.bash(&flags, &format!("{line}; echo c > ../second/c")).expect_text("after\nb\nb\n");
    let (work, second) = (scene.at("work"), scene.at("second"));
    assert_eq!(
        diff(&scene, &kept),
        format!("added    {second}/c\ndeleted  {work}/a\nadded    {work}/b\n")
    );
    assert_eq!(contents(&scene.path().join("work")), before);
    // Without the copy the same line changes the host.
    scene.bash(&["--write", "work"], line).expect_text("after\nb\nb\n");
    assert_ne!(contents(&scene.path().join("work")), before);
}

#[test]
fn what_is_not_there_yet_can_be_denied_in_a_copy() {
    needs_overlay!();
    let scene = Scene::new();
    scene.directory("work");
    scene.directory("work/hooks");
    symlink("hooks/later", scene.at("work/link")).unwrap();
    let before = contents(&scene.path().join("work"));
    let attempts = "cd work; for name in hooks/run new/deep/file; do \
                    { echo x > $name; rm -f $name; mv $name other; mkdir -p $name; cat $name; } 2>/dev/null; \
                    cat $name other 2>/dev/null; done; { echo x > link; cat link; } 2>/dev/null; echo done";
    let beside = Scene::new();
    let kept = beside.at("kept");
    let flags = ["--copy", "work", "--overlay", &kept];
    let denied = ["work/hooks/run", "work/new/deep/file", "work/link"];
    let denied: Vec<&str> = denied.iter().flat_map(|path| ["--deny", path]).collect();
    let run = scene.bash(&[&flags[..], &denied].concat(), attempts);
    assert_eq!(run.text(), "done\n", "{}", run.told());
    assert_eq!(diff(&scene, &kept), "", "no placeholder is among the changes");
    assert_eq!(contents(&scene.path().join("work")), before);
    let run =
        scene.bash(&flags, "cd work; echo x > hooks/run; echo y > link; cat hooks/run hooks/later");
    assert_eq!(run.text(), "x\ny\n", "{}", run.told());
    // What may be written in its place is refused, as before.
    scene
        .bash(&["--write", "work", "--deny", "work/hooks/run"], "exit 0")
        .expect_refusal(&["doesn't exist", "`filesystem.copy`"]);
    assert_eq!(contents(&scene.path().join("work")), before);
}

#[test]
fn what_is_mounted_in_a_directory_keeps_it_from_being_copied() {
    needs_overlay!();
    if !is_root() {
        skip!("root: only root may mount");
    }
    let scene = Scene::new();
    scene.directory("work");
    scene.directory("work/below");
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let line = "mount --make-rprivate / && mount -t tmpfs none work/below";
    assert!(
        Command::new("sh").args(["-c", line]).current_dir(scene.path()).status().unwrap().success()
    );
    scene.bash(&["--copy", "work"], "exit 0").expect_refusal(&[
        "can't be copied on write: something else is mounted in it",
        "work/below`",
    ]);
}

#[test]
fn sys_is_shown_only_when_asked_for_and_only_to_be_read() {
    let scene = Scene::new();
    scene.bash(&[], "ls -d /sys 2>/dev/null; echo done").expect_text("done\n");
    let run = scene.bash(
        &["--sys", "read"],
        "ls /sys/class/net; ls -A /sys/firmware 2>/dev/null; echo x > /sys/kernel/profiling",
    );
    if run.stderr.contains("/sys (sysfs)") {
        skip!("sysfs: the kernel shows none here: {}", run.stderr.trim());
    }
    assert_eq!(str::from_utf8(&run.stdout).unwrap(), "lo\n", "{}", run.told());
    assert_eq!(run.status.code(), Some(1), "{}", run.told());
    let image = Image::new();
    image.bash(&["--sys", "read"], "ls /sys/class/net").expect_text("lo\n");
}

#[test]
fn keys_are_hidden_and_settings_of_namespaces_can_not_be_changed() {
    let scene = Scene::new();
    if fs::exists("/proc/keys").unwrap() {
        scene.bash(&[], "cat /proc/keys; echo done").expect_text("done\n");
    }
    let line = "echo 1 > /proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward";
    let run = scene.bash(&["--user", "0"], line);
    assert_eq!(run.text(), "0\n", "{}", run.told());
    assert!(run.stderr.contains("Read-only file system"), "{}", run.told());
}
