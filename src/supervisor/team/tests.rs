//! All services together, on a backend that does what it is told.

use super::*;
use crate::platform::fake::FakeBackend;
use crate::platform::{Ended, HowEnded, Signal};
use crate::supervisor::{DifferenceKind, State};
use std::path::Path;

fn stack(text: &str) -> Stack {
    let scene = tempfile::tempdir().unwrap();
    let path = scene.path().join("stockade.toml");
    std::fs::write(&path, text).unwrap();
    Stack::load(&path, Path::new("/")).unwrap()
}

fn service(name: &str, rest: &str) -> String {
    format!("[services.{name}]\ncommand = \"{name}\"\npolicy = \"default\"\n{rest}\n")
}

fn team(text: &str) -> (Supervisor, Arc<FakeBackend>) {
    let fake = Arc::new(FakeBackend::new());
    let backend: Arc<dyn Backend> = fake.clone();
    (Supervisor::start_with(&stack(text), Some(&backend)).0, fake)
}

#[tokio::test(start_paused = true)]
async fn another_stack_changes_only_what_has_changed() {
    let before = [
        service("same", ""),
        service("mild", ""),
        service("new-command", ""),
        service("leaves", ""),
    ];
    let (supervisor, fake) = team(&before.concat());
    for name in supervisor.names() {
        supervisor.service(&name).unwrap().ready().await.unwrap();
    }
    let runs = |name: &str| supervisor.service(name).map(|it| it.status().generation.0);
    let after = [
        service("same", ""),
        service("mild", "restart = { delay = \"9s\" }"),
        service("new-command", "description = \"x\"\nstart_timeout = \"9s\""),
        service("comes", "depends_on = [\"same\"]"),
    ];
    let launched = fake.launched().len();
    let applying = supervisor.apply(stack(&after.concat()));
    let differences = applying.await.unwrap();
    let kinds: Vec<DifferenceKind> = differences.iter().map(|it| it.kind).collect();
    use DifferenceKind::{Added, Changed, Removed};
    assert_eq!(kinds, [Added, Removed, Changed, Changed]);
    assert_eq!(supervisor.names(), ["comes", "mild", "new-command", "same"]);
    supervisor.service("comes").unwrap().ready().await.unwrap();
    assert_eq!((runs("same"), runs("mild"), runs("comes")), (Some(1), Some(1), Some(1)));
    // It ends as was agreed when it began, and begins as is agreed now.
    let again = |status: &Status| status.ready && status.generation.0 == 2;
    supervisor.service("new-command").unwrap().wait_for(again).await.unwrap();
    assert_eq!(fake.launched().len(), launched + 2);
}

