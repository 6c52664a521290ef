//! Scenes that are told, and random ones against a model of the world.

use super::super::outcome::ExitStatus;
use super::super::restart::{Budget, Restart, RestartPolicy};
use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

/// A lifecycle with its rules, on which each event is a line.
struct Scene {
    life: Lifecycle,
    rules: Rules,
    now: Moment,
}

impl Scene {
    fn new(rules: Rules) -> Self {
        Self { life: Lifecycle::new(true), rules, now: at(0) }
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        self.life.step(&self.rules, event, self.now, 0.0)
    }

    fn happens(&mut self, happening: Happening) -> Vec<Action> {
        self.event(Event::Of(self.life.generation(), happening))
    }

    /// Moves the clock to the next deadline.
    fn wait(&mut self) -> Vec<Action> {
        self.now = self.life.deadline().unwrap();
        self.event(Event::Time)
    }

    /// From whatever waits to a program that is executed.
    fn launch(&mut self) {
        let actions = self.event(Event::DependenciesMet);
        assert_eq!(actions, [Action::Launch(self.life.generation())]);
        assert_eq!(self.happens(Happening::Launched), []);
    }

    fn running(rules: Rules) -> Self {
        let mut scene = Self::new(rules);
        assert_eq!(scene.event(Event::Start), [Action::CheckDependencies]);
        scene.launch();
        scene
    }

    #[track_caller]
    fn is(&self, state: State, why: &str) {
        assert_eq!((self.life.state(), self.life.why()), (state, why));
    }
}

#[test]
fn more_time_is_given_to_who_asks_in_time_and_never_less() {
    let rules = Rules { started: Started::Ready, ..Rules::default() };
    let mut scene = Scene::running(rules);
    assert_eq!(scene.life.deadline(), Some(at(60)));
    scene.happens(Happening::Extended(SECOND));
    assert_eq!(scene.life.deadline(), Some(at(60)));
    scene.now = at(59);
    scene.happens(Happening::Extended(SECOND * 5));
    assert_eq!(scene.life.deadline(), Some(at(64)));
    assert_eq!(scene.wait(), [Action::Ask]);
    assert_eq!(scene.life.deadline(), Some(at(94)));
    scene.happens(Happening::Extended(SECOND * 100));
    assert_eq!(scene.life.deadline(), Some(at(164)));
    assert_eq!(scene.wait(), [Action::Kill]);
    // What is being killed gets none.
    scene.happens(Happening::Extended(SECOND));
    assert_eq!(scene.life.deadline(), None);
}

#[test]
fn one_whose_program_ends_and_leaves_nothing_has_not_started() {
    let rules = Rules { started: Started::Ready, forks: true, ..Rules::default() };
    for (outcome, last) in [
        (Outcome::Exited(0), Outcome::NoMainProcess),
        (Outcome::Signalled(15), Outcome::NoMainProcess),
        (Outcome::Exited(3), Outcome::Exited(3)),
    ] {
        let mut scene = Scene::running(rules.clone());
        assert_eq!((scene.life.state(), scene.life.deadline()), (State::Starting, Some(at(60))));
        scene.happens(Happening::Ended(outcome));
        assert_eq!((scene.life.state(), scene.life.last()), (State::Backoff, Some(&last)));
    }
    // From when its main process is known it ends as any other.
    let mut scene = Scene::running(rules);
    scene.happens(Happening::Ready);
    scene.happens(Happening::Ended(Outcome::Exited(0)));
    assert_eq!(scene.life.state(), State::Completed);
}

#[test]
fn what_somebody_else_started_is_done_when_it_has_ended_however_that_was() {
    let restart = Restart { policy: RestartPolicy::No, ..Restart::default() };
    for (attached, state) in [(true, State::Completed), (false, State::Failed)] {
        let mut scene =
            Scene::running(Rules { attached, restart: restart.clone(), ..Rules::default() });
        scene.happens(Happening::Ended(Outcome::Unobserved));
        scene.is(state, "nobody saw how it ended");
    }
}

