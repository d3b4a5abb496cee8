"""Runs proxy.py until its standard input ends. Arguments: those of its command line; prints its port.

For the interpreter of the peer, which has proxy.py; it imports nothing of ours.
"""

import sys

import proxy

COMMON = [
    "--hostname",
    "127.0.0.1",
    "--port",
    "0",
    "--num-acceptors",
    "1",
    "--num-workers",
    "1",
    "--log-level",
    "ERROR",
]

if __name__ == "__main__":
    with proxy.Proxy(COMMON + sys.argv[1:]) as running:
        print(running.flags.port, flush=True)
        sys.stdin.read()
