//! What is written is kept once and in order, whatever happens to whoever keeps it.

use super::record::Stream;
use super::*;
use crate::platform::Bytes;
use std::fs::File;
use std::io::{PipeReader, Write, pipe};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the process that is killed again and again: the state directory.
const STATE: &str = "STOCKADE_TEST_COPIER_STATE";

/// Small files, so that their changes are met often, and none is ever removed.
fn small() -> Logging {
    let rotation = Rotation { max_size: Bytes(40_000), max_files: 100_000, ..Rotation::default() };
    Logging { rotation, ..Logging::default() }
}

/// A state directory of nobody else.
fn state() -> (tempfile::TempDir, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let state = scratch.path().join("state");
    (scratch, state)
}

/// Keeps what comes out of a pipe until it ends.
fn keep(state: &Path, logging: &Logging, generation: u64, end: PipeReader) -> Counts {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let logs = Logs::open(state).unwrap();
    let log = logs.instance("web", "web.1", logging).unwrap();
    let pipe = runtime.block_on(async { OutputPipe::new(end).unwrap() });
    log.attach(Stream::Output, generation, pipe, None, oneshot::channel().0).unwrap();
    let keeper = log.keeper.clone();
    drop(log);
    logs.close();
    lock(&keeper).counts()
}

fn reader(state: &Path) -> Reader {
    Reader::open(Directory::open(&state.join("logs/web.1")).unwrap(), 0).unwrap().unwrap()
}

fn all(state: &Path) -> Vec<Record> {
    let (mut reader, mut records) = (reader(state), Vec::new());
    while let Next::Record(record) = reader.advance().unwrap() {
        records.push(record);
    }
    records
}

fn texts(state: &Path) -> Vec<String> {
    all(state).into_iter().map(|record| record.text).collect()
}

/// The names of what is in the log's directory.
fn files(state: &Path) -> Vec<String> {
    Directory::open(&state.join("logs/web.1")).unwrap().files().unwrap()
}

/// What each of these writes goes to a log of its own run.
fn write(state: &Path, logging: &Logging, generation: u64, bytes: &[u8]) -> Counts {
    let (end, mut writer) = pipe().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(bytes).unwrap());
        keep(state, logging, generation, end)
    })
}

#[test]
fn lines_are_kept_with_their_run_stream_and_number() {
    let (_scratch, state) = state();
    write(&state, &Logging::default(), 1, b"one\n\xfftwo\n\nend");
    write(&state, &Logging::default(), 2, b"next\n");
    let records = all(&state);
    let told: Vec<_> = records
        .iter()
        .map(|it| (it.seq, it.generation, it.end, it.text.as_str(), it.partial))
        .collect();
    assert_eq!(
        told,
        [
            (0, 1, 4, "one", false),
            (1, 1, 9, "\u{fffd}two", false),
            (2, 1, 10, "", false),
            (3, 1, 13, "end", true),
            (4, 2, 5, "next", false),
        ]
    );
    assert!(records.iter().all(|record| record.stream == Stream::Output));
    // Nothing is left of the spools.
    assert_eq!(files(&state), ["00000000000000000000.jsonl"]);
    assert_eq!((reader(&state).service(), reader(&state).instance()), ("web", "web.1"));
}

#[test]
fn what_a_killed_process_had_in_memory_is_missing_and_nothing_around_it_is_kept_twice() {
    let (_scratch, state) = state();
    write(&state, &Logging::default(), 1, b"");
    let place = state.join("logs/web.1");
    // A full disk: bytes 4 to 8 were never in a file.
    std::fs::write(place.join(format!("stdout-1-{:020}.spool", 0)), "one\n").unwrap();
    std::fs::write(place.join(format!("stdout-1-{:020}.spool", 8)), "six\n").unwrap();
    let open = || {
        let directory = Directory::open(&place).unwrap();
        Keeper::open(directory, "web", "web.1", Logging::default()).unwrap()
    };
    for _ in 0..3 {
        drop(open());
        let told: Vec<_> = all(&state).into_iter().map(|it| (it.end, it.text)).collect();
        assert_eq!(told, [(4, "one".to_owned()), (12, "six".to_owned())]);
    }
    // Bytes 12 to 16 were kept from memory, which is as good.
    std::fs::remove_file(place.join(format!("stdout-1-{:020}.spool", 8))).unwrap();
    let (end, mut writer) = pipe().unwrap();
    writer.write_all(b"sev\n").unwrap();
    drop(writer);
    keep(&state, &Logging::default(), 1, end);
    assert_eq!(all(&state).last().map(|it| (it.end, it.text.clone())), Some((16, "sev".into())));
}

