//! Wrong policies and their exact messages: one row each.

use super::{Place, only_problem};

/// Every row is told with exactly this one problem and exit code 125.
#[track_caller]
fn all_refused(rows: &[(&str, &str)]) {
    for (text, message) in rows {
        assert_eq!(only_problem(text), format!("p.toml:{message}"), "{text}");
    }
}

#[test]
fn unknown_keys_are_told_with_the_likely_one() {
    all_refused(&[
        ("descripton = 'x'", "1:1: descripton: unknown key (did you mean `description`?)"),
        ("qwertyuiop = 1", "1:1: qwertyuiop: unknown key"),
        ("memory = '1MiB'", "1:1: memory: unknown key (did you mean `limits.memory`?)"),
        ("[limit]\npids = 3", "1:2: limit: unknown section (did you mean `limits`?)"),
        ("[qwertyuiop]", "1:2: qwertyuiop: unknown section"),
        ("[limits]\nmemroy = '1MiB'", "2:1: limits.memroy: unknown key (did you mean `memory`?)"),
        (
            "[limits]\nmemory-high = 1",
            "2:1: limits.memory-high: unknown key (did you mean `memory_high`?)",
        ),
        ("[limits]\nread = []", "2:1: limits.read: unknown key (did you mean `filesystem.read`?)"),
        ("limits.memry = 1", "1:8: limits.memry: unknown key (did you mean `memory`?)"),
        (
            "[limits.memory]\nmax = 1",
            "1:1: limits.memory: expected a size such as \"512MiB\", found a table",
        ),
        ("\"a\\nb\" = 1", "1:1: a\\nb: unknown key"),
    ]);
}

#[test]
fn wrong_types_are_told_with_what_was_expected() {
    all_refused(&[
        ("limits = 3", "1:10: limits: expected a table, found an integer"),
        ("[[limits]]\npids = 3", "1:1: limits: expected a table, found a list"),
        ("extends = 1", "1:11: extends: `1` must be in quotes (write \"1\")"),
        ("description = ['x']", "1:15: description: expected a text in quotes, found a list"),
        (
            "limits.memory = []",
            "1:17: limits.memory: expected a size such as \"512MiB\", found a list",
        ),
        (
            "limits.cpu = {}",
            "1:14: limits.cpu: expected a number of cores such as 1.5, found a table",
        ),
        ("limits.pids = 1979-05-27", "1:15: limits.pids: expected a whole number, found a date"),
        (
            "limits.wall_time = []",
            "1:20: limits.wall_time: expected a duration such as \"30s\", found a list",
        ),
        ("process.init = []", "1:16: process.init: expected `true` or `false`, found a list"),
        ("network.mode = 1", "1:16: network.mode: `1` must be in quotes (write \"1\")"),
        (
            "filesystem.read = '/usr'",
            "1:19: filesystem.read: expected a list such as [\"/usr\", \"./data\"], found a string",
        ),
        ("filesystem.read = [1]", "1:20: filesystem.read: `1` must be in quotes (write \"1\")"),
        (
            "filesystem.read = [[]]",
            "1:20: filesystem.read: expected a text in quotes, found a list",
        ),
        (
            "environment.set = ['A=B']",
            "1:19: environment.set: expected a table such as { LANG = \"C.UTF-8\" }, found a list",
        ),
        (
            "environment.set.PORT = 80",
            "1:24: environment.set.PORT: `80` must be in quotes (write \"80\")",
        ),
    ]);
}

#[test]
fn roots_and_copies_that_can_not_be_are_told_with_the_key() {
    all_refused(&[
        (
            "filesystem.root = '/'",
            "1:19: filesystem.root: `/` can't be the root (name a directory with a system of its own)",
        ),
        (
            "filesystem.root = '/proc/1/root'",
            "1:19: filesystem.root: `/proc/1/root` can't be the root (name a directory with a system of its own)",
        ),
        (
            "filesystem.overlay = 'discard'",
            "1:22: filesystem.overlay: nothing is copied (set `filesystem.root`, or name directories in `filesystem.copy`)",
        ),
        (
            "[filesystem]\ncopy = ['./x']\noverlay = './kept'\noverlay_size = '1MiB'",
            "4:16: filesystem.overlay_size: only what is discarded has a size (`limits.disk` holds what is kept)",
        ),
        (
            "[filesystem]\ncopy = ['./x']\nwrite = ['./x']",
            "3:10: filesystem.write: `./x` is named in `filesystem.copy` too (name it once)",
        ),
        (
            "[filesystem]\nsys = 'read'\n[network]\nmode = 'host'",
            "2:7: filesystem.sys: the kernel shows `/sys` only with a network of one's own (set `network.mode` to `none`)",
        ),
        ("filesystem.sys = 'write'", "1:18: filesystem.sys: `write` is not one of `none`, `read`"),
    ]);
}

