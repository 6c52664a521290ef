//! What can be asked of the daemon, once: finding a request's route, its role and the OpenAPI document follow from this table.

use super::role::Role;
use std::collections::BTreeMap;

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Delete,
}

impl Method {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// One thing that can be asked.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    /// With `{name}` for a part that is chosen.
    pub(super) path: &'static str,
    pub(super) role: Role,
    pub(super) call: Call,
    /// One line of meaning, without a full stop.
    pub(super) doc: &'static str,
    /// What may stand behind the `?`.
    pub(super) queries: &'static [Query],
    pub(super) body: Body,
    pub(super) answer: Answer,
}

/// What is done for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Services,
    Service,
    Act(Verb),
    Signal,
    Scale,
    Await,
    Operations,
    Operation,
    Events,
    Logs,
    Alerts,
    TestAlerts,
    Silences,
    Silence,
    Unsilence,
    Dependencies,
    Stack,
    Apply,
    Shutdown,
    Reexec,
    Status,
    Metrics,
    Live,
    Ready,
    OpenApi,
}

/// What is done with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Stop,
    Restart,
    Reload,
    Pause,
    Resume,
    Kill,
    Reset,
}

impl Verb {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Kill => "kill",
            Self::Reset => "reset",
        }
    }
}

/// A parameter behind the `?`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) doc: &'static str,
}

/// How a parameter is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Such as `10s`.
    Time,
    /// A service's name.
    Name,
    /// One of these.
    Word(&'static [&'static str]),
    /// A whole number up to this.
    Number(usize),
}

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Nothing,
    /// An object with `signal`.
    Signal,
    /// An object with `replicas`.
    Scale,
    /// An object with `dry_run`, or nothing.
    Apply,
    /// An object with what a silence is about, until when, and why.
    Silence,
    /// An object with `receiver`, or nothing.
    TestAlerts,
}

