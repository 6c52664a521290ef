//! What is done for each request, and what comes back.

use super::event;
use super::logs;
use super::metric;
use super::openapi;
use super::operation::{Operation, Progress};
use super::problem::Problem;
use super::route::{Call, LONGEST_WAIT, Route, Verb};
use super::server::{Content, json, stream, whole};
use super::view::{DifferenceView, ServiceView};
use super::{Daemon, Peer};
use crate::alerts::NAME;
use crate::error::Error;
use crate::logs::InstanceLog;
use crate::platform::{LaunchPlan, Signal, parse_duration};
use crate::supervisor::{Controller, DifferenceKind, Replicas, State, Status};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub(super) type Answered = Result<Response<Content>, Problem>;
type Queries = BTreeMap<&'static str, String>;

/// How long somebody waits who doesn't say.
const USUAL_WAIT: Duration = Duration::from_secs(60);

impl Daemon {
    /// Does what a request asks for, by somebody who may.
    pub(super) async fn meet(
        self: &Arc<Self>,
        peer: &Peer,
        route: &'static Route,
        chosen: &str,
        queries: &Queries,
        body: &Value,
    ) -> Answered {
        match route.call {
            Call::Services => ok(&json!({ "services": self.services()? })),
            Call::Service => ok(&form(&self.view(&self.known(chosen)?, chosen))?),
            Call::Act(verb) => self.act(peer, verb, chosen, queries).await,
            Call::Signal => self.signal(peer, chosen, queries, body).await,
            Call::Scale => self.scale(peer, chosen, queries, body).await,
            Call::Await => self.wait(chosen, queries).await,
            Call::Operations => ok(&json!({ "operations": form(&self.operations.list())? })),
            Call::Operation => {
                let id = chosen.parse().map_err(|_| no_operation(chosen))?;
                self.told(id, queries).await
            }
            Call::Events => self.events(queries),
            Call::Logs => self.logs(queries).await,
            Call::Alerts => ok(&self.alerts()?),
            Call::TestAlerts => self.test_alerts(peer, body).await,
            Call::Silences => ok(&json!({ "silences": form(&self.alerts.silences())? })),
            Call::Silence => self.silence(peer, body).await,
            Call::Unsilence => self.unsilence(peer, chosen).await,
            Call::Dependencies => ok(&json!({ "services": self.needs() })),
            Call::Stack => ok(&self.stack()),
            Call::Apply => self.apply(peer, queries, body).await,
            Call::Shutdown => {
                self.record(peer, "shutdown", "", "asked")?;
                let id = shut_down(self, false).ok_or_else(too_much)?;
                self.told(id, queries).await
            }
            Call::Reexec => {
                self.record(peer, "reexec", "", "asked")?;
                self.again.store(true, Ordering::Relaxed);
                self.ending.send_replace(true);
                Ok(whole(StatusCode::NO_CONTENT, "text/plain", ""))
            }
            Call::Status => ok(&self.status()),
            Call::Metrics => {
                let kind = "text/plain; version=0.0.4; charset=utf-8";
                let (seen, of_the_whole) = (self.seen().await, self.whole().await);
                Ok(whole(StatusCode::OK, kind, metric::text(&seen, &of_the_whole)))
            }
            Call::Live => Ok(whole(StatusCode::NO_CONTENT, "text/plain", "")),
            Call::Ready => match self.unready().as_slice() {
                [] => Ok(whole(StatusCode::NO_CONTENT, "text/plain", "")),
                missing => {
                    let message = format!("not ready: {}", missing.join(", "));
                    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, message))
                }
            },
            Call::OpenApi => ok(&openapi::document()),
        }
    }

    fn known(&self, name: &str) -> Result<Controller, Problem> {
        self.supervisor.service(name).ok_or_else(|| no_service(name))
    }

    fn view(&self, controller: &Controller, name: &str) -> Option<ServiceView> {
        let stack = self.supervisor.stack();
        Some(ServiceView::new(name, stack.services.get(name)?, &controller.status()))
    }

    fn services(&self) -> Result<Value, Problem> {
        form(&self.views(None))
    }

    /// All services, or only this one.
    pub(super) fn views(&self, only: Option<&str>) -> Vec<ServiceView> {
        let names = self.supervisor.names().into_iter();
        let wanted = names.filter(|name| only.is_none_or(|only| only == name));
        wanted.filter_map(|name| self.view(&self.supervisor.service(&name)?, &name)).collect()
    }

    fn all(&self) -> Vec<(String, Status)> {
        let names = self.supervisor.names().into_iter();
        names
            .filter_map(|name| {
                let status = self.supervisor.service(&name)?.status();
                Some((name, status))
            })
            .collect()
    }

    /// What is known of each service.
    async fn seen(&self) -> Vec<metric::Seen> {
        let (mut all, stack) = (Vec::new(), self.supervisor.stack());
        for name in self.supervisor.names() {
            let Some(controller) = self.supervisor.service(&name) else { continue };
            // What can't be found out has no figure.
            let usage = controller.figures().await.unwrap_or_default();
            let (status, lines) = (controller.status(), controller.log().map(InstanceLog::counts));
            let service = stack.services.get(&name);
            let memory_limit = service.and_then(|service| service.memory_limit());
            all.push(metric::Seen { name, status, usage, memory_limit, lines });
        }
        all
    }

    /// What is known beside that.
    async fn whole(&self) -> metric::Whole {
        let written = self.supervisor.written();
        let replicas = written
            .services
            .keys()
            .filter_map(|name| Some((name.clone(), self.supervisor.replicas(name).ok()?)));
        let (events, adopted) = self.supervisor.totals();
        let mut alerts = BTreeMap::new();
        for rule in written.alerts.rules.keys() {
            for state in ["firing", "pending"] {
                alerts.insert((rule.clone(), state), 0);
            }
        }
        for alert in self.alerts.list() {
            let rule = alert.labels.get(NAME).cloned().unwrap_or_default();
            if let Some(count) = alerts.get_mut(&(rule, alert.state)) {
                *count += 1;
            }
        }
        let began = Instant::now();
        // It does nothing but wait for its turn.
        tokio::spawn(async {}).await.unwrap_or(());
        metric::Whole {
            replicas: replicas.collect(),
            events,
            adopted,
            lag: began.elapsed(),
            alerts,
            silences: u64::try_from(self.alerts.silences().len()).unwrap_or(u64::MAX),
            receivers: self.alerts.receivers(),
        }
    }

    /// Those that are wanted and can't be used.
    fn unready(&self) -> Vec<String> {
        let idle = |state| matches!(state, State::Disabled | State::Inactive | State::Completed);
        let all = self.all().into_iter();
        let missing = all.filter(|(_, status)| !status.ready && !idle(status.state));
        missing.map(|(name, status)| format!("`{name}` ({})", status.state.word())).collect()
    }

    async fn act(
        self: &Arc<Self>,
        peer: &Peer,
        verb: Verb,
        name: &str,
        queries: &Queries,
    ) -> Answered {
        let controller = self.known(name)?;
        let work = async move { carry_out(&controller, verb).await };
        let id = self.begin(peer, verb.word(), Some(name), work)?;
        self.told(id, queries).await
    }

    async fn signal(
        self: &Arc<Self>,
        peer: &Peer,
        name: &str,
        queries: &Queries,
        body: &Value,
    ) -> Answered {
        let controller = self.known(name)?;
        let fields = fields(body, &["signal"])?;
        let word = fields.get("signal").and_then(Value::as_str);
        let word = word.ok_or_else(|| Problem::request("it names no `signal`"))?;
        let signal: Signal = word
            .parse()
            .map_err(|error| Problem::request(format!("`{}` {error}", word.escape_default())))?;
        let work = async move { controller.signal(signal).await };
        let id = self.begin(peer, "signal", Some(name), work)?;
        self.told(id, queries).await
    }

    async fn scale(
        self: &Arc<Self>,
        peer: &Peer,
        name: &str,
        queries: &Queries,
        body: &Value,
    ) -> Answered {
        if !self.supervisor.written().services.contains_key(name) {
            return Err(no_service(name));
        }
        let fields = fields(body, &["replicas"])?;
        let count = fields.get("replicas").and_then(whole_number);
        let count = count
            .ok_or_else(|| Problem::request("it names no `replicas` (a whole number from 0 on)"))?;
        let (daemon, service) = (self.clone(), name.to_owned());
        let work = async move {
            let scaled = daemon.supervisor.scale(&service, count).await?;
            for new in scaled.iter().filter(|it| matches!(it.kind, DifferenceKind::Added)) {
                if let Some(controller) = daemon.supervisor.service(&new.service) {
                    comes(&controller, 0).await?;
                }
            }
            Ok(())
        };
        let id = self.begin(peer, "scale", Some(name), work)?;
        self.told(id, queries).await
    }

    /// Begins what takes its time, for this service or for all, and writes down who asked and what became of it.
    fn begin(
        self: &Arc<Self>,
        peer: &Peer,
        verb: &'static str,
        name: Option<&str>,
        work: impl Future<Output = Result<(), Error>> + Send + 'static,
    ) -> Result<u64, Problem> {
        let service = name.unwrap_or("").to_owned();
        self.record(peer, verb, &service, "asked")?;
        let (daemon, peer) = (self.clone(), peer.clone());
        let recorded = async move {
            let result = work.await.map_err(|error| error.chain());
            let told = result.as_ref().err().map_or("done", String::as_str);
            // What is done can't be undone for that; whoever asks next is refused.
            daemon.record(&peer, verb, &service, told).unwrap_or(());
            result
        };
        self.operations.begin(verb, name, recorded).ok_or_else(too_much)
    }

    /// How an operation stands, once it is over or whoever asks won't wait any longer.
    async fn operation(
        &self,
        id: u64,
        queries: &Queries,
    ) -> Result<(StatusCode, Operation), Problem> {
        let patience = time(queries, "wait", Duration::ZERO);
        let operation = self.operations.wait(id, patience).await;
        let operation = operation.ok_or_else(|| no_operation(&id.to_string()))?;
        let status = if operation.is_over() { StatusCode::OK } else { StatusCode::ACCEPTED };
        Ok((status, operation))
    }

    async fn told(&self, id: u64, queries: &Queries) -> Answered {
        let (status, operation) = self.operation(id, queries).await?;
        Ok(json(status, &form(&operation)?))
    }

    async fn wait(&self, name: &str, queries: &Queries) -> Answered {
        let controller = self.known(name)?;
        let stopped = queries.get("for").is_some_and(|word| word == "stopped");
        let met = |status: &Status| {
            if stopped {
                status.is_at_rest()
            } else {
                status.ready || status.state == State::Completed
            }
        };
        // What is at rest becomes ready by somebody's asking only.
        let over = controller.wait_for(|status| met(status) || rests(status));
        let over = tokio::time::timeout(time(queries, "timeout", USUAL_WAIT), over).await;
        over.unwrap_or_else(|_| Ok(controller.status())).map_err(|error| Problem::of(&error))?;
        let met = met(&controller.status());
        ok(&json!({ "met": met, "service": form(&self.view(&controller, name))? }))
    }

    fn events(self: &Arc<Self>, queries: &Queries) -> Answered {
        let only = queries.get("service").cloned();
        if let Some(name) = &only {
            self.known(name)?;
        }
        Ok(stream("text/event-stream", event::stream(self.clone(), only)))
    }

    async fn logs(self: &Arc<Self>, queries: &Queries) -> Answered {
        let follows = queries.get("follow").is_some_and(|word| word == "yes");
        let last = queries.get("lines").and_then(|text| text.parse().ok());
        let parts = logs::stream(self, logs::query(queries), last, follows).await?;
        Ok(stream("application/x-ndjson", parts))
    }

    fn needs(&self) -> Value {
        let stack = self.supervisor.stack();
        let all = stack.order().into_iter().filter_map(|name| {
            let needs = stack.services.get(name)?.depends_on.iter();
            let needs: BTreeMap<&String, &str> =
                needs.map(|(name, need)| (name, need.condition.word())).collect();
            Some(json!({ "name": name, "depends_on": needs }))
        });
        all.collect()
    }

    fn stack(&self) -> Value {
        let stack = self.supervisor.stack();
        let services: Vec<&String> = stack.services.keys().collect();
        let path = LaunchPlan::readable(self.options.directory.join(&self.options.stack));
        let written = self.supervisor.written();
        let several = written.services.iter().filter(|(_, service)| service.replicas.is_some());
        let replicas: BTreeMap<&String, Value> = several
            .filter_map(|(name, _)| {
                let Replicas { desired, running, ready } = self.supervisor.replicas(name).ok()?;
                Some((name, json!({ "desired": desired, "running": running, "ready": ready })))
            })
            .collect();
        json!({ "name": stack.name, "file": path, "services": services, "replicas": replicas })
    }

    async fn apply(self: &Arc<Self>, peer: &Peer, queries: &Queries, body: &Value) -> Answered {
        let dry_run = match fields(body, &["dry_run"])?.get("dry_run") {
            None => false,
            Some(Value::Bool(dry_run)) => *dry_run,
            Some(_) => return Err(Problem::request("`dry_run` must be true or false")),
        };
        let stack = self.options.load().map_err(|error| Problem::of(&error))?;
        let alerts = self.supervisor.written().alert_differences(&stack);
        let differences = self.supervisor.differences(&stack);
        let changes: Vec<DifferenceView> = differences.iter().map(DifferenceView::new).collect();
        let mut body = json!({
            "applied": false, "changes": form(&changes)?, "alerts": alerts, "operation": null,
        });
        if dry_run {
            return ok(&body);
        }
        let door = self.options.door().map_err(|error| Problem::of(&error))?;
        let daemon = self.clone();
        let work = async move { daemon.put_into_force(stack, door).await.map(drop) };
        let id = self.begin(peer, "apply", None, work)?;
        let (status, operation) = self.operation(id, queries).await?;
        body["applied"] = (operation.state == Progress::Done).into();
        body["operation"] = form(&operation)?;
        Ok(json(status, &body))
    }

    fn status(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_s": self.began.elapsed().as_secs_f64(),
            "services": self.supervisor.names().len(),
            "ending": *self.ending.borrow(),
        })
    }
}