#[test]
fn wrong_units_are_told_with_the_right_ones() {
    all_refused(&[
        (
            "limits.memory = '512 megs'",
            "1:17: limits.memory: `512 megs` is not a size (write `512MiB`)",
        ),
        ("limits.memory = '2GB'", "1:17: limits.memory: `2GB` is not a size (write `2GiB`)"),
        ("limits.memory = '100k'", "1:17: limits.memory: `100k` is not a size (write `100KiB`)"),
        (
            "limits.memory = 536870912",
            "1:17: limits.memory: `536870912` is not a size (write `512MiB`)",
        ),
        ("limits.memory = '-1MiB'", "1:17: limits.memory: `-1MiB` is not a size (write `512MiB`)"),
        ("limits.memory = 'max'", "1:17: limits.memory: `max` is not a size (write `unlimited`)"),
        ("limits.swap = 0", "1:15: limits.swap: `0` is not a size (write `0B`)"),
        (
            "limits.swap = 'none'",
            "1:15: limits.swap: `none` is not a size (write `0B`, or `unlimited` for no limit)",
        ),
        ("filesystem.tmp = false", "1:18: filesystem.tmp: `false` is not a size (write `none`)"),
        ("limits.wall_time = 30", "1:20: limits.wall_time: `30` is not a duration (write `30s`)"),
        (
            "limits.wall_time = '5 min'",
            "1:20: limits.wall_time: `5 min` is not a duration (write `5m`)",
        ),
        ("limits.grace = '1w'", "1:16: limits.grace: `1w` is not a duration (write `30s`)"),
        (
            "limits.cpu = '1.5'",
            "1:14: limits.cpu: `1.5` must be a number (write it without quotes)",
        ),
        (
            "limits.pids = '64'",
            "1:15: limits.pids: `64` must be a number (write it without quotes)",
        ),
        ("process.init = 'true'", "1:16: process.init: `true` must be without quotes"),
        (
            "clock.monotonic = 5",
            "1:19: clock.monotonic: `5` is not a duration (write `90s` or `-90s`)",
        ),
        (
            "clock.boottime = '-1.5s'",
            "1:18: clock.boottime: `-1.5s` is not a number of whole seconds",
        ),
    ]);
}

#[test]
fn values_out_of_range_are_told_with_the_range() {
    all_refused(&[
        ("limits.memory = '4KiB'", "1:17: limits.memory: `4KiB` is too small (at least `1MiB`)"),
        (
            "limits.memory = '99999999999TiB'",
            "1:17: limits.memory: `99999999999TiB` is not a size (write `512MiB`)",
        ),
        (
            "limits.cpu = 0",
            "1:14: limits.cpu: `0` is not a number of cores from 0.01 to 1000 (write `1.5`)",
        ),
        (
            "network.tcp_bind = 65536",
            "1:20: network.tcp_bind: `65536` is not a list of ports (write `443,8000-8010`, or `none`)",
        ),
        (
            "network.tcp_connect = '1-2000'",
            "1:23: network.tcp_connect: `1-2000` has 2000 ports, 1024 at most (leave the key out for all)",
        ),
        (
            "limits.cpu = nan",
            "1:14: limits.cpu: `nan` is not a number of cores from 0.01 to 1000 (write `1.5`)",
        ),
        (
            "limits.cpu_weight = 0",
            "1:21: limits.cpu_weight: `0` is not a whole number from 1 to 10000",
        ),
        ("limits.pids = -1", "1:15: limits.pids: `-1` is not a whole number from 1 to 4194304"),
        ("limits.pids = 1.5", "1:15: limits.pids: `1.5` is not a whole number from 1 to 4194304"),
        (
            "limits.pids = 99999999999999999999999",
            "1:15: limits.pids: `99999999999999999999999` is not a whole number from 1 to 4194304",
        ),
        (
            "limits.open_files = 2",
            "1:21: limits.open_files: `2` is not a whole number from 8 to 1048576",
        ),
        (
            "limits.wall_time = '0s'",
            "1:20: limits.wall_time: no program can run in no time (write `unlimited` for no limit)",
        ),
        (
            "clock.monotonic = '99999d'",
            "1:19: clock.monotonic: `99999d` is more than a hundred years",
        ),
        (
            "identity.user = 0xffff_ffff",
            "1:17: identity.user: `4294967295` is not a whole number from 0 to 4294967294",
        ),
        (
            "identity.hostname = 'a b'",
            "1:21: identity.hostname: `a b` is not a host name (at most 64 letters, digits, `-` and `.`)",
        ),
        (
            "description = \"a\\nb\"",
            "1:15: description: `a\\nb` has a line break or another control character",
        ),
    ]);
}