#[test]
fn it_starts_runs_and_stops() {
    let mut scene = Scene::new(Rules::default());
    scene.event(Event::Start);
    scene.is(State::Pending, "asked to start");
    scene.launch();
    scene.is(State::Running, "its program is executed");
    assert!(scene.life.is_ready());
    assert_eq!(scene.event(Event::Stop), [Action::Ask]);
    scene.is(State::Stopping, "asked to stop");
    assert!(!scene.life.is_ready());
    scene.happens(Happening::Ended(Outcome::Signalled(15)));
    scene.is(State::Inactive, "asked to stop");
    assert_eq!(scene.life.last(), Some(&Outcome::Signalled(15)));
}

#[test]
fn what_does_not_end_in_time_is_killed_and_is_there_until_it_is_gone() {
    let mut scene = Scene::running(Rules::default());
    scene.event(Event::Stop);
    assert_eq!(scene.wait(), [Action::Kill]);
    assert_eq!(scene.now, at(30));
    scene.is(State::Killing, "its grace is over");
    assert_eq!(scene.life.deadline(), None);
    scene.happens(Happening::Ended(Outcome::Signalled(9)));
    assert_eq!(scene.life.state(), State::Inactive);
    assert_eq!(scene.life.last(), Some(&Outcome::StopTimedOut));
}

#[test]
fn trouble_is_followed_by_a_delay_and_another_run() {
    let mut scene = Scene::running(Rules::default());
    scene.happens(Happening::Ended(Outcome::Exited(1)));
    scene.is(State::Backoff, "exited with 1; attempt 1 follows");
    assert_eq!(scene.wait(), [Action::CheckDependencies]);
    assert_eq!(scene.now, Moment(Duration::from_millis(500)));
    scene.launch();
    assert_eq!(scene.life.generation(), Generation(2));
    scene.happens(Happening::Ended(Outcome::OutOfMemory));
    scene.is(State::Backoff, "ran out of memory; attempt 2 follows");
    // Somebody who asks needn't wait, and everything is forgotten.
    scene.event(Event::Start);
    assert_eq!((scene.life.state(), scene.life.attempts()), (State::Pending, 0));
}

#[test]
fn what_ran_well_for_long_enough_begins_anew() {
    let mut scene = Scene::running(Rules::default());
    for _ in 0..50 {
        scene.now = scene.now.after(SECOND * 119);
        scene.happens(Happening::Ended(Outcome::Exited(1)));
        if scene.life.state() == State::Failed {
            break;
        }
        scene.wait();
        scene.launch();
    }
    // Three of them fall into any five minutes, so that it goes on, and with the longest delay.
    assert_eq!((scene.life.state(), scene.life.attempts()), (State::Running, 50));
    scene.now = scene.now.after(SECOND * 120);
    scene.happens(Happening::Ended(Outcome::Exited(1)));
    assert_eq!(scene.life.attempts(), 1);
}

#[test]
fn each_budget_is_used_up_exactly() {
    let rules = Rules { started: Started::Ready, ..Rules::default() };
    let mut scene = Scene::running(rules);
    let mut runs = 1;
    while scene.happens(Happening::Ended(Outcome::Exited(1))).is_empty()
        && scene.life.state() == State::Backoff
    {
        scene.wait();
        scene.launch();
        runs += 1;
    }
    assert_eq!(runs, 6, "the first start and five attempts");
    scene.is(State::Failed, "exited with 1; no more than 5 attempts are made");
    // Another kind of trouble has attempts of its own; somebody who asks gives them all back.
    scene.event(Event::Start);
    scene.launch();
    scene.happens(Happening::Ready);
    scene.rules.restart.health = Budget::new(1, SECOND * 300);
    scene.rules.restart.on_exhausted = OnExhausted::Escalate;
    for (state, actions) in [(State::Backoff, vec![]), (State::Failed, vec![Action::Escalate])] {
        assert_eq!(scene.happens(Happening::LivenessFailed), [Action::Ask]);
        assert_eq!(scene.happens(Happening::Ended(Outcome::Exited(0))), actions);
        assert_eq!((scene.life.state(), scene.life.last()), (state, Some(&Outcome::Liveness)));
        if state == State::Backoff {
            scene.wait();
            scene.launch();
            scene.happens(Happening::Ready);
        }
    }
}

