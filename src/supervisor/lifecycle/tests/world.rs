//! Random scenes against a model of the world, in which everything can go wrong that can.

use super::super::*;
use super::{SECOND, Scene};
use crate::supervisor::restart::{Restart, RestartPolicy};
use proptest::prelude::*;

/// What the world can do next, whatever the program wants.
#[derive(Clone, Debug)]
enum Doing {
    Ask(u8),
    Dependencies(bool),
    Pass(u64),
    Launch(bool),
    End(u8),
    Say(u8),
    /// News of the run so many before.
    Late(u64, u8),
    /// The supervisor dies, and this may be true of the run when the next one comes.
    Crash(u8),
}

fn doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        3 => (0_u8..10).prop_map(Doing::Ask),
        4 => prop::bool::weighted(0.9).prop_map(Doing::Dependencies),
        3 => (0_u64..200_000).prop_map(Doing::Pass),
        5 => prop::bool::weighted(0.8).prop_map(Doing::Launch),
        4 => (0_u8..7).prop_map(Doing::End),
        3 => (0_u8..13).prop_map(Doing::Say),
        2 => (0_u8..6).prop_map(Doing::Crash),
        1 => (1_u64..3, 0_u8..13).prop_map(|(before, what)| Doing::Late(before, what)),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let started = prop::sample::select(vec![Started::Executed, Started::Ready, Started::Ended]);
    let policy = prop::sample::select(vec![
        RestartPolicy::No,
        RestartPolicy::OnFailure,
        RestartPolicy::Always,
    ]);
    let time = || prop::option::of((1_u64..100).prop_map(Duration::from_secs));
    let exhausted =
        prop::sample::select(vec![OnExhausted::Fail, OnExhausted::Delay, OnExhausted::Escalate]);
    let switches = (any::<bool>(), any::<bool>(), any::<bool>());
    (started, policy, time(), time(), 0_u64..40, exhausted, switches).prop_map(
        |(
            started,
            policy,
            start_timeout,
            run_timeout,
            grace,
            on_exhausted,
            (probed, forks, attached),
        )| {
            Rules {
                started,
                probed,
                tells_reload: probed,
                forks,
                attached: attached && !forks,
                start_timeout,
                run_timeout,
                grace: Duration::from_secs(grace),
                restart: Restart { policy, on_exhausted, ..Restart::default() },
            }
        },
    )
}

fn said(number: u8) -> Happening {
    match number {
        0 => Happening::Ready,
        1 => Happening::Reloading,
        2 => Happening::Stopping,
        3 => Happening::StartupFailed,
        4 => Happening::Readiness(true),
        5 => Happening::Readiness(false),
        6 => Happening::LivenessFailed,
        7 => Happening::WatchdogMissed,
        12 => Happening::Extended(SECOND * 100),
        8 => Happening::Exceeded(Control::Memory, Reaction::Restart),
        9 => Happening::Exceeded(Control::Pids, Reaction::Stop),
        10 => Happening::Exceeded(Control::Memory, Reaction::Kill),
        _ => Happening::Exceeded(Control::Memory, Reaction::Freeze),
    }
}

fn ended(number: u8) -> Outcome {
    match number {
        0 | 1 => Outcome::Exited(0),
        2 | 3 => Outcome::Exited(1),
        4 => Outcome::Signalled(11),
        5 => Outcome::Unobserved,
        _ => Outcome::OutOfMemory,
    }
}

fn asked(number: u8) -> Event {
    match number {
        0 | 1 => Event::Start,
        2 => Event::Stop,
        3 => Event::Kill,
        4 => Event::Restart,
        5 => Event::Reload,
        6 => Event::Pause,
        7 => Event::Resume,
        8 => Event::DependencyBack("db".to_owned()),
        _ => Event::PeerRestarted("`b` was started again".to_owned()),
    }
}

/// The run that there is in the world.
#[derive(Debug, Default)]
struct Run {
    launched: bool,
    killed: bool,
    frozen: bool,
}

/// A world that does what it is told, and in which everything can go wrong that can.
struct World {
    scene: Scene,
    run: Option<Run>,
    newest: Generation,
    /// Whether somebody wants it to run.
    wanted: bool,
}

impl World {
    fn event(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Start | Event::Restart => self.wanted = true,
            Event::Stop | Event::Kill => self.wanted = false,
            _ => {}
        }
        for action in self.scene.event(event) {
            self.act(action)?;
        }
        let life = &self.scene.life;
        prop_assert_eq!(life.is_live(), self.run.is_some(), "{:?}", life);
        prop_assert!(!life.is_ready() || life.is_live());
        prop_assert!(life.deadline().is_some() || life.state() != State::Backoff);
        let ending =
            life.state() == State::Stopping && self.run.as_ref().is_some_and(|run| run.launched);
        prop_assert!(life.deadline().is_some() || !ending, "{:?} for ever", life);
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<(), TestCaseError> {
        let launched = self.run.as_ref().is_some_and(|run| run.launched);
        match action {
            Action::Launch(generation) => {
                prop_assert!(self.run.is_none(), "a second copy");
                prop_assert!(self.wanted, "started though nobody wants it");
                prop_assert!(generation > self.newest);
                self.newest = generation;
                self.run = Some(Run::default());
            }
            Action::CheckDependencies => prop_assert!(self.wanted && self.run.is_none()),
            Action::Escalate => prop_assert_eq!(self.scene.life.state(), State::Failed),
            Action::Ask | Action::Reload => {
                prop_assert!(launched);
                prop_assert!(self.run.as_ref().is_some_and(|run| !run.frozen), "it can't hear");
            }
            Action::Kill | Action::Freeze | Action::Thaw => {
                prop_assert!(launched);
                let run = self.run.get_or_insert_default();
                match action {
                    Action::Kill => run.killed = true,
                    other => run.frozen = other == Action::Freeze,
                }
            }
        }
        Ok(())
    }