#[test]
fn unknown_words_are_told_with_the_known_ones() {
    all_refused(&[
        (
            "network.mode = 'hots'",
            "1:16: network.mode: `hots` is not one of `none`, `host`, `filtered` (did you mean `host`?)",
        ),
        (
            "filesystem.proc = 'privat'",
            "1:19: filesystem.proc: `privat` is not one of `private`, `pids`, `none` (did you mean `private`?)",
        ),
        ("syscalls.base = 'all'", "1:17: syscalls.base: `all` is not one of `default`, `none`"),
        (
            "syscalls.rules = 1",
            "1:18: syscalls.rules: expected a list such as [{ name = \"socket\", arg0 = [\"AF_UNIX\", \"AF_INET\"] }, \
             { name = \"ioctl\", arg1_not = [\"TIOCSTI\", \"TIOCLINUX\"] }, { name = \"@mount\", action = \"errno ENOSYS\" }], \
             found an integer",
        ),
        (
            "syscalls.rules = ['socket']",
            "1:19: syscalls.rules: expected a table such as { name = \"socket\", arg0 = \"AF_UNIX\" }, found a string",
        ),
        (
            "syscalls.rules = [{ arg0 = 1 }]",
            "1:19: syscalls.rules: it names no system call (write `name` too)",
        ),
        (
            "[syscalls]\nrules = [\n  { name = 'socket', arg0 = ['AF_UNIX', 'AF_INTE'] },\n]",
            "3:29: syscalls.rules.arg0: `AF_INTE` is not the name of a value (did you mean `AF_INET`?)",
        ),
        (
            "syscalls.rules = [{ name = 'sokcet' }]",
            "1:28: syscalls.rules.name: `sokcet` is not a system call (did you mean `socket`?)",
        ),
        (
            "syscalls.rules = [{ name = 'socket', arg9 = 1 }]",
            "1:45: syscalls.rules.arg9: there is no argument 9: they are counted from 0 to 5",
        ),
        (
            "syscalls.rules = [{ name = 'socket', arg0_nto = 1 }]",
            "1:49: syscalls.rules.arg0_nto: unknown key (did you mean `arg0_not`?)",
        ),
        (
            "syscalls.rules = [{ name = 'socket', arg0 = 0x1_0000_0000 }]",
            "1:45: syscalls.rules.arg0: `0x100000000` is wider than 32 bits (write `wide = true` to look at all 64)",
        ),
        (
            "syscalls.rules = [{ name = 'socket', arg0 = 1.5 }]",
            "1:45: syscalls.rules.arg0: expected a name, a number, or a list of them, found a float",
        ),
        (
            "syscalls.rules = [{ name = 'socket', arg0 = [] }]",
            "1:45: syscalls.rules.arg0: an empty list tests nothing",
        ),
        (
            "syscalls.rules = [{ name = 'mount', action = 'errno ENOSSY' }]",
            "1:46: syscalls.rules.action: `ENOSSY` is not the name of an error (did you mean `ENOSYS`?)",
        ),
        (
            "syscalls.rules = [{ name = '@mount', arg0 = 1 }]",
            "1:28: syscalls.rules.name: the arguments of a group's calls differ (name one call)",
        ),
        (
            "syscalls.on_violation = 'kil'",
            "1:25: syscalls.on_violation: `kil` is not one of `error`, `kill` (did you mean `kill`?)",
        ),
        (
            "syscalls.allow = ['mout']",
            "1:19: syscalls.allow: `mout` is not a system call (did you mean `mount`?)",
        ),
        (
            "syscalls.deny = ['@netwrok']",
            "1:18: syscalls.deny: `@netwrok` is not a group of system calls (did you mean `@network`?)",
        ),
        (
            "capabilities.keep = ['SYS_ADMN']",
            "1:22: capabilities.keep: `SYS_ADMN` is not a capability (did you mean `CAP_SYS_ADMIN`?)",
        ),
        (
            "degrade.allow = ['limits.memroy']",
            "1:18: degrade.allow: `limits.memroy` is not a control (did you mean `limits.memory`?)",
        ),
        (
            "environment.keep = ['A=B']",
            "1:21: environment.keep: `A=B` has a `=`, which no variable's name can have",
        ),
        (
            "environment.keep = ['']",
            "1:21: environment.keep: an empty text is not the name of a variable",
        ),
        (
            "environment.set.A = \"x\\u0000\"",
            "1:21: environment.set.A: the value of `A` has a NUL character, which no variable can have",
        ),
    ]);
}

