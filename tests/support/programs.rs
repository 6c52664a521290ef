//! Programs in Python that want much, for more than one suite.

#![allow(dead_code, reason = "no suite runs all of them")]

/// Takes 150 MiB, a MiB at a time.
pub(crate) const HOG: &str = "held = [bytearray(b'x' * (1 << 20)) for _ in range(150)]";

/// A hundred children which take 2 MiB each, all of them at once, and hold it until all have it.
pub(crate) const CHILDREN: &str = "
import os
gate, opener = os.pipe()
has, tells = os.pipe()
end, ender = os.pipe()
for _ in range(100):
    if os.fork() == 0:
        os.close(opener)
        os.close(ender)
        os.read(gate, 1)
        held = b'x' * (2 << 20)
        os.write(tells, b'.')
        os.read(end, 1)
        os._exit(0)
os.close(opener)
told = 0
while told < 100: told += len(os.read(has, 100))
os.close(ender)
for _ in range(100): os.wait()";

/// Asks for 20 processes, and gets along with fewer.
pub(crate) const FORKS: &str = "
import os, signal
children = []
for _ in range(20):
    try: pid = os.fork()
    except OSError: continue
    if pid == 0: signal.pause()
    children.append(pid)
for pid in children: os.kill(pid, signal.SIGKILL)";

/// A fork bomb that never tires: bash waits longer and longer when it is refused a process.
pub(crate) const FORK_BOMB: &str = "
import os
while True:
    try: os.fork()
    except OSError: pass";