/// What is answered where nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// An object of the document's schemas.
    One(&'static str),
    /// An object with a list of them, under this name.
    List(&'static str, &'static str),
    /// An operation: 200 where it is over, else 202.
    Operation,
    Text(&'static str),
    /// Nothing but the status: 204, or 503.
    Health,
    OpenApi,
}

pub(super) const WAIT: Query = Query {
    name: "wait",
    form: Form::Time,
    doc: "how long to wait for the end of the operation, such as `10s`; without it the answer comes at once",
};

const OF: Query = Query { name: "service", form: Form::Name, doc: "only of this service" };

/// The last lines that can be asked for: they are held in memory, to be put in order.
pub(crate) const MOST_LINES: usize = 10_000;

/// Longer than this nobody waits for one answer.
pub(super) const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(3600);

const fn get(path: &'static str, call: Call, answer: Answer, doc: &'static str) -> Route {
    Route {
        method: Method::Get,
        path,
        role: Role::Read,
        call,
        doc,
        queries: &[],
        body: Body::Nothing,
        answer,
    }
}

const fn act(path: &'static str, verb: Verb, doc: &'static str) -> Route {
    let (role, call) = (Role::Operate, Call::Act(verb));
    Route {
        method: Method::Post,
        path,
        role,
        call,
        doc,
        queries: &[WAIT],
        body: Body::Nothing,
        answer: Answer::Operation,
    }
}

/// In the order of the document.
pub(super) static ROUTES: &[Route] = &[
    get(
        "/v1/services",
        Call::Services,
        Answer::List("services", "Service"),
        "All services, as they are now",
    ),
    get("/v1/services/{name}", Call::Service, Answer::One("Service"), "One service, as it is now"),
    Route {
        queries: &[
            Query {
                name: "for",
                form: Form::Word(&["ready", "stopped"]),
                doc: "what to wait for: `ready`, the usual, or `stopped`",
            },
            Query {
                name: "timeout",
                form: Form::Time,
                doc: "how long, such as `10s`; else a minute",
            },
        ],
        ..get(
            "/v1/services/{name}/await",
            Call::Await,
            Answer::One("Awaited"),
            "Wait until a service is ready, or until nothing of it runs; or until it can't become so by itself",
        )
    },
    act(
        "/v1/services/{name}/start",
        Verb::Start,
        "Start a service, and forget what went wrong; over when it is ready",
    ),
    act(
        "/v1/services/{name}/stop",
        Verb::Stop,
        "Ask a service to end; over when nothing of it is left",
    ),
    act(
        "/v1/services/{name}/restart",
        Verb::Restart,
        "Stop a service and start it anew; over when it is ready again",
    ),
    act("/v1/services/{name}/reload", Verb::Reload, "Have a service read its settings anew"),
    act("/v1/services/{name}/pause", Verb::Pause, "Let all of a service stand still"),
    act("/v1/services/{name}/resume", Verb::Resume, "Let a service go on"),
    act(
        "/v1/services/{name}/kill",
        Verb::Kill,
        "End a service at once; over when nothing of it is left",
    ),
    act(
        "/v1/services/{name}/reset",
        Verb::Reset,
        "Forget that a service failed, and what went wrong before",
    ),
    Route {
        body: Body::Signal,
        call: Call::Signal,
        ..act(
            "/v1/services/{name}/signal",
            Verb::Kill,
            "Send a service's program a signal; it isn't taken for a stop",
        )
    },
    Route {
        body: Body::Scale,
        call: Call::Scale,
        ..act(
            "/v1/services/{name}/scale",
            Verb::Start,
            "Have a service with `replicas` run so many times, until the stack is applied again; over when the new instances are ready and nothing is left of those that are too many",
        )
    },
    get(
        "/v1/operations",
        Call::Operations,
        Answer::List("operations", "Operation"),
        "What is under way, and the last of what was; the newest first",
    ),
    Route {
        queries: &[WAIT],
        ..get("/v1/operations/{id}", Call::Operation, Answer::One("Operation"), "One operation")
    },
    Route {
        queries: &[OF],
        ..get(
            "/v1/events",
            Call::Events,
            Answer::Text("text/event-stream"),
            "A stream: `snapshot` with all services, then each `change` of one; `alert` where one turns; `lost` with a count for a reader that is too slow, followed by another snapshot",
        )
    },
    Route {
        queries: &[
            OF,
            Query { name: "since", form: Form::Time, doc: "only what isn't older, such as `10m`" },
            Query {
                name: "stream",
                form: Form::Word(&["stdout", "stderr"]),
                doc: "only of this stream",
            },
            Query {
                name: "level",
                form: Form::Word(&[
                    "emergency",
                    "alert",
                    "critical",
                    "error",
                    "warning",
                    "notice",
                    "info",
                    "debug",
                ]),
                doc: "only what says it is as grave as this",
            },
            Query {
                name: "lines",
                form: Form::Number(MOST_LINES),
                doc: "of what is kept only the last so many",
            },
            Query {
                name: "follow",
                form: Form::Word(&["yes", "no"]),
                doc: "whether to go on with what is written from now on",
            },
        ],
        ..get(
            "/v1/logs",
            Call::Logs,
            Answer::Text("application/x-ndjson"),
            "What services wrote, in the order of time: one JSON object a line",
        )
    },
    get(
        "/v1/alerts",
        Call::Alerts,
        Answer::One("Alerts"),
        "Alerts that are pending or fire, and who is told of them",
    ),
    Route {
        method: Method::Post,
        role: Role::Operate,
        body: Body::TestAlerts,
        ..get(
            "/v1/alerts/test",
            Call::TestAlerts,
            Answer::List("receivers", "AlertTest"),
            "Tell receivers of an alert that is none, and what came of it",
        )
    },
    get(
        "/v1/silences",
        Call::Silences,
        Answer::List("silences", "Silence"),
        "Silences that last, the oldest first",
    ),
    Route {
        method: Method::Post,
        role: Role::Operate,
        body: Body::Silence,
        ..get(
            "/v1/silences",
            Call::Silence,
            Answer::One("Silence"),
            "Have nobody told of some alerts for a while",
        )
    },
    Route {
        method: Method::Delete,
        role: Role::Operate,
        ..get("/v1/silences/{id}", Call::Unsilence, Answer::Health, "End a silence")
    },
    get(
        "/v1/dependencies",
        Call::Dependencies,
        Answer::List("services", "Needs"),
        "What services need of each other, in the order in which they are started",
    ),
    get("/v1/stack", Call::Stack, Answer::One("Stack"), "The stack that is in force"),
    Route {
        method: Method::Post,
        role: Role::Admin,
        body: Body::Apply,
        queries: &[WAIT],
        ..get(
            "/v1/stack/apply",
            Call::Apply,
            Answer::One("Applied"),
            "Read the stack file again and put it into force, as an operation: what is the same goes on undisturbed",
        )
    },
    Route {
        role: Role::Admin,
        call: Call::Shutdown,
        ..act("/v1/shutdown", Verb::Stop, "Stop all services, and end the daemon")
    },
    Route {
        method: Method::Post,
        role: Role::Admin,
        ..get(
            "/v1/reexec",
            Call::Reexec,
            Answer::Health,
            "Execute the daemon's program anew, with the same words, while services go on: for another version of it",
        )
    },
    get("/v1/status", Call::Status, Answer::One("Daemon"), "The daemon itself"),
    get(
        "/metrics",
        Call::Metrics,
        Answer::Text("text/plain; version=0.0.4"),
        "Figures in Prometheus' text format",
    ),
    get("/live", Call::Live, Answer::Health, "Whether the daemon answers"),
    get("/ready", Call::Ready, Answer::Health, "Whether all services are ready that are wanted"),
    get("/openapi.json", Call::OpenApi, Answer::OpenApi, "This document"),
];

/// What a request means.
#[derive(Debug)]
pub(super) enum Found {
    /// This, with the part of its path that was chosen.
    Route(&'static Route, Option<String>),
    /// There is something, but not by this method: by these.
    OtherMethods(String),
    Nothing,
}

/// The route of a request.
pub(super) fn find(method: &str, path: &str) -> Found {
    let mut methods = Vec::new();
    for route in ROUTES {
        match (fits(route.path, path), route.method.word() == method) {
            (Some(chosen), true) => return Found::Route(route, chosen),
            (Some(_), false) => methods.push(route.method.word()),
            (None, _) => {}
        }
    }
    if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods.join(", ")) }
}