#[tokio::test(start_paused = true)]
async fn a_service_runs_as_often_as_it_is_said_and_who_needs_it_needs_all_of_it() {
    let text = [
        service("web", "replicas = 2"),
        service("once", ""),
        service("needs", "depends_on = [\"web\"]"),
    ];
    let (supervisor, fake) = team(&text.concat());
    let ready = |name: &str| {
        let controller = supervisor.service(name).unwrap();
        async move { controller.ready().await.unwrap() }
    };
    ready("needs").await;
    assert_eq!(supervisor.names(), ["needs", "once", "web.1", "web.2"]);
    let instance = |run: &crate::platform::fake::FakeHandle| {
        let its =
            |(name, _): &&(std::ffi::OsString, std::ffi::OsString)| name == "STOCKADE_INSTANCE";
        run.plan
            .environment
            .iter()
            .find(its)
            .map(|(_, number)| number.to_string_lossy().into_owned())
    };
    let instances: Vec<String> = fake.launched().iter().filter_map(instance).collect();
    assert_eq!(instances, ["1", "2"]);
    supervisor.scale("web", 3).await.unwrap();
    ready("web.3").await;
    let all = Replicas { desired: 3, running: 3, ready: 3 };
    assert_eq!(supervisor.replicas("web").unwrap(), all);
    // The others have gone on.
    assert_eq!(fake.launched().len(), 5);
    let scaling = supervisor.scale("web", 1);
    let ending = async {
        for run in fake.launched() {
            run.end(Ended::new(HowEnded::Exited(0)));
        }
    };
    let (scaled, ()) = tokio::join!(scaling, ending);
    scaled.unwrap();
    assert_eq!(supervisor.names(), ["needs", "once", "web.1"]);
    assert_eq!(supervisor.replicas("web").unwrap().desired, 1);
    let error = supervisor.scale("once", 2).await.unwrap_err();
    assert_eq!(error.to_string(), "`once` isn't one that runs several times");
    assert!(supervisor.scale("none", 2).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn members_of_a_group_are_started_again_together_by_its_strategy() {
    for (strategy, runs) in
        [("one_for_one", [1, 2, 1]), ("rest_for_one", [1, 2, 2]), ("one_for_all", [2, 2, 2])]
    {
        let services = ["a", "b", "c"].map(|name| service(name, "stop.grace_period = \"0s\""));
        let group =
            format!("[groups.g]\nstrategy = \"{strategy}\"\nmembers = [\"a\", \"b\", \"c\"]");
        let (supervisor, fake) = team(&(services.concat() + &group));
        for name in supervisor.names() {
            supervisor.service(&name).unwrap().ready().await.unwrap();
        }
        let b = fake.launched().into_iter().find(|run| run.plan.id.starts_with("b-")).unwrap();
        b.end(Ended::new(HowEnded::Exited(1)));
        for (name, runs) in ["a", "b", "c"].iter().zip(runs) {
            let service = supervisor.service(name).unwrap();
            let is = |status: &Status| status.ready && status.generation.0 == runs;
            let waiting = service.wait_for(is);
            tokio::time::timeout(std::time::Duration::from_secs(60), waiting)
                .await
                .unwrap_or_else(|_| panic!("{strategy}: {name}: {:?}", service.status()))
                .unwrap();
        }
        // It was trouble once, and the others' start wasn't.
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        let total: u64 = runs.iter().sum::<u64>();
        assert_eq!(fake.launched().len() as u64, total, "{strategy}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_stopped_stays_so_and_what_had_failed_is_tried_again() {
    let text = [service("stopped", ""), service("failed", "restart = { policy = \"no\" }")];
    let (supervisor, fake) = team(&text.concat());
    let (stopped, failed) =
        (supervisor.service("stopped").unwrap(), supervisor.service("failed").unwrap());
    failed.ready().await.unwrap();
    stopped.stop().await.unwrap();
    fake.launched().iter().for_each(|run| run.end(Ended::new(HowEnded::Exited(1))));
    failed.wait_for(|status| status.state == State::Failed).await.unwrap();
    let text = [
        service("stopped", "type = \"oneshot\""),
        service("failed", "stop = { signal = \"INT\" }"),
    ];
    supervisor.apply(stack(&text.concat())).await.unwrap();
    failed.ready().await.unwrap();
    assert_eq!(stopped.status().state, State::Inactive);
    failed.stop().await.unwrap();
    let heard = fake.launched().pop().unwrap().signals();
    assert_eq!(heard[0], Signal::Interrupt);
}

#[tokio::test(start_paused = true)]
async fn notices_are_numbered_and_who_does_not_listen_is_told_what_was_lost() {
    let (supervisor, _fake) = team(&service("web", ""));
    let (mut early, mut late) = (supervisor.notices(), supervisor.notices());
    let web = supervisor.service("web").unwrap();
    web.ready().await.unwrap();
    let mut states = Vec::new();
    for number in 1..=3 {
        let notice = early.next().await.unwrap().unwrap();
        assert_eq!((notice.number, &*notice.service), (number, "web"));
        states.push(notice.status.state.word());
    }
    assert_eq!(states, ["pending", "starting", "running"]);
    for _ in 0..1000 {
        web.pause().await.unwrap();
        web.resume().await.unwrap();
    }
    let lost = late.next().await.unwrap().unwrap_err();
    assert_eq!(late.next().await.unwrap().unwrap().number, lost + 1);
    assert_eq!(web.status().counts, crate::supervisor::Counts::default());
}