    fn happens(&mut self, happening: Happening) -> Result<(), TestCaseError> {
        self.event(Event::Of(self.scene.life.generation(), happening))
    }

    fn over(&mut self, happening: Happening) -> Result<(), TestCaseError> {
        self.run = None;
        self.happens(happening)
    }

    fn launched(&mut self) -> Result<(), TestCaseError> {
        self.run.get_or_insert_default().launched = true;
        self.happens(Happening::Launched)
    }

    fn crash(&mut self, how: u8) -> Result<(), TestCaseError> {
        let left = match (&mut self.run, how) {
            // It was launched in the last moment of the supervisor before.
            (Some(run), 0 | 1) => {
                (run.launched, run.frozen) = (true, false);
                Left::Run
            }
            // The next one can't tell, and looks again, or the one after it does.
            (Some(_), 3 | 4) => Left::Doubt("it doesn't answer".to_owned()),
            (Some(run), 2) if run.launched => Left::Nothing(Some(Outcome::Exited(1))),
            _ => Left::Nothing(None),
        };
        if matches!(left, Left::Nothing(_)) {
            self.run = None;
        }
        for action in self.scene.crash(left) {
            self.act(action)?;
        }
        prop_assert_eq!(self.scene.life.is_live(), self.run.is_some(), "{:?}", self.scene.life);
        Ok(())
    }

    fn does(&mut self, doing: Doing) -> Result<(), TestCaseError> {
        let (is_there, launched, deaf) = self
            .run
            .as_ref()
            .map_or((false, false, false), |run| (true, run.launched, run.frozen || run.killed));
        // Nobody hears of one that can't be told from a stranger.
        let launched = launched && self.scene.life.state() != State::Unknown;
        let is_there = is_there && self.scene.life.state() != State::Unknown;
        match doing {
            Doing::Ask(what) => self.event(asked(what)),
            Doing::Dependencies(true) => self.event(Event::DependenciesMet),
            Doing::Dependencies(false) => self.event(Event::DependencyFailed("db".to_owned())),
            Doing::Pass(milliseconds) => {
                self.scene.now = self.scene.now.after(Duration::from_millis(milliseconds));
                self.event(Event::Time)
            }
            Doing::Launch(true) if is_there && !launched => self.launched(),
            Doing::Launch(false) if is_there && !launched => {
                self.over(Happening::NotLaunched("no such file".to_owned()))
            }
            // What stands still can be killed by others, too.
            Doing::End(how) if launched => {
                let life = &self.scene.life;
                let starts = self.scene.rules.forks && life.state() == State::Starting;
                self.over(Happening::Ended(ended(how)))?;
                let life = &self.scene.life;
                prop_assert!(!starts || life.state() != State::Completed, "done with nothing left");
                Ok(())
            }
            Doing::Say(what) if launched && (!deaf || what > 2) => self.happens(said(what)),
            Doing::Late(before, what) => {
                let Some(old) = self.scene.life.generation().0.checked_sub(before) else {
                    return Ok(());
                };
                let was = self.scene.life.clone();
                for happening in
                    [said(what), Happening::Launched, Happening::Ended(Outcome::Exited(1))]
                {
                    let actions = self.scene.event(Event::Of(Generation(old), happening));
                    prop_assert!(actions.is_empty() && self.scene.life == was, "old news");
                }
                Ok(())
            }
            Doing::Crash(how) => self.crash(how),
            Doing::Launch(_) | Doing::End(_) | Doing::Say(_) => Ok(()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens: there are never two runs, nothing starts that nobody wants, nobody is asked who can't hear, old news
    /// changes nothing, and a stop ends in nothing being left however stubborn the program is.
    #[test]
    fn no_order_of_events_breaks_its_promises(
        rules in rules(),
        doings in prop::collection::vec(doing(), 0..120),
        stubborn: bool,
    ) {
        let mut world = World {
            scene: Scene::new(rules), run: None, newest: Generation(0), wanted: false,
        };
        for doing in doings {
            world.does(doing)?;
        }
        world.event(Event::Stop)?;
        for _ in 0..5 {
            let Some(run) = &world.run else { break };
            if world.scene.life.state() == State::Unknown {
                world.crash(0)?;
            } else if !run.launched {
                world.launched()?;
            } else if run.killed || !stubborn {
                world.over(Happening::Ended(Outcome::Signalled(15)))?;
            } else {
                let deadline = world.scene.life.deadline();
                prop_assert!(deadline.is_some());
                world.scene.now = deadline.unwrap_or_default();
                world.event(Event::Time)?;
            }
        }
        prop_assert!(world.run.is_none());
        let state = world.scene.life.state();
        let rests = [State::Inactive, State::Failed, State::Completed];
        prop_assert!(rests.contains(&state), "{:?}", state);
        // And it stays so.
        world.scene.now = world.scene.now.after(Duration::from_secs(10_000));
        world.event(Event::Time)?;
        world.event(Event::DependenciesMet)?;
        prop_assert_eq!(world.scene.life.state(), state);
    }
}
