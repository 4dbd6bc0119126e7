"""Becomes a command under what systemd does for SystemCallFilter=, SystemCallErrorNumber=EPERM,
RestrictAddressFamilies= and MemoryDenyWriteExecute=yes, by libseccomp as systemd does.

unit_filter.py CALLS FAMILIES COMMAND…    both lists with commas, as in read,write AF_UNIX,AF_INET
"""

import ctypes
import errno
import os
import socket
import sys

ALLOW = 0x7FFF0000
ERRNO = 0x00050000
EQUAL, MASKED_EQUAL = 4, 7
WRITE, EXEC = 2, 4
PROT = 2  # the argument of mmap and of mprotect


class Compare(ctypes.Structure):
    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    ]


library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
library.seccomp_load.argtypes = [ctypes.c_void_p]
library.seccomp_rule_add_array.argtypes = [
    ctypes.c_void_p,
    ctypes.c_uint32,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_void_p,
]


def allow(context, number, *compare):
    conditions = (Compare * len(compare))(*compare)
    code = library.seccomp_rule_add_array(context, ALLOW, number, len(compare), conditions)
    if code:
        sys.exit(f"unit_filter: call {number}: {os.strerror(-code)}")


def main():
    calls, families, command = sys.argv[1].split(","), sys.argv[2].split(","), sys.argv[3:]
    context = library.seccomp_init(ERRNO | errno.EPERM)
    for name in calls:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:  # this machine or this library does not have it
            continue
        if name == "socket":
            for family in families:
                allow(context, number, Compare(0, EQUAL, getattr(socket, family), 0))
        elif name in ("mmap", "mmap2"):
            for prot in (0, WRITE, EXEC):
                allow(context, number, Compare(PROT, MASKED_EQUAL, WRITE | EXEC, prot))
        elif name in ("mprotect", "pkey_mprotect"):
            allow(context, number, Compare(PROT, MASKED_EQUAL, EXEC, 0))
        else:
            allow(context, number)
    code = library.seccomp_load(context)
    if code:
        sys.exit(f"unit_filter: {os.strerror(-code)}")
    os.execvp(command[0], command)


main()
