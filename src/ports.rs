//! The system calls with which a program would get round the kernel's rules for TCP ports. Pure.
//!
//! Landlock looks at connect(2) and bind(2) of TCP sockets and at nothing else. MPTCP reaches the same servers, SCTP and SMC
//! others on the same ports; fast open connects in the call that sends. A program that tries one of these is told that it isn't there, and takes plain
//! TCP, as it would on a host without.

use crate::platform::{ArgumentTest, Compare, Errno, SyscallAnswer, SyscallRule};

const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;
/// The bits of a socket's type that aren't flags.
const TYPE: u64 = 0xf;
const SOCK_RAW: u64 = 3;
/// ICMP, TCP, UDP and ICMPv6; 0 is the usual one of the type.
const PROTOCOLS: [u64; 5] = [0, 1, 6, 17, 58];
const MSG_FASTOPEN: u64 = 0x2000_0000;

const EOPNOTSUPP: u16 = 95;
const EPROTONOSUPPORT: u16 = 93;
const EAFNOSUPPORT: u16 = 97;

/// Rules to look at before all others.
pub(crate) fn rules() -> Vec<SyscallRule> {
    let test = |index, compare| ArgumentTest { index, compare, wide: false };
    let rule = |name: &str, tests, errno| {
        let answer = Errno::new(errno).map_or(SyscallAnswer::Violation, SyscallAnswer::Error);
        SyscallRule { name: name.to_owned(), tests, answer }
    };
    let none_of = |index, values: &[u64]| -> Vec<ArgumentTest> {
        values.iter().map(|value| test(index, Compare::NotEqual(*value))).collect()
    };
    let mut all =
        vec![rule("socket", none_of(0, &[AF_UNIX, AF_INET, AF_INET6, AF_NETLINK]), EAFNOSUPPORT)];
    for family in [AF_INET, AF_INET6] {
        let of = test(0, Compare::Equal(family));
        let mut tests = vec![of];
        tests.extend(none_of(2, &PROTOCOLS));
        all.push(rule("socket", tests, EPROTONOSUPPORT));
        // From SOCK_RDM up: RDM, SEQPACKET, DCCP and whatever comes.
        for kind in SOCK_RAW + 1..=TYPE {
            let kind = test(1, Compare::Masked { mask: TYPE, value: kind });
            all.push(rule("socket", vec![of, kind], EPROTONOSUPPORT));
        }
    }
    for (name, flags) in [("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)] {
        all.push(rule(name, vec![test(flags, Compare::Any(MSG_FASTOPEN))], EOPNOTSUPP));
    }
    all
}
