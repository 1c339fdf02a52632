"""A program that lives in a real cgroup and does what its test tells it, a JSON line for a JSON line."""

from __future__ import annotations

import json
import mmap
import os
import sys
import threading
from dataclasses import asdict
from typing import Any

from ebbcache.memory import Memory

MIB = 1 << 20


class Inmate:
    def __init__(self) -> None:
        self.memory = Memory()
        self.held: list[mmap.mmap] = []
        self.files: list[int] = []

    def take(self, mib: int) -> None:
        """Use so much more memory, for sure: private pages, written to."""
        room = mmap.mmap(-1, mib * MIB, flags=mmap.MAP_PRIVATE)
        for at in range(0, len(room), mmap.PAGESIZE):
            room[at] = 1
        self.held.append(room)

    def give(self) -> None:
        self.held.clear()

    def cache(self, path: str, times: int) -> None:
        """Have the kernel read a file into page cache, in our name."""
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        for _ in range(times):
            os.lseek(fd, 0, os.SEEK_SET)
            while os.read(fd, MIB):
                pass
        self.files.append(fd)  # some file systems forget the cache with the last descriptor

    def shared(self, mib: int) -> None:
        """Fill memory that looks like a file but cannot be dropped."""
        fd = os.memfd_create("ebbcache-test")
        for _ in range(mib):
            os.write(fd, bytes(MIB))
        self.files.append(fd)

    def read(self) -> Any:
        reading = self.memory.read()
        return reading and asdict(reading)

    def survey(self) -> Any:
        return asdict(self.memory.survey())

    def wait(self, seconds: float) -> str | None:
        return self.memory.wait(seconds)

    def wait_taking(self, seconds: float, mib: int, names: list[str]) -> str | None:
        """Wait for one of `names` while another thread takes memory."""
        self.memory.wait(0)  # armed before it begins
        taker = threading.Thread(target=lambda: [self.take(1) for _ in range(mib)], daemon=True)
        taker.start()
        name = self.memory.wait(seconds)
        while name is not None and name not in names:
            name = self.memory.wait(seconds)
        return name


def main() -> None:
    with open(f"{sys.argv[1]}/cgroup.procs", "w") as procs:
        procs.write(str(os.getpid()))
    inmate = Inmate()
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(getattr(inmate, command)(*arguments)), flush=True)


if __name__ == "__main__":
    main()
