"""Runs a command that can't make some system calls, as under the filter of a container.

usage: without.py ERRNO NUMBER,... COMMAND...

The numbers are the same on all processors for calls since Linux 5.1, which are what is taken away here; mount(2) is `mount`.
"""

import ctypes
import os
import platform
import sys

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
MOUNT = {"x86_64": 165, "aarch64": 40}[platform.machine()]
SECCOMP_FILTER, SET_SECCOMP, SET_NO_NEW_PRIVS = 2, 22, 38


class Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Instruction))]


errno = int(sys.argv[1])
numbers = [MOUNT if word == "mount" else int(word) for word in sys.argv[2].split(",")]
all = [Instruction(LOAD, 0, 0, 0)]
for place, number in enumerate(numbers):
    # To the last instruction, over the other comparisons and the one that allows.
    all.append(Instruction(EQUAL, len(numbers) - place, 0, number))
all.append(Instruction(RETURN, 0, 0, ALLOW))
all.append(Instruction(RETURN, 0, 0, ERRNO | errno))
program = Program(len(all), (Instruction * len(all))(*all))
libc = ctypes.CDLL(None, use_errno=True)
# Root keeps what it may do; a user may install a filter only so.
if os.geteuid() != 0 and libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
    sys.exit("no_new_privs: " + os.strerror(ctypes.get_errno()))
if libc.prctl(SET_SECCOMP, SECCOMP_FILTER, ctypes.byref(program), 0, 0) != 0:
    sys.exit("filter: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[3], sys.argv[3:])