#[test]
fn a_file_that_was_begun_and_got_nothing_tells_how_far_the_stream_was() {
    let (_scratch, state) = state();
    write(&state, &Logging::default(), 1, b"");
    let place = state.join("logs/web.1");
    std::fs::write(place.join(format!("stdout-1-{:020}.spool", 0)), "one\n").unwrap();
    std::fs::write(place.join(format!("stdout-1-{:020}.spool", 20)), "").unwrap();
    let open = || {
        let directory = Directory::open(&place).unwrap();
        Keeper::open(directory, "web", "web.1", Logging::default()).unwrap()
    };
    drop(open());
    // As if the one who went on was killed when it had taken this and kept it.
    std::fs::write(place.join(format!("stdout-1-{:020}.spool", 20)), "six\n").unwrap();
    for _ in 0..2 {
        drop(open());
        let told: Vec<_> = all(&state).into_iter().map(|it| (it.end, it.text)).collect();
        assert_eq!(told, [(4, "one".to_owned()), (24, "six".to_owned())]);
    }
}

#[test]
fn full_files_are_compressed_and_the_oldest_removed() {
    let (_scratch, state) = state();
    let rotation = Rotation { max_size: Bytes(4000), max_files: 3, ..Rotation::default() };
    let text: String = (0..200).map(|number| format!("line {number}\n")).collect();
    write(&state, &Logging { rotation, ..Logging::default() }, 1, text.as_bytes());
    let files = files(&state);
    assert_eq!(files.len(), 3, "{files:?}");
    let compressed = files.iter().filter(|name| name.ends_with(".jsonl.gz")).count();
    assert_eq!(compressed, 2, "{files:?}");
    let mut reader = reader(&state);
    let Next::Missed(missed) = reader.advance().unwrap() else { panic!("nothing was removed") };
    for number in missed..200 {
        let Next::Record(record) = reader.advance().unwrap() else { panic!("{number}") };
        assert_eq!((record.seq, record.text), (number, format!("line {number}")));
    }
    assert_eq!(reader.advance().unwrap(), Next::Nothing);
}

#[test]
fn the_last_records_are_found_from_behind_over_many_files() {
    let (_scratch, state) = state();
    let text: String = (0..3000).map(|number| format!("{number}\n")).collect();
    write(&state, &small(), 1, text.as_bytes());
    assert!(files(&state).len() > 5);
    for most in [0, 1, 10, 1000, 5000] {
        let mut reader = reader(&state);
        let last = reader.last(most, |record| record.seq % 2 == 1).unwrap();
        let expected: Vec<u64> = (0..3000).filter(|seq| seq % 2 == 1).collect();
        let expected = &expected[expected.len().saturating_sub(most)..];
        assert_eq!(last.iter().map(|record| record.seq).collect::<Vec<_>>(), expected);
        assert_eq!(reader.advance().unwrap(), Next::Nothing);
        assert_eq!(reader.position(), 3000);
    }
}

#[test]
fn what_is_too_much_is_counted_and_told() {
    let (_scratch, state) = state();
    let rate_limit =
        RateLimit { lines: Some(10), per: Duration::from_secs(3600), ..RateLimit::default() };
    let text: String = (0..1000).map(|number| format!("{number}\n")).collect();
    let counts = write(&state, &Logging { rate_limit, ..Logging::default() }, 1, text.as_bytes());
    assert_eq!((counts.kept, counts.dropped), (10, 990));
    let records = all(&state);
    let lost: u64 = records.iter().filter_map(|it| Some(it.lost.as_ref()?.lines)).sum();
    assert_eq!((lost, records.len() - 10), (990, 1), "{records:?}");
    assert!(records[10].text.ends_with("over the rate limit"), "{}", records[10].text);
}

