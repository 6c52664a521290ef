"""What a program finds inside, as JSON: told by the program itself, which tries everything that it says."""

import ctypes, errno, json, os, resource, signal, socket, sys, threading

asked = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def attempt(what):
    try:
        return what()
    except OSError as error:
        return errno.errorcode[error.errno]


def look(path):
    """What is at a path: nothing, the names in a directory, or how large a file is."""
    if not os.path.lexists(path):
        return None
    if os.path.isdir(path):
        return sorted(os.listdir(path))
    return os.stat(path).st_size


def change(path):
    """Whether something can be made in a directory, or a file opened for writing."""
    if os.path.isdir(path):
        path += "/made-inside"
        return attempt(lambda: os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)))
    return attempt(lambda: os.close(os.open(path, os.O_WRONLY)))


def fill(place, size):
    """How much of one byte more than `size` fits."""
    with open(place, "wb", 0) as file:
        written = 0
        while written <= size:
            step = attempt(lambda: file.write(b"x" * min(1 << 20, size + 1 - written)))
            if not isinstance(step, int):
                break
            written += step
    os.unlink(place)
    return written


def descriptors():
    held = []
    while isinstance(attempt(lambda: held.append(os.open("/dev/null", os.O_RDONLY))), type(None)):
        pass
    highest = max(held)
    for one in held:
        os.close(one)
    return highest + 1


def threads():
    """How many can run at once, this one too."""
    threading.stack_size(64 << 10)
    done, number = threading.Event(), 1
    try:
        while number < asked["threads"]:
            threading.Thread(target=done.wait, daemon=True).start()
            number += 1
    except RuntimeError:
        pass
    done.set()
    return number


def large_file():
    """Whether a file can be exactly so large, and larger by a byte. Holes take no memory."""
    with open("/tmp/large", "wb", 0) as file:
        os.lseek(file.fileno(), asked["file_size"] - 1, os.SEEK_SET)
        fits = attempt(lambda: os.write(file.fileno(), b"x"))
        more = attempt(lambda: os.write(file.fileno(), b"x"))
    os.unlink("/tmp/large")
    return [fits, more]


def orphan():
    """The parent of a process whose own parent is gone."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        parent = os.getpid()
        if os.fork() == 0:
            while os.getppid() == parent:
                os.sched_yield()
            os.write(writer, str(os.getppid()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return int(os.read(reader, 20))


def reaches(port):
    return attempt(lambda: socket.create_connection(("127.0.0.1", port), 5).close())


found = {
    "paths": {path: look(path) for path in asked["paths"]},
    "changes": {path: change(path) for path in asked["paths"] if os.path.lexists(path)},
    "cpuinfo": os.path.exists("/proc/cpuinfo"),
    "tmp": os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize,
    "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
    "environment": dict(os.environ),
    "hostname": socket.gethostname(),
    "interfaces": sorted(name for _, name in socket.if_nameindex()),
    "reaches": reaches(asked["port"]),
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")],
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "unshare": attempt(lambda: libc.unshare(0x10000000) and os.strerror(ctypes.get_errno())),
    "ids": [os.getpid(), os.getppid()],
    "orphan": orphan(),
    "crash": os.WCOREDUMP(os.waitpid(os.fork() or os.abort(), 0)[1]),
}
if asked["fill"]:
    found["filled"] = fill("/tmp/filled", asked["fill"])
if asked["file_size"]:
    found["file_size"] = large_file()
if asked["open_files"]:
    found["open_files"] = descriptors()
if asked["threads"]:
    found["threads"] = threads()
json.dump(found, sys.stdout)
