//! Limits on disks, from outside: how fast a file grows, and what a path is resolved to.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Outcome, Scene, lacks, skip};

const MEBIBYTE: f64 = (1 << 20) as f64;

/// Whether a scene is on a disk; `None` when it is.
fn no_disk(scene: &Scene) -> Option<String> {
    let device = fs::metadata(scene.path()).unwrap().dev();
    (nix::sys::stat::major(device) == 0).then(|| "the scratch directory is on none".to_owned())
}

/// The flags of a sandbox that may write here, with limits on this disk.
fn limited(limit: &str) -> Vec<&str> {
    let mut flags = vec!["--write", "."];
    if !limit.is_empty() {
        flags.extend(["--io", limit]);
    }
    flags
}

/// Bytes a second by which `file` grows while a line of bash runs, seen from outside.
fn growth(scene: &Scene, limit: &str, line: &str) -> f64 {
    let path = scene.path().join("file");
    let mut command = scene.command(&limited(limit), &["bash", "-c", line]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let size = || fs::metadata(&path).map_or(0, |file| file.len());
    let mut first = None;
    let mut last = (Instant::now(), 0);
    // The first tenth of a second may use up what a slice of the limit allows at once.
    while child.try_wait().unwrap().is_none() {
        let now = (Instant::now(), size());
        if now.1 > last.1 {
            last = now;
        }
        if first.is_none() && now.1 > 3 << 20 {
            first = Some(now);
        }
        pause();
    }
    let run = scene.outcome(format!("{command:?}"), child).expect_code(0);
    let (start, begin) = first.unwrap_or_else(|| panic!("it never grew{}", run.told()));
    fs::remove_file(&path).unwrap();
    (last.1 - begin) as f64 / (last.0 - start).as_secs_f64()
}

#[expect(clippy::disallowed_methods, reason = "a file that grows sends no event")]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

#[test]
fn direct_writes_below_a_path_are_held_to_ten_mebibytes_a_second() {
    let scene = Scene::new();
    if let Some(why) = lacks("limits.io") {
        skip!("io: {why}");
    }
    if let Some(why) = no_disk(&scene) {
        skip!("disk: {why}");
    }
    let line = "dd if=/dev/zero of=file bs=64k count=800 oflag=direct";
    let held = growth(&scene, "path=.,write=10MiB/s", line) / MEBIBYTE;
    assert!((9.0..=11.0).contains(&held), "{held} MiB/s with the limit");

    let free = growth(&scene, "", line) / MEBIBYTE;
    assert!(free > 15.0, "{free} MiB/s without a limit");
}

/// Seconds that a line of bash takes inside.
fn seconds(scene: &Scene, limit: &str, line: &str) -> f64 {
    let run = scene.bash(&limited(limit), line).expect_code(0);
    run.reported("/wall_time_s").as_f64().unwrap()
}

#[test]
fn what_is_written_back_later_is_held_too() {
    let scene = Scene::new();
    if let Some(why) = lacks("limits.io") {
        skip!("io: {why}");
    }
    if let Some(why) = no_disk(&scene) {
        skip!("disk: {why}");
    }
    let line = "dd if=/dev/zero of=file bs=1M count=20 conv=fsync 2> /dev/null; rm file";
    let held = seconds(&scene, "path=.,write=5MiB/s", line);
    let free = seconds(&scene, "", line);
    assert!(held > 3.4, "20 MiB at 5 MiB/s in {held} s");
    assert!(free < held / 1.5, "{free} s without a limit, {held} s with it");
}

#[test]
fn reads_and_operations_are_held_by_number() {
    let scene = Scene::new();
    if let Some(why) = lacks("limits.io") {
        skip!("io: {why}");
    }
    if let Some(why) = no_disk(&scene) {
        skip!("disk: {why}");
    }
    scene.bash(&limited(""), "dd if=/dev/zero of=file bs=1M count=20 conv=fsync").expect_code(0);
    let read = "dd if=file of=/dev/null bs=64k iflag=direct";
    let held = seconds(&scene, "path=.,read=5MiB/s", read);
    let free = seconds(&scene, "", read);
    assert!((3.4..8.0).contains(&held), "20 MiB at 5 MiB/s in {held} s");
    assert!(free < held / 1.5, "{free} s without a limit, {held} s with it");

    let write = "dd if=/dev/zero of=file bs=4k count=300 conv=notrunc oflag=direct";
    let held = seconds(&scene, "path=.,write_iops=100", write);
    let free = seconds(&scene, "", write);
    assert!((2.4..6.0).contains(&held), "300 writes at 100 a second in {held} s");
    assert!(free < held / 1.5, "{free} s without a limit, {held} s with it");
}

#[test]
fn two_paths_on_one_disk_have_the_stricter_of_each_rate() {
    let scene = Scene::new();
    if let Some(why) = lacks("limits.io") {
        skip!("io: {why}");
    }
    if let Some(why) = no_disk(&scene) {
        skip!("disk: {why}");
    }
    scene.directory("below");
    let flags = ["--io", "path=.,write=8MiB/s,read_iops=70", "--io", "path=below,write=2MiB/s"];
    let run = scene.run(&flags, &["true"]).expect_code(0);
    let how = run.reported("/enforcement/limits.io/how").as_str().unwrap();
    assert!(how.ends_with(" rbps=max wbps=2097152 riops=70 wiops=max"), "{how}");
    assert_eq!(run.reported("/enforcement/limits.io/state"), "enforced");
}

#[test]
fn what_is_on_no_disk_is_refused_with_the_reason() {
    if let Some(why) = lacks("limits.io") {
        skip!("io: {why}");
    }
    let scene = Scene::new();
    for (path, said) in [
        ("/dev/shm", "`/dev/shm` is in memory, on no disk"),
        ("/proc", "`/proc` is a `proc`, on no disk of this host"),
        ("/nowhere", "`/nowhere` can't be looked at: No such file or directory"),
    ] {
        let limit = format!("path={path},read=1MiB/s");
        let flags = ["--io", &limit];
        let whole = format!("limits.io can't be enforced here: {said}");
        scene.run(&flags, &["true"]).expect_refusal(&[&whole]);
        // Accepted by name it runs, and the report says why that limit isn't there.
        let accepted = [&flags[..], &["--degrade", "limits.io"]].concat();
        let run = scene.run(&accepted, &["true"]).expect_code(0);
        assert_eq!(run.reported("/enforcement/limits.io/state"), "unavailable", "{}", run.told());
        let how = run.reported("/enforcement/limits.io/how").as_str().unwrap();
        assert!(how.starts_with(said), "{}", run.told());
    }
}

/// Runs a line of a root's shell in mounts of its own.
fn with_mounts(scene: &Scene, line: &str) -> Outcome {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "bash", "-e", "-c", line]).current_dir(scene.path());
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    command.env("STOCKADE", env!("CARGO_BIN_EXE_stockade"));
    scene.finish(command)
}