/// Does something with a service, and returns when it is done.
async fn carry_out(controller: &Controller, verb: Verb) -> Result<(), Error> {
    let before = controller.status();
    match verb {
        Verb::Start => {
            controller.start().await?;
            comes(controller, before.generation.0.saturating_sub(1)).await
        }
        Verb::Restart => {
            controller.restart().await?;
            comes(controller, before.generation.0).await
        }
        Verb::Stop => controller.stop().await.map(drop),
        Verb::Kill => controller.kill().await.map(drop),
        Verb::Reset => controller.reset().await,
        Verb::Reload => {
            expect(&before, State::Running, "reload")?;
            controller.reload().await?;
            let over = |status: &Status| status.state != State::Reloading;
            controller.wait_for(over).await.map(drop)
        }
        Verb::Pause => {
            if before.state == State::Paused {
                return Ok(());
            }
            expect(&before, State::Running, "pause")?;
            controller.pause().await?;
            let after = controller.status();
            let told = after.error.filter(|_| after.state != State::Paused);
            told.map_or(Ok(()), |error| Err(Error::asked(error, "")))
        }
        Verb::Resume => {
            if before.state == State::Running {
                return Ok(());
            }
            expect(&before, State::Paused, "go on")?;
            controller.resume().await
        }
    }
}

