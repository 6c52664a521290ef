//! Twenty services that start, stop, crash and write numbered lines, and the daemons that come and go around them.

use crate::check::{self, Kept, Missing, Told};
use crate::support::{self, Scene, processes_with, signal};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// When something counts as never coming.
const NEVER: Duration = Duration::from_secs(100);

/// Random numbers that come again with the same seed (xorshift64*).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// From `STOCKADE_CHAOS_SEED`, or else the system's. It is told, for a run that fails.
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let seed = std::env::var("STOCKADE_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0_u8)) | 1;
        println!("STOCKADE_CHAOS_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound.max(1)
    }
}

/// What a service does until it is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It goes on.
    Steady,
    /// It goes on, and has more to say.
    Loud,
    /// It crashes after some lines.
    Crasher,
    /// It crashes, and leaves a child behind that would go on.
    Parent,
}

const KINDS: [(Kind, usize); 4] =
    [(Kind::Steady, 8), (Kind::Loud, 2), (Kind::Crasher, 7), (Kind::Parent, 3)];

/// Whether a service is to run, as far as that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Up,
    Down,
    /// Whoever was asked died before it answered.
    Either,
}

#[derive(Debug)]
struct Member {
    name: String,
    kind: Kind,
    want: Want,
    told: Vec<Told>,
}

impl Member {
    /// Whether people start and stop it here.
    fn is_asked(&self) -> bool {
        matches!(self.kind, Kind::Steady | Kind::Loud)
    }
}

/// All of it.
pub(crate) struct Chaos {
    pub(crate) scene: Scene,
    pub(crate) dice: Dice,
    alive: String,
    crew: Vec<Member>,
    /// Up to when kills are spread, in milliseconds.
    most: u64,
}

impl Drop for Chaos {
    fn drop(&mut self) {
        // What goes on without its daemon would do so after a test that failed, too.
        if std::thread::panicking() {
            for pid in processes_with(&self.scene.at("state")) {
                let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
                nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap_or(());
            }
        }
    }
}

/// A daemon that may not answer yet.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Daemon {
    /// Returns when it answers.
    pub(crate) fn answers(&mut self) {
        let mut line = String::new();
        support::guarded(self.child.id(), || self.stderr.read_line(&mut line).unwrap());
        if line != "stockade: the daemon answers\n" {
            panic!("{line}{}", self.rest());
        }
    }

    /// What it says until it has ended.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.stderr, &mut rest).unwrap();
        rest
    }

    pub(crate) fn kill(mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the daemon ended by itself ({status}): {}", self.rest());
        }
        signal(self.child.id(), Signal::SIGKILL);
        self.child.wait().unwrap();
    }
}

/// What a run does: it is alone, has a number, and writes down what it will exit with before anything else.
fn line(alive: &str, name: &str, kind: Kind) -> String {
    let (more, then) = match kind {
        Kind::Steady => ("true", "sleep 0.1"),
        Kind::Loud => ("true", "((n % 50)) || sleep 0.1"),
        Kind::Crasher => ("((n < 4 + RANDOM % 9))", "sleep 0.03"),
        Kind::Parent => ("((n < 3))", "sleep 0.03"),
    };
    let child = if kind == Kind::Parent { "sleep 1000 & " } else { "" };
    format!(
        "trap 'over=1' TERM; exec 9>>{alive}/{name}.lock; flock -n 9 || echo {name} >> {alive}/two; \
         mapfile -t before < {alive}/{name}.runs; r=$${{#before[@]}} n=0 over= code=$((3 + RANDOM % 90)); \
         echo \"begin $r $code\" >> {alive}/{name}.runs; {child}\
         while {more} && [[ ! $over ]]; do ((++n)); echo $r.$n; {then}; done; \
         echo \"end $r $n\" >> {alive}/{name}.runs; exit $code"
    )
}