#[test]
fn what_is_never_ready_is_stopped_and_tried_again() {
    let mut scene = Scene::running(Rules { started: Started::Ready, ..Rules::default() });
    assert_eq!(scene.life.state(), State::Starting);
    assert_eq!(scene.wait(), [Action::Ask]);
    assert_eq!(scene.now, at(60));
    scene.happens(Happening::Ended(Outcome::Exited(0)));
    scene.is(State::Backoff, "wasn't ready in time; attempt 1 follows");
}

#[test]
fn a_job_is_done_when_it_ends_and_a_service_that_ends_well_is_as_well() {
    for started in [Started::Ended, Started::Executed] {
        let mut scene = Scene::running(Rules { started, ..Rules::default() });
        scene.happens(Happening::Ended(Outcome::Exited(0)));
        scene.is(State::Completed, "exited with 0");
    }
    let mut always = Rules::default();
    always.restart.policy = RestartPolicy::Always;
    always.restart.statuses.prevent = [ExitStatus::Code(3)].into();
    let mut scene = Scene::running(always);
    scene.happens(Happening::Ended(Outcome::Exited(0)));
    assert_eq!(scene.life.state(), State::Backoff);
    scene.wait();
    scene.launch();
    scene.happens(Happening::Ended(Outcome::Exited(3)));
    scene.is(State::Failed, "exited with 3");
}

#[test]
fn a_stop_while_it_waits_or_is_launched_is_not_lost() {
    let mut scene = Scene::new(Rules::default());
    scene.event(Event::Start);
    scene.event(Event::Stop);
    scene.is(State::Inactive, "asked to stop while it waited");
    assert_eq!(scene.event(Event::DependenciesMet), []);
    scene.event(Event::Start);
    scene.event(Event::DependenciesMet);
    // Nobody is there yet who could be asked.
    assert_eq!(scene.event(Event::Stop), []);
    assert_eq!(scene.happens(Happening::Launched), [Action::Ask]);
    assert_eq!(scene.life.deadline(), Some(at(30)));
    scene.happens(Happening::Ended(Outcome::Exited(0)));
    assert_eq!(scene.life.state(), State::Inactive);
}

#[test]
fn a_restart_waits_for_the_end_of_the_run_before() {
    let mut scene = Scene::running(Rules::default());
    assert_eq!(scene.event(Event::Restart), [Action::Ask]);
    assert_eq!(scene.event(Event::DependenciesMet), []);
    assert_eq!(scene.happens(Happening::Ended(Outcome::Exited(0))), [Action::CheckDependencies]);
    scene.launch();
    assert_eq!(scene.life.generation(), Generation(2));
    // A stop that comes after it has the last word, as has a start after that.
    scene.event(Event::Restart);
    scene.event(Event::Stop);
    scene.happens(Happening::Ended(Outcome::Exited(0)));
    assert_eq!(scene.life.state(), State::Inactive);
}

#[test]
fn what_came_back_is_another_one_for_whom_it_served() {
    let back = || Event::DependencyBack("db".to_owned());
    let mut scene = Scene::running(Rules::default());
    assert_eq!(scene.event(back()), [Action::Ask]);
    scene.is(State::Stopping, "`db`, which it needs, came back");
    assert_eq!(scene.happens(Happening::Ended(Outcome::Exited(0))), [Action::CheckDependencies]);
    scene.event(Event::DependencyFailed("db".to_owned()));
    assert_eq!(scene.event(back()), [Action::CheckDependencies]);
    scene.is(State::Pending, "`db`, which it needs, came back");
    // What somebody stopped stays so.
    scene.event(Event::Stop);
    assert_eq!(scene.event(back()), []);
}

#[test]
fn settings_are_read_anew_and_forever_is_no_answer() {
    let mut scene = Scene::running(Rules { started: Started::Ready, ..Rules::default() });
    scene.happens(Happening::Ready);
    // Of one that tells nothing, nothing can be waited for.
    assert_eq!(scene.event(Event::Reload), [Action::Reload]);
    scene.is(State::Running, "it is ready");
    scene.rules.tells_reload = true;
    assert_eq!(scene.event(Event::Reload), [Action::Reload]);
    scene.is(State::Reloading, "asked to reload");
    assert!(scene.life.is_ready(), "it goes on with its work");
    scene.happens(Happening::Ready);
    scene.is(State::Running, "it has reloaded");
    scene.happens(Happening::Reloading);
    scene.wait();
    scene.is(State::Running, "it never said that it has reloaded");
}