fn expect(status: &Status, state: State, what: &str) -> Result<(), Error> {
    if status.state == state {
        return Ok(());
    }
    let (is, why) = (status.state.word(), &status.why);
    Err(Error::asked(format!("it can't {what}: it is {is} ({why})"), ""))
}

/// Whether nothing will become of it by itself.
fn rests(status: &Status) -> bool {
    status.is_at_rest() || status.state == State::Unknown
}

/// Waits until it is ready in a later run than this one, or is a job that is done.
async fn comes(controller: &Controller, generation: u64) -> Result<(), Error> {
    let over =
        |status: &Status| status.is_at_rest() || (status.ready && status.generation.0 > generation);
    let status = controller.wait_for(over).await?;
    if status.ready || status.state == State::Completed {
        return Ok(());
    }
    Err(Error::asked(format!("it is {}: {}", status.state.word(), status.why), ""))
}

/// Begins to stop or to kill all services, after which the daemon ends.
pub(super) fn shut_down(daemon: &Arc<Daemon>, at_once: bool) -> Option<u64> {
    // What is stopped from here on is started again with the next daemon.
    daemon.supervisor.close();
    let work = daemon.clone();
    daemon.operations.begin(if at_once { "kill" } else { "shutdown" }, None, async move {
        let supervisor = &work.supervisor;
        let ended = if at_once { supervisor.kill().await } else { supervisor.stop().await };
        // Whatever went wrong, nothing of a service outlives the daemon.
        work.ending.send_replace(true);
        ended.map_err(|error| error.chain())
    })
}