/// The name of the disk that a run's report says was limited.
fn disk(run: &Outcome) -> String {
    let how = run.reported("/enforcement/limits.io/how").as_str().unwrap();
    how.trim_start_matches("io.max: ").split(' ').next().unwrap().to_owned()
}

const RUN: &str = "$STOCKADE run --report report.json --io path=PATH,write=1MiB/s -- true";

#[test]
fn an_overlay_is_limited_on_the_disk_of_its_layers() {
    let scene = Scene::new();
    if !support::is_root() {
        skip!("root: only root may mount");
    }
    if let Some(why) = lacks("limits.io") {
        skip!("io: {why}");
    }
    if let Some(why) = no_disk(&scene) {
        skip!("disk: {why}");
    }
    let options = "lowerdir=lower,upperdir=upper,workdir=work";
    let line = format!(
        "mkdir lower upper work merged; mount -t overlay -o {options} overlay merged; {}",
        RUN.replace("PATH", "merged")
    );
    let unknown = "`lower` is a layer of an overlay, and it isn't known where";
    with_mounts(&scene, &line).expect_refusal(&[unknown, "name a path on the disk itself"]);
    let line = line.replace("mkdir", "mkdir -p").replace("dir=", "dir=$PWD/");
    let merged = disk(&with_mounts(&scene, &line).expect_code(0));
    let plain = disk(&with_mounts(&scene, &RUN.replace("PATH", ".")).expect_code(0));
    assert_eq!(merged, plain);
}

#[test]
fn a_partition_is_limited_as_its_whole_disk() {
    let scene = Scene::new();
    if !support::is_root() {
        skip!("root: only root may mount");
    }
    if let Some(why) = lacks("limits.io") {
        skip!("io: {why}");
    }
    // A table of one Linux partition, from sector 2048 on (the "master boot record").
    let mut table = vec![0; 512];
    table[450] = 0x83;
    table[454..458].copy_from_slice(&2048u32.to_le_bytes());
    table[458..462].copy_from_slice(&126_976u32.to_le_bytes());
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    fs::write(scene.path().join("image"), table).unwrap();
    let line = format!(
        "truncate --size 64M image; mkdir place
         loop=$(losetup --find --show --partscan image); trap 'umount place; losetup --detach $loop' EXIT
         mkfs.ext4 -q ${{loop}}p1; mount ${{loop}}p1 place; echo $loop; {}",
        RUN.replace("PATH", "place")
    );
    let run = with_mounts(&scene, &line).expect_code(0);
    let loop_device = String::from_utf8_lossy(&run.stdout);
    assert_eq!(format!("/dev/{}", disk(&run)), loop_device.trim_end(), "{}", run.told());
}

#[test]
fn a_weight_is_taken_where_a_disk_is_shared_by_weight_and_refused_elsewhere() {
    let scene = Scene::new();
    if !support::is_root() {
        skip!("root: only root may have a disk shared by weight");
    }
    if let Some(why) = lacks("limits.io") {
        skip!("io: {why}");
    }
    let Some(costs) = support::cgroup_mount().map(|mount| mount.join("io.cost.qos")) else {
        skip!("io-weight: no cgroup2 is mounted");
    };
    if !costs.exists() {
        skip!("io-weight: this kernel has no cost model");
    }
    if let Some(why) = no_disk(&scene) {
        skip!("disk: {why}");
    }
    let run = || scene.run(&["--io-weight", "50"], &["true"]);
    run().expect_refusal(&["no disk of this host is shared by weight", "enable=1"]);
    let device = fs::metadata(scene.path()).unwrap().dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    fs::write(&costs, format!("{major}:{minor} enable=1")).unwrap();
    let shared = run();
    fs::write(&costs, format!("{major}:{minor} enable=0")).unwrap();
    let shared = shared.expect_code(0);
    assert_eq!(shared.reported("/enforcement/limits.io_weight/value"), "50");
}
