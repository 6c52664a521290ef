//! Keys of a policy: the other walls, and how the program is started.

use super::super::draft::Draft;
use super::super::key::{Choice, Count, Key, Kind, Names, Values};
use super::super::shown::{mode_of, one, secrets_of};
use super::number;
use crate::platform::{
    AllowRule, Control, LaunchPlan, Network, OnViolation, Publish, SecretSource,
};
use std::sync::Arc;

/// In the order of the documentation.
pub(super) static KEYS: &[Key] = &[
    Key {
        path: "network.mode",
        flag: "net",
        kind: Kind::Choice(&[
            Choice {
                word: "none",
                doc: "a loopback interface of its own, nothing else",
                set: |draft| draft.policy.network = Network::None,
            },
            Choice {
                word: "host",
                doc: "the host's network, all of it",
                set: |draft| draft.policy.network = Network::Host,
            },
            Choice {
                word: "filtered",
                doc: "a loopback interface of its own, and through proxies whom `allow` names",
                set: |draft| draft.policy.network = Network::Filtered,
            },
        ]),
        doc: "what of the network can be reached",
        example: "\"none\"",
        show: |draft| vec![mode_of(&draft.policy.network)],
    },
    Key {
        path: "network.allow",
        flag: "allow",
        kind: Kind::Names(Names::Destinations, Draft::allow_destination),
        doc: "whom a filtered network lets out to: `name`, `*.name` (what is below it), an address or a network, each with `:port` or `:*`, else ports 80 and 443",
        example: "[\"example.org:443\"]",
        show: |draft| draft.policy.allow.iter().map(AllowRule::to_string).collect(),
    },
    Key {
        path: "network.publish",
        flag: "publish",
        kind: Kind::Names(Names::Published, Draft::publish),
        doc: "ports of this host that lead to ports inside of a filtered network; without an address, those of the host's loopback interface",
        example: "[\"8080:80\"]",
        show: |draft| draft.policy.publish.iter().map(Publish::to_string).collect(),
    },
    Key {
        path: "network.tcp_bind",
        flag: "tcp-bind",
        kind: Kind::Ports(|draft, ports| draft.policy.tcp.bind = ports),
        doc: "TCP ports that it may listen on, held by the kernel; `none` for nothing, 0 for one that the kernel chooses",
        example: "\"8080\"",
        show: |draft| one(draft.policy.tcp.bind.as_ref()),
    },
    Key {
        path: "network.tcp_connect",
        flag: "tcp-connect",
        kind: Kind::Ports(|draft, ports| draft.policy.tcp.connect = ports),
        doc: "TCP ports that it may connect to, held by the kernel, whatever the address; `none` for nothing; the proxy's of a filtered network comes on top",
        example: "\"443,8000-8010\"",
        show: |draft| one(draft.policy.tcp.connect.as_ref()),
    },
    Key {
        path: "identity.user",
        flag: "user",
        kind: number(|draft, user| draft.policy.identity.user = user),
        doc: "user number seen inside; else the caller's own, or 1000 when the caller is privileged",
        example: "1000",
        show: |draft| one(draft.policy.identity.user),
    },
    Key {
        path: "identity.group",
        flag: "group",
        kind: number(|draft, group| draft.policy.identity.group = group),
        doc: "group number seen inside; else as for the user",
        example: "1000",
        show: |draft| one(draft.policy.identity.group),
    },
    Key {
        path: "identity.ids",
        flag: "ids",
        kind: Kind::Count(Count {
            least: 1,
            // Far above what a system inside has, and far below what Stockade's own range of the host holds.
            most: 1 << 20,
            off: "",
            set: |draft, ids| draft.policy.identity.ids = ids,
        }),
        doc: "how many users and groups there are inside, counted from 0; else only the program's own",
        example: "65536",
        show: |draft| one(draft.policy.identity.ids),
    },
    Key {
        path: "identity.range",
        flag: "id-range",
        kind: Kind::Range(|draft, range| draft.policy.identity.range = Some(range)),
        doc: "numbers of the host that those are taken from; else Stockade's own or, of a user, those of /etc/subuid and /etc/subgid",
        example: "\"200000-265535\"",
        show: |draft| one(draft.policy.identity.range),
    },
    Key {
        path: "identity.hostname",
        flag: "hostname",
        kind: Kind::HostName(|draft, name| draft.policy.identity.hostname = Some(name.into())),
        doc: "host name seen inside",
        example: "\"worker\"",
        show: |draft| one(draft.policy.identity.hostname.as_ref()),
    },
    Key {
        path: "capabilities.keep",
        flag: "keep-capability",
        kind: Kind::Names(Names::Capabilities, Draft::keep_capability),
        doc: "privileged abilities that stay, within what the sandbox owns",
        example: "[\"CAP_NET_BIND_SERVICE\"]",
        show: |draft| draft.policy.capabilities.keep.clone(),
    },
    Key {
        path: "syscalls.base",
        flag: "syscalls",
        kind: Kind::Choice(&[
            Choice {
                word: "default",
                doc: "what ordinary programs need",
                set: |draft| draft.calls.base = "default",
            },
            Choice {
                word: "none",
                doc: "what starting a program needs and nothing else: name the rest in `allow`",
                set: |draft| draft.calls.base = "none",
            },
        ]),
        doc: "the list of system calls to begin with",
        example: "\"default\"",
        show: |draft| vec![draft.calls.base.to_owned()],
    },
    Key {
        path: "syscalls.allow",
        flag: "allow-syscall",
        kind: Kind::Names(Names::SystemCalls, |draft, name| draft.calls.allow(name)),
        doc: "system calls that may be made too: `name` (within the rules for its arguments), `name:any`, or `@group`",
        example: "[\"ptrace\"]",
        show: |draft| draft.calls.allowed().map(str::to_owned).collect(),
    },
    Key {
        path: "syscalls.deny",
        flag: "deny-syscall",
        kind: Kind::Names(Names::SystemCalls, |draft, name| draft.calls.deny(name)),
        doc: "system calls that may not be made, whatever the list says: `name` or `@group`",
        example: "[\"@network\"]",
        show: |draft| draft.calls.denied().map(str::to_owned).collect(),
    },
    Key {
        path: "syscalls.rules",
        flag: "syscall-rule",
        kind: Kind::Rules(|draft, rule| draft.calls.rule(rule)),
        doc: "system calls that may be made only so (`arg0`, `arg0_not`, `arg0_has`, ...), or that get something of their own then (`action`)",
        example: "[{ name = \"socket\", arg0 = [\"AF_UNIX\", \"AF_INET\"] }, { name = \"ioctl\", arg1_not = [\"TIOCSTI\", \"TIOCLINUX\"] }, { name = \"@mount\", action = \"errno ENOSYS\" }]",
        show: |draft| draft.calls.rules().map(|rule| rule.text().to_owned()).collect(),
    },
    Key {
        path: "syscalls.on_violation",
        flag: "on-violation",
        kind: Kind::Choice(&[
            Choice {
                word: "error",
                doc: "the call fails with an error",
                set: |draft| {
                    Arc::make_mut(&mut draft.policy.syscalls).on_violation = OnViolation::Error
                },
            },
            Choice {
                word: "kill",
                doc: "the process ends",
                set: |draft| {
                    Arc::make_mut(&mut draft.policy.syscalls).on_violation = OnViolation::Kill
                },
            },
        ]),
        doc: "what a forbidden system call gets",
        example: "\"error\"",
        show: |draft| vec![mode_of(&draft.policy.syscalls.on_violation)],
    },
    Key {
        path: "clock.monotonic",
        flag: "clock-monotonic",
        kind: Kind::Offset(|draft, seconds| draft.policy.clock.monotonic = seconds),
        doc: "added to the monotonic clock, in whole seconds",
        example: "\"1h\"",
        show: |draft| vec![format!("{}s", draft.policy.clock.monotonic)],
    },
    Key {
        path: "clock.boottime",
        flag: "clock-boottime",
        kind: Kind::Offset(|draft, seconds| draft.policy.clock.boottime = seconds),
        doc: "added to the clock that counts from the start of the system (uptime), in whole seconds",
        example: "\"-90s\"",
        show: |draft| vec![format!("{}s", draft.policy.clock.boottime)],
    },
    Key {
        path: "environment.keep",
        flag: "keep-env",
        kind: Kind::Names(Names::Variables, Draft::keep_variable),
        doc: "variables of the caller that are passed on",
        example: "[\"TERM\"]",
        show: |draft| draft.policy.environment.keep.clone(),
    },
    Key {
        path: "environment.set",
        flag: "env",
        kind: Kind::Pairs(Names::Variables, Values::Texts, |draft, name, value| {
            draft.policy.set_variable(name, &value.to_string_lossy());
        }),
        doc: "variables and their values",
        example: "{ LANG = \"C.UTF-8\" }",
        show: |draft| {
            draft
                .policy
                .environment
                .set
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        },
    },
    Key {
        path: "secrets.files",
        flag: "secret",
        kind: Kind::Pairs(Names::Secrets, Values::Paths, |draft, name, path| {
            draft.add_secret(name, SecretSource::File(path.into()));
        }),
        doc: "secrets, and the host file that each is read from at the launch",
        example: "{ db_password = \"/srv/keys/db\" }",
        show: |draft| {
            secrets_of(draft, |source| match source {
                SecretSource::File(path) => Some(LaunchPlan::readable(path)),
                _ => None,
            })
        },
    },
    Key {
        path: "secrets.environment",
        flag: "secret-env",
        kind: Kind::Pairs(Names::Secrets, Values::Variables, |draft, name, variable| {
            let variable = variable.to_string_lossy().into_owned();
            draft.add_secret(name, SecretSource::Variable(variable));
        }),
        doc: "secrets, and the caller's variable that holds each",
        example: "{ token = \"API_TOKEN\" }",
        show: |draft| {
            secrets_of(draft, |source| match source {
                SecretSource::Variable(name) => Some(name.clone()),
                _ => None,
            })
        },
    },
    Key {
        path: "process.init",
        flag: "init",
        kind: Kind::Switch(|draft, init| draft.policy.init = init),
        doc: "whether a small init is the first process and takes care of orphans; else the program is",
        example: "true",
        show: |draft| vec![draft.policy.init.to_string()],
    },
    Key {
        path: "degrade.allow",
        flag: "degrade",
        kind: Kind::Names(Names::Controls, Draft::degrade),
        doc: "controls that may be held less well, or not at all, where the host can't; the report says so",
        example: "[\"limits.memory\"]",
        show: |draft| draft.policy.degrade.iter().map(Control::to_string).collect(),
    },
];