#[test]
fn what_a_network_lets_out_and_in_can_not_be_mistaken() {
    let rows = [
        (
            "allow = ['*']",
            "10: network.allow: `*` would allow everything (name what is needed, such as `*.example.org`)",
        ),
        (
            "allow = ['a*.example.org']",
            "10: network.allow: `a*.example.org` has a `*` that isn't the whole first part (write `*.example.org`)",
        ),
        (
            "allow = ['none']",
            "10: network.allow: `none` is no host (an empty list, `[]`, allows nothing)",
        ),
        (
            "allow = ['example.org:https']",
            "10: network.allow: `example.org:https` has no port from 1 to 65535",
        ),
        (
            "allow = ['https://example.org']",
            "10: network.allow: `https://example.org` has no port from 1 to 65535",
        ),
        (
            "allow = ['b\u{fc}cher.example']",
            "10: network.allow: `b\u{fc}cher.example` is no host name (write it in its `xn--` form)",
        ),
        (
            "allow = ['10.1.2.3/8']",
            "10: network.allow: `10.1.2.3/8` has an address with more bits than its network (write `10.0.0.0/8`)",
        ),
        (
            "allow = ['10.0.0.0/33']",
            "10: network.allow: `10.0.0.0/33` is no network (write `10.0.0.0/8`)",
        ),
        (
            "allow = ['0x7f.1']",
            "10: network.allow: `0x7f.1` is an address in another notation (write `127.0.0.1`)",
        ),
        ("allow = ['256.1.1.1']", "10: network.allow: `256.1.1.1` is no IPv4 address"),
        (
            "allow = ['2001:db8::1']",
            "10: network.allow: `2001:db8::1` must have its IPv6 address in brackets (write `[2001:db8::1]:443`)",
        ),
        ("allow = ['a.example', 'A.example.']", "23: network.allow: `A.example.` is named twice"),
        ("allow = [443]", "10: network.allow: `443` must be in quotes (write \"443\")"),
        (
            "publish = ['8080']",
            "12: network.publish: `8080` doesn't say where and to which port (write `8080:80` or `0.0.0.0:8080:80`)",
        ),
        ("publish = ['0:80']", "12: network.publish: `0:80` has no port from 1 to 65535"),
        (
            "publish = ['eth0:80:80']",
            "12: network.publish: `eth0:80:80` has no address of this host (write `127.0.0.1:8080:80` or `[::1]:8080:80`)",
        ),
        ("publish = ['81:80', '81:82']", "21: network.publish: `81:82` is named twice"),
        (
            "publish = ['81:1080']",
            "12: network.publish: `127.0.0.1:81:1080`: this port inside is the proxy's",
        ),
        (
            "publish = ['81:80']\n[process]\ninit = false",
            "12: network.publish: `127.0.0.1:81:80`: without `process.init` nobody inside can make the connections",
        ),
    ];
    for (text, message) in rows {
        let text = format!("[network]\nmode = 'filtered'\n{text}");
        assert_eq!(only_problem(&text), format!("p.toml:3:{message}"), "{text}");
    }
    all_refused(&[
        (
            "network.allow = ['a.example', 'b.example']",
            "1:31: network.allow: with `network.mode` `none` nothing is allowed (set it to `filtered`)",
        ),
        (
            "[network]\nmode = 'host'\nallow = ['a.example']",
            "3:10: network.allow: with `network.mode` `host` everything is allowed (set it to `filtered`)",
        ),
        (
            "[network]\nmode = 'host'\npublish = ['81:80']",
            "3:12: network.publish: with `network.mode` `host` the program listens on the host itself (set it to `filtered`)",
        ),
    ]);
}