pub(super) fn ok(body: &Value) -> Answered {
    Ok(json(StatusCode::OK, body))
}

pub(super) fn form(value: &impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(value).map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to show it: {error}"))
    })
}

/// The fields of a body, which are some of these.
pub(super) fn fields<'v>(
    body: &'v Value,
    known: &[&str],
) -> Result<std::borrow::Cow<'v, serde_json::Map<String, Value>>, Problem> {
    use std::borrow::Cow;
    match body {
        Value::Null => Ok(Cow::Owned(serde_json::Map::new())),
        Value::Object(fields) => match fields.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(Cow::Borrowed(fields)),
            Some(key) => {
                let message = format!("the body has a field `{}`", key.escape_default());
                Err(Problem::request(message).hint(format!("there is `{}`", known.join("`, `"))))
            }
        },
        _ => Err(Problem::request("the body must be an object")),
    }
}

/// A whole number, also where it is written as `3.0`: JSON makes no difference.
fn whole_number(value: &Value) -> Option<u32> {
    let number = value.as_f64()?;
    let is_whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    is_whole.then(|| format!("{number:.0}").parse().ok())?
}

fn time(queries: &Queries, name: &str, usual: Duration) -> Duration {
    let given = queries.get(name).and_then(|text| parse_duration(text).ok());
    given.unwrap_or(usual).min(LONGEST_WAIT)
}

fn no_service(name: &str) -> Problem {
    let message = format!("there is no service `{}`", name.escape_default());
    Problem::new(StatusCode::NOT_FOUND, message).hint("`stockade ps` lists them")
}

fn no_operation(id: &str) -> Problem {
    let message = format!("there is no operation `{}`, or no longer", id.escape_default());
    Problem::new(StatusCode::NOT_FOUND, message)
}

fn too_much() -> Problem {
    let message = "too many operations are under way";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, message).hint("`/v1/operations` lists them")
}