/// The part that was chosen, where a path is of this form.
fn fits(form: &str, path: &str) -> Option<Option<String>> {
    let (mut form, mut path) = (form.split('/'), path.split('/'));
    let mut chosen = None;
    loop {
        match (form.next(), path.next()) {
            (None, None) => return Some(chosen),
            (Some(part), Some(given)) if part.starts_with('{') && !given.is_empty() => {
                chosen = Some(given.to_owned());
            }
            (Some(part), Some(given)) if part == given => {}
            _ => return None,
        }
    }
}

/// The parameters of a request, of those that its route has.
pub(super) fn queries(route: &Route, text: &str) -> Result<BTreeMap<&'static str, String>, String> {
    let mut given = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(query) = route.queries.iter().find(|query| query.name == name) else {
            return Err(format!("`{}` is no parameter here", name.escape_default()));
        };
        let well = match query.form {
            Form::Time => crate::platform::parse_duration(value).is_ok(),
            Form::Name => !value.is_empty(),
            Form::Word(words) => words.contains(&value),
            Form::Number(most) => {
                value.bytes().all(|byte| byte.is_ascii_digit())
                    && value.parse().is_ok_and(|number: usize| number <= most)
            }
        };
        if !well {
            let form = match query.form {
                Form::Time => "a duration such as `10s`".to_owned(),
                Form::Name => "the name of a service".to_owned(),
                Form::Word(words) => format!("one of {}", words.join(", ")),
                Form::Number(most) => format!("a whole number from 0 to {most}"),
            };
            return Err(format!("`{name}` must be {form}, not `{}`", value.escape_default()));
        }
        if given.insert(query.name, value.to_owned()).is_some() {
            return Err(format!("`{name}` is there twice"));
        }
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_route_and_a_wrong_method_is_told_the_right_ones() {
        let Found::Route(route, chosen) = find("POST", "/v1/services/web/stop") else { panic!() };
        assert_eq!((route.call, chosen.as_deref()), (Call::Act(Verb::Stop), Some("web")));
        for path in ["/v1/services/", "/v1/services/a/b/c", "/v1", "//live", "", "/live/"] {
            assert!(matches!(find("GET", path), Found::Nothing), "{path}");
        }
        let Found::OtherMethods(methods) = find("DELETE", "/v1/services/web/stop") else {
            panic!()
        };
        assert_eq!(methods, "POST");
    }

    #[test]
    fn reading_takes_the_least_role_and_doing_takes_more() {
        for route in ROUTES {
            let least = if route.method == Method::Get { Role::Read } else { Role::Operate };
            assert_eq!(route.role == Role::Read, route.method == Method::Get, "{}", route.path);
            assert!(route.role >= least, "{}", route.path);
        }
    }

    #[test]
    fn parameters_are_those_of_the_route_and_well_formed() {
        let Found::Route(route, _) = find("GET", "/v1/services/web/await") else { panic!() };
        let told = |text: &str| queries(route, text);
        assert_eq!(told("for=ready&timeout=5s").unwrap()["timeout"], "5s");
        assert_eq!(told("").unwrap().len(), 0);
        insta::assert_snapshot!(told("fro=ready").unwrap_err(), @"`fro` is no parameter here");
        insta::assert_snapshot!(told("for=later").unwrap_err(), @"`for` must be one of ready, stopped, not `later`");
        insta::assert_snapshot!(told("timeout=5%20s").unwrap_err(), @"`timeout` must be a duration such as `10s`, not `5%20s`");
        insta::assert_snapshot!(told("for=ready&for=ready").unwrap_err(), @"`for` is there twice");
    }
}