#[test]
fn paths_are_taken_as_written_or_not_at_all() {
    all_refused(&[
        (
            "filesystem.read = ['/usr/../etc']",
            "1:20: filesystem.read: `/usr/../etc` is not in its plain form (write `/etc`)",
        ),
        (
            "filesystem.read = ['//usr']",
            "1:20: filesystem.read: `//usr` is not in its plain form (write `/usr`)",
        ),
        (
            "filesystem.read = ['a/../b']",
            "1:20: filesystem.read: `a/../b` is not in its plain form (write `b`)",
        ),
        (
            "filesystem.read = ['../../etc']",
            "1:20: filesystem.read: `../../etc` leads out of the policy's directory (write an absolute path)",
        ),
        (
            "filesystem.write = ['a/../../b']",
            "1:21: filesystem.write: `a/../../b` leads out of the policy's directory (write an absolute path)",
        ),
        (
            "filesystem.workdir = '..'",
            "1:22: filesystem.workdir: `..` leads out of the policy's directory (write an absolute path)",
        ),
        (
            "filesystem.read = ['~/x']",
            "1:20: filesystem.read: `~/x` starts with `~`, which means nothing here (write the whole path)",
        ),
        ("filesystem.read = ['']", "1:20: filesystem.read: an empty text is not a path"),
        (
            "filesystem.read = [\"/a\\u0000b\"]",
            "1:20: filesystem.read: `/a\\u{0}b` has a NUL character, which no path can have",
        ),
        ("filesystem.read = ['/usr', '/usr/']", "1:28: filesystem.read: `/usr/` is named twice"),
        (
            "filesystem.read = ['/usr']\nfilesystem.write = ['/usr']",
            "2:21: filesystem.write: `/usr` is named in `filesystem.read` too (name it once)",
        ),
        (
            "filesystem.read = ['a']\nfilesystem.read_optional = ['./a']",
            "2:29: filesystem.read_optional: `./a` is named in `filesystem.read` too (name it once)",
        ),
        (
            "filesystem.write = ['/']",
            "1:21: filesystem.write: `/` can't be shown as a whole (name what the program needs below it)",
        ),
        (
            "filesystem.read = ['/proc/self']",
            "1:20: filesystem.read: `/proc` is the sandbox's own (choose what it shows with `filesystem.proc`)",
        ),
        (
            "filesystem.read = ['/dev']",
            "1:20: filesystem.read: `/dev` is the sandbox's own (name single devices)",
        ),
        (
            "filesystem.read = ['/tmp']\nfilesystem.tmp = '1MiB'",
            "1:20: filesystem.read: `/tmp` is the sandbox's own (set `filesystem.tmp` to `none` to show the host's)",
        ),
    ]);
    let long = format!("filesystem.read = ['/{}']", "a/".repeat(3000));
    assert_eq!(
        only_problem(&long),
        "p.toml:1:20: filesystem.read: a path of 6001 bytes is too long (at most 4095)"
    );
    let many: Vec<String> = (0..1001).map(|number| format!("'/{number}'")).collect();
    assert_eq!(
        only_problem(&format!("filesystem.read = [{}]", many.join(", "))),
        "p.toml:1:19: filesystem.read: 1001 entries are too many (at most 1000)"
    );
}

