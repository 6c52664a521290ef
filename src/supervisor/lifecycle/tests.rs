//! Scenes that are told; `world` has random ones.

mod world;

use super::super::outcome::ExitStatus;
use super::super::restart::{Budget, Restart, RestartPolicy};
use super::*;

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
    let mut scene = Scene::running(Rules::default());
    scene.crash(Left::Doubt("its start time differs".to_owned()));
    for event in [Event::Start, Event::Stop, Event::Kill, Event::Restart, Event::DependenciesMet] {
        assert_eq!(scene.event(event), []);
        scene.is(State::Unknown, "its start time differs");
    }
    scene.event(Event::Reset);
    scene.event(Event::Start);
    scene.launch();
    assert_eq!(scene.life.generation(), Generation(2));
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
fn what_may_be_a_stranger_is_left_alone_until_it_is_known_again_and_goes_on_where_it_was() {
    let doubt = || Left::Doubt("it doesn't answer".to_owned());
    let mut scene = Scene::running(Rules::default());
    assert_eq!(scene.crash(doubt()), []);
    scene.is(State::Unknown, "it doesn't answer");
    assert_eq!(scene.crash(Left::Run), []);
    scene.is(State::Running, "its program is executed");
    scene.crash(doubt());
    scene.crash(doubt());
    scene.crash(Left::Nothing(None));
    scene.is(State::Backoff, "nobody saw how it ended; attempt 1 follows");
    // Nobody had noted that its launch was over.
    scene.wait();
    assert_eq!(scene.event(Event::DependenciesMet), [Action::Launch(Generation(2))]);
    scene.crash(doubt());
    assert_eq!(scene.crash(Left::Run), []);
    scene.is(State::Running, "its program is executed");
    // It was stopped before, and had no time to hear it.
    scene.event(Event::Stop);
    scene.crash(doubt());
    scene.is(State::Unknown, "it doesn't answer");
    assert_eq!(scene.crash(Left::Run), [Action::Ask]);
    scene.is(State::Stopping, "asked to stop");
    assert!(scene.life.deadline().is_some());
    scene.crash(doubt());
    scene.crash(Left::Nothing(None));
    scene.is(State::Inactive, "asked to stop");
}

#[test]
fn what_is_asked_of_one_that_may_be_a_stranger_is_done_when_it_is_known_again() {
    let unknown = || {
        let mut scene = Scene::running(Rules::default());
        scene.crash(Left::Doubt("it doesn't answer".to_owned()));
        scene
    };
    let mut scene = unknown();
    assert_eq!(scene.event(Event::Stop), []);
    assert_eq!(scene.crash(Left::Run), [Action::Ask]);
    scene.is(State::Stopping, "asked to stop");
    let mut scene = unknown();
    scene.event(Event::Kill);
    scene.event(Event::Stop);
    assert_eq!(scene.crash(Left::Run), [Action::Kill]);
    let mut scene = unknown();
    scene.event(Event::Restart);
    assert_eq!(scene.crash(Left::Run), [Action::Ask]);
    assert_eq!(scene.happens(Happening::Ended(Outcome::Exited(0))), [Action::CheckDependencies]);
    let mut scene = unknown();
    scene.event(Event::Stop);
    scene.event(Event::Start);
    assert_eq!(scene.crash(Left::Nothing(None)), [Action::CheckDependencies]);
    let mut scene = unknown();
    scene.event(Event::Stop);
    scene.crash(Left::Nothing(None));
    scene.is(State::Inactive, "asked to stop");
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