#[test]
fn what_stands_still_is_not_judged_and_its_time_stands_still_too() {
    let mut scene = Scene::running(Rules { run_timeout: Some(SECOND * 100), ..Rules::default() });
    scene.now = at(40);
    assert_eq!(scene.event(Event::Pause), [Action::Freeze]);
    scene.now = at(1000);
    for trouble in [Happening::LivenessFailed, Happening::WatchdogMissed] {
        assert_eq!(scene.happens(trouble), []);
    }
    assert_eq!(scene.event(Event::Time), []);
    assert_eq!(scene.event(Event::Resume), [Action::Thaw]);
    assert_eq!(scene.life.deadline(), Some(at(1060)));
    scene.event(Event::Pause);
    assert_eq!(scene.event(Event::Stop), [Action::Thaw, Action::Ask]);
}

#[test]
fn a_limit_has_the_consequence_that_was_asked_for() {
    let exceeded = |reaction| Happening::Exceeded(Control::Memory, reaction);
    let table = [
        (Reaction::Restart, Action::Ask, State::Backoff),
        (Reaction::Stop, Action::Ask, State::Failed),
        (Reaction::Kill, Action::Kill, State::Backoff),
    ];
    for (reaction, action, state) in table {
        let mut scene = Scene::running(Rules::default());
        assert_eq!(scene.happens(exceeded(reaction)), [action]);
        scene.happens(Happening::Ended(Outcome::Signalled(15)));
        assert_eq!(scene.life.state(), state);
        assert_eq!(scene.life.last(), Some(&Outcome::Limit(Control::Memory)));
    }
    let mut scene = Scene::running(Rules::default());
    assert_eq!(scene.happens(exceeded(Reaction::Freeze)), [Action::Freeze]);
    scene.is(State::Paused, "it exceeded `limits.memory`");
}

#[test]
fn a_readiness_probe_takes_it_out_of_service_and_never_restarts_it() {
    let mut scene = Scene::running(Rules { probed: true, ..Rules::default() });
    assert_eq!((scene.life.state(), scene.life.is_ready()), (State::Running, false));
    scene.happens(Happening::Readiness(true));
    assert!(scene.life.is_ready());
    assert_eq!(scene.happens(Happening::Readiness(false)), []);
    assert_eq!((scene.life.state(), scene.life.is_ready()), (State::Running, false));
}

#[test]
fn what_cannot_be_told_from_a_stranger_is_left_alone() {
    let mut scene = Scene::new(Rules::default());
    scene.life = Lifecycle::unknown(Generation(7), "its start time differs".to_owned());
    for event in [Event::Start, Event::Stop, Event::Kill, Event::Restart, Event::DependenciesMet] {
        assert_eq!(scene.event(event), []);
        scene.is(State::Unknown, "its start time differs");
    }
    scene.event(Event::Reset);
    scene.event(Event::Start);
    scene.launch();
    assert_eq!(scene.life.generation(), Generation(8));
}

/// What stands on disk of a lifecycle is all of it.
fn written_and_read(life: &Lifecycle) -> Lifecycle {
    serde_json::from_str(&serde_json::to_string(life).unwrap()).unwrap()
}

impl Scene {
    /// The supervisor dies, and the next one finds this.
    fn crash(&mut self, left: Left) -> Vec<Action> {
        self.life = written_and_read(&self.life);
        self.life.take_up(&self.rules, left, self.now, 0.0)
    }
}