#[test]
fn what_can_not_work_together_is_told() {
    all_refused(&[
        (
            "[limits]\nmemory = '64MiB'\nmemory_high = '1GiB'",
            "3:15: limits.memory_high: `1GiB` is more than `limits.memory`, which is `64MiB`, so it would never act",
        ),
        (
            "limits.swap = '1GiB'",
            "1:15: limits.swap: without `limits.memory` nothing needs to be swapped (set both, or write `0B`)",
        ),
        (
            "[limits]\nmemory = '64MiB'\nmemory_min = '65MiB'",
            "3:14: limits.memory_min: `65MiB` is more than `limits.memory`, which is `64MiB`: it can't have that much",
        ),
        (
            "limits.cpu_burst = '50ms'",
            "1:20: limits.cpu_burst: without `limits.cpu` there is nothing to go above",
        ),
        (
            "limits.cpu = 0.5\nlimits.cpu_burst = '51ms'",
            "2:20: limits.cpu_burst: `51ms` is more than `limits.cpu` gives in a tenth of a second, which is `50ms`",
        ),
        (
            "syscalls.deny = ['execve']",
            "1:18: syscalls.deny: no program can be started without `execve`",
        ),
        (
            "syscalls.rules = [{ name = 'execve', action = 'kill' }]",
            "1:19: syscalls.rules: no program can be started without `execve`",
        ),
        (
            "syscalls.rules = [{ name = 'sendto', arg0 = 1 }]",
            "1:19: syscalls.rules: no program can be started without `sendto`",
        ),
        (
            "syscalls.deny = ['@start']",
            "1:18: syscalls.deny: no program can be started without `execve`",
        ),
        (
            "syscalls.allow = ['mount']\nsyscalls.deny = ['mount']",
            "2:18: syscalls.deny: `mount` is named in `syscalls.allow` too (name it once)",
        ),
        (
            "syscalls.allow = ['ioctl', 'ioctl:any']",
            "1:28: syscalls.allow: `ioctl:any` is named twice",
        ),
        (
            "capabilities.keep = ['CHOWN', 'CAP_CHOWN']",
            "1:31: capabilities.keep: `CAP_CHOWN` is named twice",
        ),
        (
            "environment.keep = ['A']\nenvironment.set.A = 'x'",
            "2:21: environment.set.A: `A` is named in `environment.keep` too (name it once)",
        ),
        (
            "degrade.allow = ['limits.cpu', 'limits.cpu']",
            "1:32: degrade.allow: `limits.cpu` is named twice",
        ),
    ]);
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    all_refused(&[
        ("limits.pids = = 3", "1:15: extra `=`, expected nothing"),
        ("limits.pids = 3\nlimits.pids = 4", "2:8: duplicate key"),
        ("[limits", "1:8: unclosed table, expected `]`"),
        ("description = \"abc", "1:19: invalid basic string, expected `\"`"),
        ("limits.pids", "1:12: key with no value, expected `=`"),
        ("limits.pids = 07", "1:15: unexpected leading zero, expected nothing"),
        ("limits.memory = 512MiB # half", "1:17: `512MiB` must be in quotes (write \"512MiB\")"),
        ("network.mode = none", "1:16: `none` must be in quotes (write \"none\")"),
        (
            "description = \"\\q\"",
            "1:17: missing escaped value, expected `b`, `e`, `f`, `n`, `r`, `\\`, `\"`, `x`, `u`, `U`",
        ),
    ]);
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file_with_their_lines() {
    let place = Place::new();
    let text = "extends = \"wroker\"\n\n[limits]\nmemory = \"512 megs\"   # half\nmemroy = 1\n\n\
                [network]\nmode = = 1\nmod = \"\u{e4}\"\n";
    let ended = place.write("web.toml", text).check("web.toml");
    ended.problems();
    insta::assert_snapshot!(ended.stderr, @r#"
    error: web.toml:1:11: extends: `wroker` is not a shipped policy (did you mean `worker`?)
      |
    1 | extends = "wroker"
      |           ^^^^^^^^
    error: web.toml:4:10: limits.memory: `512 megs` is not a size (write `512MiB`)
      |
    4 | memory = "512 megs"   # half
      |          ^^^^^^^^^^
    error: web.toml:5:1: limits.memroy: unknown key (did you mean `memory`?)
      |
    5 | memroy = 1
      | ^^^^^^
    error: web.toml:8:8: extra `=`, expected nothing
      |
    8 | mode = = 1
      |        ^
    error: web.toml:9:1: network.mod: unknown key (did you mean `mode`?)
      |
    9 | mod = "ä"
      | ^^^
    "#);
}

#[test]
fn a_file_that_is_no_policy_at_all_does_not_fill_the_screen() {
    let text: String = (0..5000).map(|number| format!("key{number} = 1\n")).collect();
    let place = Place::new();
    let ended = place.write("p.toml", text).check("p.toml");
    let problems = ended.problems();
    assert_eq!(problems.len(), 101);
    assert_eq!(problems[100], "and 4900 more problems");
}
