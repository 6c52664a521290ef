//! What one sandbox said of itself at one moment, as far as the screen shows it.

use super::super::output::plain;
use serde_json::Value;

/// The figures of one sandbox; `None` is "it couldn't tell".
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Figures {
    pub(in super::super) id: String,
    /// Whether it answered at all.
    pub(in super::super) silent: bool,
    pub(in super::super) paused: bool,
    pub(in super::super) age: f64,
    /// Seconds of CPU so far.
    pub(in super::super) cpu: f64,
    /// Cores.
    pub(in super::super) cpu_limit: Option<f64>,
    pub(in super::super) memory: Option<u64>,
    pub(in super::super) memory_limit: Option<u64>,
    pub(in super::super) pids: Option<u64>,
    pub(in super::super) pids_limit: Option<u64>,
    /// Bytes read and written so far.
    pub(in super::super) io: Option<u64>,
    /// Seconds of waiting so far: for a CPU, for memory, for devices.
    pub(in super::super) pressure: [Option<f64>; 3],
    pub(in super::super) processes: Vec<Process>,
}

/// One line of the tree of processes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Process {
    pub(in super::super) pid: u64,
    pub(in super::super) parent: u64,
    pub(in super::super) state: String,
    pub(in super::super) cpu: f64,
    pub(in super::super) memory: u64,
    pub(in super::super) threads: u64,
    pub(in super::super) command: String,
    /// How deep it stands below the first.
    pub(in super::super) depth: usize,
}

impl Figures {
    /// Those of a status.
    pub(in super::super) fn new(status: &Value) -> Self {
        let number = |place: &str| status.pointer(place).and_then(Value::as_f64);
        let whole = |place: &str| status.pointer(place).and_then(Value::as_u64);
        let seconds = |place: &str| number(place).unwrap_or(0.0);
        let bytes = |place: &str| whole(place).unwrap_or(0);
        let io = status.pointer("/usage/io").filter(|io| io.is_object());
        let processes = status["processes"].as_array().map_or(&[][..], Vec::as_slice);
        Self {
            id: plain(status["id"].as_str().unwrap_or("?")),
            silent: false,
            paused: status["paused"] == true,
            age: seconds("/age_s"),
            cpu: seconds("/usage/cpu/user_s") + seconds("/usage/cpu/system_s"),
            cpu_limit: number("/limits/cpu"),
            memory: whole("/usage/memory/current_bytes"),
            memory_limit: whole("/limits/memory"),
            // The sandbox's init is none of the program's processes.
            pids: whole("/usage/pids/current").map(|pids| pids.saturating_sub(1)),
            pids_limit: whole("/limits/pids"),
            io: io.map(|_| bytes("/usage/io/read_bytes") + bytes("/usage/io/written_bytes")),
            pressure: ["cpu", "memory", "io"]
                .map(|kind| number(&format!("/usage/pressure/{kind}/some_s"))),
            processes: tree(processes.iter().map(Process::new).collect()),
        }
    }

    /// A sandbox that is listed and doesn't answer.
    pub(in super::super) fn silent(id: String) -> Self {
        Self { id, silent: true, ..Self::default() }
    }
}

impl Process {
    fn new(process: &Value) -> Self {
        let whole = |name: &str| process[name].as_u64().unwrap_or(0);
        let text = |name: &str| plain(process[name].as_str().unwrap_or("?"));
        Self {
            pid: whole("pid"),
            parent: whole("parent"),
            state: text("state"),
            cpu: process["cpu_s"].as_f64().unwrap_or(0.0),
            memory: whole("memory_bytes"),
            threads: whole("threads"),
            command: text("command"),
            depth: 0,
        }
    }
}

/// Processes in the order of their tree, each with its depth. Whoever's parent isn't among them stands at the root.
fn tree(all: Vec<Process>) -> Vec<Process> {
    let is_root = |process: &Process| !all.iter().any(|other| other.pid == process.parent);
    let mut waiting: Vec<Process> = all.iter().rev().filter(|one| is_root(one)).cloned().collect();
    let mut ordered: Vec<Process> = Vec::with_capacity(all.len());
    while let Some(process) = waiting.pop() {
        let below = all.iter().rev().filter(|one| one.parent == process.pid);
        waiting.extend(below.map(|one| Process { depth: process.depth + 1, ..one.clone() }));
        ordered.push(process);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_stand_below_their_parents() {
        let process = |pid, parent| Process { pid, parent, ..Process::default() };
        let all =
            vec![process(10, 1), process(11, 10), process(12, 10), process(13, 11), process(20, 9)];
        let shown: Vec<_> = tree(all).iter().map(|one| (one.pid, one.depth)).collect();
        assert_eq!(shown, [(10, 0), (11, 1), (13, 2), (12, 1), (20, 0)]);
        // No kernel says so; if one did, the screen wouldn't hang.
        assert_eq!(tree(vec![process(5, 5)]), []);
    }
}
