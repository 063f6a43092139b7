#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""ghosts.py PORT COUNT [NAME]: connections of one process, with more on each than its peer has room for."""

import ctypes
import os
import signal
import socket
import sys

PR_SET_NAME = 15


def fill(connection):
    connection.setblocking(False)
    try:
        while True:
            connection.send(bytes(4096))
    except BlockingIOError:
        pass


def main(port, count, name=None):
    if name is not None:
        ctypes.CDLL(None).prctl(PR_SET_NAME, os.fsencode(name), 0, 0, 0)
    connections = [socket.create_connection(("127.0.0.1", int(port))) for _ in range(int(count))]
    for connection in connections:
        fill(connection)
    print("there", flush=True)
    signal.pause()


main(*sys.argv[1:])