impl Chaos {
    pub(crate) fn new() -> Self {
        let (scene, dice) = (Scene::new(), Dice::new());
        let alive = scene.directory("alive");
        let kinds = KINDS.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count));
        let member = |(at, kind)| {
            let name = format!("{kind:?}{at}").to_lowercase();
            Member { name, kind, want: Want::Up, told: Vec::new() }
        };
        let crew: Vec<Member> = kinds.enumerate().map(member).collect();
        let mut stack = String::new();
        for Member { name, kind, .. } in &crew {
            std::fs::write(format!("{alive}/{name}.runs"), "").unwrap();
            stack += &format!(
                "[services.{name}]\npolicy = \"default\"\ncommand = [\"bash\", \"-c\", {:?}]\n\
                 restart = {{ policy = \"unless-stopped\", delay = \"20ms\", factor = 1.0, start_attempts = 0, max_attempts = 0 }}\n\
                 stop = {{ grace_period = \"100s\" }}\nfilesystem = {{ write = [{alive:?}] }}\n",
                line(&alive, name, *kind)
            );
        }
        scene.file("stockade.toml", &stack);
        Self { scene, dice, alive, crew, most: 0 }
    }

    pub(crate) fn stockade(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
        command.current_dir(self.scene.path()).args(arguments).stdin(Stdio::null());
        command.env("STOCKADE_SOCKET", self.scene.at("api.sock"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn daemon(&self) -> Daemon {
        self.daemon_by(&[])
    }

    /// A daemon that is executed by another program.
    pub(crate) fn daemon_by(&self, words: &[&str]) -> Daemon {
        let (socket, state) = (self.scene.at("api.sock"), self.scene.at("state"));
        let plain = self.stockade(&["daemon", "--socket", &socket, "--state", &state]);
        let mut command = match words.split_first() {
            None => Command::new(plain.get_program()),
            Some((by, words)) => {
                let mut command = Command::new(by);
                command.args(words).arg(plain.get_program());
                command
            }
        };
        command.args(plain.get_args());
        command.current_dir(self.scene.path()).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Daemon { child, stderr }
    }

    /// The first daemon of all, with everything running; kills are spread over twice the time that took.
    pub(crate) fn first(&mut self) -> Daemon {
        let begin = Instant::now();
        let mut daemon = self.daemon();
        daemon.answers();
        self.settle();
        // A slow machine needs long for all to run; what starts, crashes and is taken over there does so much sooner.
        self.most = u64::try_from(begin.elapsed().as_millis()).unwrap().clamp(100, 2000) * 2;
        daemon
    }

    /// Waits until every service is as was asked for, and looks at it.
    pub(crate) fn settle(&mut self) {
        let begin = Instant::now();
        while let Some(wrong) = self.sample().err().or_else(|| self.wrong()) {
            assert!(begin.elapsed() < NEVER, "{wrong}; {}; {}", self.told(), self.journal());
            sleep(Duration::from_millis(50));
        }
    }

    /// What isn't as it should be, by what was told last.
    fn wrong(&self) -> Option<String> {
        for Member { name, want, told, .. } in &self.crew {
            let state = told.last().map_or("unknown", |told| told.state.as_str());
            let (up, down) = (matches!(state, "running" | "backoff"), state == "inactive");
            let fits = match want {
                Want::Up => up,
                Want::Down => down,
                Want::Either => up || down,
            };
            if !fits || self.notes(name).is_empty() {
                return Some(format!("{name} is {state}, and is wanted {want:?}"));
            }
        }
        None
    }

    fn notes(&self, name: &str) -> String {
        std::fs::read_to_string(format!("{}/{name}.runs", self.alive)).unwrap()
    }

    /// The journal, which nobody writes while there is no daemon.
    pub(crate) fn journal(&self) -> String {
        std::fs::read_to_string(self.scene.at("state/journal")).unwrap_or_default()
    }

    fn output(mut command: Command) -> Output {
        let child = command.spawn().unwrap();
        support::guarded(child.id(), || child.wait_with_output().unwrap())
    }

    /// Hears of all services.
    pub(crate) fn sample(&mut self) -> Result<(), String> {
        let output = Self::output(self.stockade(&["ps", "--json"]));
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        for service in told["services"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let member = self.crew.iter_mut().find(|it| service["name"] == *it.name).unwrap();
            let code = service["last"]["exit_code"].as_i64();
            member.told.push(Told {
                state: text(&service["state"]).unwrap(),
                generation: service["generation"].as_u64().unwrap(),
                code: code.map(|code| i32::try_from(code).unwrap()),
                last: text(&service["last"]["text"]),
            });
        }
        Ok(())
    }

    /// A daemon that is killed at any moment, while somebody may be asking something of it.
    pub(crate) fn round(&mut self, asks: bool, samples: bool) {
        let mut daemon = self.daemon();
        if asks || samples {
            daemon.answers();
        }
        let asked = asks.then(|| self.ask());
        if samples {
            self.sample().unwrap();
        }
        sleep(Duration::from_millis(self.dice.below(self.most)));
        daemon.kill();
        if let Some((at, verb, mut command)) = asked {
            let answered = support::guarded(command.id(), || command.wait().unwrap().success());
            let want = &mut self.crew[at].want;
            *want = match (verb, answered, *want) {
                ("stop", true, _) => Want::Down,
                (_, true, _) => Want::Up,
                ("stop", false, Want::Down) => Want::Down,
                ("start" | "restart", false, Want::Up) => Want::Up,
                _ => Want::Either,
            };
        }
        let journal = self.journal();
        assert!(!journal.contains("unobserved"), "{journal}");
    }

    fn ask(&mut self) -> (usize, &'static str, Child) {
        let asked: Vec<usize> =
            (0..self.crew.len()).filter(|at| self.crew[*at].is_asked()).collect();
        let at = asked[usize::try_from(self.dice.below(asked.len() as u64)).unwrap()];
        let verb =
            ["start", "stop", "restart", "stop"][usize::try_from(self.dice.below(4)).unwrap()];
        let mut command = self.stockade(&[verb, &self.crew[at].name]);
        (at, verb, command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Waits until the daemon tells of some service that this was the matter.
    pub(crate) fn tells(&self, text: &str) {
        let begin = Instant::now();
        loop {
            let output = Self::output(self.stockade(&["ps", "--json"]));
            let told = String::from_utf8_lossy(&output.stdout);
            if told.contains(text) {
                return;
            }
            assert!(begin.elapsed() < NEVER, "nobody tells `{text}`: {told}");
            sleep(Duration::from_millis(50));
        }
    }

    /// Waits until all crashers have been started again, more than once.
    pub(crate) fn goes_on(&self) {
        let crashers = || self.crew.iter().filter(|member| !member.is_asked());
        let begun = || crashers().map(|member| self.begun(&member.name)).collect::<Vec<_>>();
        let (begin, before) = (Instant::now(), begun());
        while begun().iter().zip(&before).any(|(now, before)| *now < before + 3) {
            assert!(begin.elapsed() < NEVER, "nothing goes on: {}", self.journal());
            sleep(Duration::from_millis(50));
        }
    }

    /// What was told so far isn't looked at: a launch that was refused has no run.
    pub(crate) fn forget(&mut self) {
        self.crew.iter_mut().for_each(|member| member.told.clear());
    }

    /// Whatever the daemon says of them, for people.
    pub(crate) fn told(&self) -> String {
        let output = Self::output(self.stockade(&["ps", "--json"]));
        String::from_utf8_lossy(&output.stdout).into()
    }

    fn begun(&self, name: &str) -> usize {
        self.notes(name).matches("begin").count()
    }

    /// How often those have begun that only end when they are asked to.
    pub(crate) fn steady(&self) -> Vec<usize> {
        let steady = self.crew.iter().filter(|member| member.is_asked());
        steady.map(|member| self.begun(&member.name)).collect()
    }

    /// Ends everything, and looks at what is left: nothing that runs, and all that was written.
    pub(crate) fn end(mut self, daemon: Daemon, missing: Missing) {
        self.settle();
        let down = Self::output(self.stockade(&["down"]));
        assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
        let mut daemon = daemon;
        daemon.rest();
        daemon.child.wait().unwrap();
        assert_eq!(processes_with(&self.alive), Vec::<u32>::new());
        let two = std::fs::read_to_string(format!("{}/two", self.alive));
        assert!(two.is_err(), "there were two: {}", two.unwrap());
        let kept = self.kept();
        for member in &self.crew {
            let name = &member.name;
            let notes = self.notes(name);
            let runs = check::runs(&notes).unwrap_or_else(|why| panic!("{name}: {why}"));
            assert!(runs.iter().all(|run| run.lines.is_some()), "{name}: {notes}");
            let kept = kept.get(name).map_or(&[][..], Vec::as_slice);
            check::lines(&runs, kept, missing).unwrap_or_else(|why| panic!("{name}: {why}"));
            println!(
                "{name}: {} runs, {} lines, told {} times",
                runs.len(),
                kept.len(),
                member.told.len()
            );
            if !member.is_asked() && missing == Missing::Nothing {
                for told in &member.told {
                    check::told(&runs, kept, told).unwrap_or_else(|why| panic!("{name}: {why}"));
                }
            }
            assert!(member.is_asked() || runs.len() > 3, "{name} hardly ran: {notes}");
        }
    }

    /// What is kept of what each wrote.
    fn kept(&self) -> BTreeMap<String, Vec<Kept>> {
        let output = Self::output(self.stockade(&["logs", "--state", "state", "--json"]));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut all: BTreeMap<String, Vec<Kept>> = BTreeMap::new();
        for line in str::from_utf8(&output.stdout).unwrap().lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            // That lines were lost is told in their place.
            if record.get("lost").is_some_and(|lost| !lost.is_null()) {
                println!("{line}");
                continue;
            }
            all.entry(record["instance"].as_str().unwrap().to_owned()).or_default().push(Kept {
                generation: record["generation"].as_u64().unwrap(),
                text: record["text"].as_str().unwrap().to_owned(),
            });
        }
        all
    }
}