#[test]
fn the_next_supervisor_goes_on_with_what_runs() {
    let mut scene = Scene::running(Rules { run_timeout: Some(SECOND * 100), ..Rules::default() });
    scene.now = at(40);
    assert_eq!(scene.crash(Left::Run), []);
    scene.is(State::Running, "its program is executed");
    assert!(scene.life.is_ready());
    assert_eq!(scene.life.deadline(), Some(at(100)));
    // What it stands still for is over for a moment, since it has to answer.
    scene.event(Event::Pause);
    assert_eq!(scene.crash(Left::Run), [Action::Freeze]);
    scene.is(State::Paused, "asked to pause");
    // A stop goes on, with what is left of its time.
    scene.event(Event::Stop);
    scene.now = at(50);
    assert_eq!(scene.crash(Left::Run), [Action::Ask]);
    assert_eq!(scene.life.deadline(), Some(at(70)));
    scene.wait();
    assert_eq!(scene.crash(Left::Run), [Action::Kill]);
    scene.is(State::Killing, "its grace is over");
    scene.happens(Happening::Ended(Outcome::Signalled(9)));
    assert_eq!(
        (scene.life.state(), scene.life.last()),
        (State::Inactive, Some(&Outcome::StopTimedOut))
    );
    assert_eq!(scene.crash(Left::Nothing(None)), []);
    scene.is(State::Inactive, "its grace is over");
}

#[test]
fn what_ended_meanwhile_is_judged_as_if_somebody_had_looked() {
    let mut scene = Scene::running(Rules::default());
    assert_eq!(scene.crash(Left::Nothing(Some(Outcome::Exited(3)))), []);
    scene.is(State::Backoff, "exited with 3; attempt 1 follows");
    // The delay goes on, and so does the count.
    assert_eq!(scene.crash(Left::Nothing(None)), []);
    scene.is(State::Backoff, "exited with 3; attempt 1 follows");
    scene.wait();
    assert_eq!(scene.now, Moment(Duration::from_millis(500)));
    assert_eq!(scene.crash(Left::Nothing(None)), [Action::CheckDependencies]);
    scene.launch();
    scene.crash(Left::Nothing(None));
    scene.is(State::Backoff, "nobody saw how it ended; attempt 2 follows");
    scene.event(Event::Stop);
    assert_eq!(scene.crash(Left::Nothing(None)), []);
    assert_eq!(scene.life.state(), State::Inactive);
}

#[test]
fn a_launch_that_was_broken_off_is_no_attempt_and_one_that_was_not_is_no_second_one() {
    let mut scene = Scene::new(Rules::default());
    scene.event(Event::Start);
    scene.event(Event::DependenciesMet);
    assert_eq!(scene.crash(Left::Nothing(None)), [Action::CheckDependencies]);
    assert_eq!((scene.life.state(), scene.life.attempts()), (State::Pending, 0));
    let actions = scene.event(Event::DependenciesMet);
    assert_eq!(actions, [Action::Launch(Generation(2))]);
    assert_eq!(scene.crash(Left::Run), []);
    scene.is(State::Running, "its program is executed");
    assert_eq!(scene.life.generation(), Generation(2));
}

#[test]
fn what_may_be_a_stranger_is_left_alone_until_it_is_known_again() {
    let mut scene = Scene::running(Rules::default());
    assert_eq!(scene.crash(Left::Doubt("it doesn't answer".to_owned())), []);
    scene.is(State::Unknown, "it doesn't answer");
    assert_eq!(scene.event(Event::Stop), []);
    assert_eq!(scene.crash(Left::Run), []);
    scene.is(State::Running, "found again");
    scene.crash(Left::Doubt("it doesn't answer".to_owned()));
    scene.crash(Left::Nothing(None));
    scene.is(State::Backoff, "nobody saw how it ended; attempt 1 follows");
}

#[test]
fn a_boot_leaves_nothing_but_what_was_wanted() {
    let mut scene = Scene::running(Rules::default());
    scene.happens(Happening::Ended(Outcome::Exited(1)));
    scene.wait();
    scene.launch();
    assert_eq!(scene.crash(Left::OtherBoot), []);
    scene.is(State::Inactive, "the system was booted anew");
    assert_eq!((scene.life.attempts(), scene.life.generation()), (0, Generation(2)));
    assert_eq!(scene.event(Event::Start), [Action::CheckDependencies]);
    scene.launch();
    assert_eq!(scene.life.generation(), Generation(3));
}

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
        2 => (0_u8..4).prop_map(Doing::Crash),
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
            (Some(run), 2) if run.launched => Left::Nothing(Some(Outcome::Exited(1))),
            _ => Left::Nothing(None),
        };
        if left != Left::Run {
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
        for _ in 0..4 {
            let Some(run) = &world.run else { break };
            if !run.launched {
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