#[test]
fn a_torn_end_is_cut_off() {
    let (_scratch, state) = state();
    write(&state, &Logging::default(), 1, b"one\ntwo\n");
    let path = state.join("logs/web.1/00000000000000000000.jsonl");
    let whole = std::fs::read(&path).unwrap();
    for torn in [&b"{\"time\":"[..], b"x\nmore", b"\0\0\0\n"] {
        std::fs::write(&path, [&whole, torn].concat()).unwrap();
        let logs = Logs::open(&state).unwrap();
        logs.instance("web", "web.1", &Logging::default()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        logs.close();
    }
    write(&state, &Logging::default(), 2, b"three\n");
    assert_eq!(texts(&state), ["one", "two", "three"]);
}

#[test]
fn what_a_newer_version_made_is_left_alone() {
    let (_scratch, state) = state();
    write(&state, &Logging::default(), 1, b"one\n");
    let path = state.join("logs/web.1/00000000000000000000.jsonl");
    let text =
        std::fs::read_to_string(&path).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    std::fs::write(&path, &text).unwrap();
    let logs = Logs::open(&state).unwrap();
    let error = logs.instance("web", "web.1", &Logging::default()).unwrap_err();
    assert!(error.chain().contains("version 2, made by a newer Stockade"), "{}", error.chain());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn only_one_process_keeps_logs_in_a_directory() {
    let (_scratch, state) = state();
    let logs = Logs::open(&state).unwrap();
    let refused = Logs::open(&state).unwrap_err().to_string();
    assert!(refused.starts_with("another process keeps its logs in"), "{refused}");
    logs.close();
    Logs::open(&state).unwrap().close();
}

/// The process that is killed: keeps what comes in on its standard input.
#[test]
#[ignore = "run by `every_line_is_kept_once_though_its_keeper_is_killed_again_and_again`"]
fn copier() {
    let Some(state) = std::env::var_os(STATE) else { return };
    let end = PipeReader::from(OwnedFd::from(File::open("/proc/self/fd/0").unwrap()));
    keep(Path::new(&state), &small(), 1, end);
}

/// Times at which nobody knows what it does: from right after its start until it has long waited for more.
fn moments() -> impl Iterator<Item = Duration> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    std::iter::repeat_with(move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        Duration::from_micros(seed % 9000)
    })
}

#[test]
fn every_line_is_kept_once_though_its_keeper_is_killed_again_and_again() {
    let (_scratch, state) = state();
    let (end, mut writer) = pipe().unwrap();
    let writing = std::thread::spawn(move || {
        let mut number = 0_u64;
        // Lines of many lengths, some longer than a page, until nobody reads any more.
        while writeln!(writer, "{number} {}", "x".repeat((number * 37 % 5003) as usize)).is_ok() {
            number += 1;
        }
        number
    });
    let copier = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "logs::tests::copier", "--ignored", "--quiet"]).env(STATE, &state);
        command.stdin(Stdio::from(OwnedFd::from(end.try_clone().unwrap())));
        command.stdout(Stdio::null()).spawn().unwrap()
    };
    let (began, mut kills) = (Instant::now(), 0);
    for moment in moments() {
        let mut child = copier();
        #[expect(
            clippy::disallowed_methods,
            reason = "a moment that has nothing to do with what happens"
        )]
        std::thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        if kills >= 2000 || began.elapsed() > Duration::from_secs(40) {
            break;
        }
    }
    // The writer goes on until its reader is gone; the last one reads to the end.
    let mut last = copier();
    drop(end);
    #[expect(clippy::disallowed_methods, reason = "it is to keep some more")]
    std::thread::sleep(Duration::from_millis(300));
    last.kill().unwrap();
    last.wait().unwrap();
    let written = writing.join().unwrap();
    let logs = Logs::open(&state).unwrap();
    logs.instance("web", "web.1", &small()).unwrap();
    logs.close();
    let records = all(&state);
    let mut parts = String::new();
    let mut expected = 0;
    for record in &records {
        parts += &record.text;
        if !record.partial {
            let length = (expected * 37 % 5003) as usize;
            assert_eq!(parts, format!("{expected} {}", "x".repeat(length)));
            parts.clear();
            expected += 1;
        }
    }
    println!("{kills} kills, {expected} lines of {written}, {} files", files(&state).len());
    assert!(expected > 100 && expected <= written, "{expected} of {written}");
    assert!(kills >= 100, "{kills}");
}
