"""The other processes under the same ceiling: how much their caches hold, without a server to ask.

Workers that share a container see one usage. Each would take the others' caches for memory that it
must make way for, and each would free the whole of a shortage. So every process writes a few numbers
into a small file of its own in a folder of /dev/shm, named after the ceiling, and reads those of the
others. The file is locked (flock) as long as its process lives: whoever finds one without a lock
removes it, so nobody is missed and nobody counted after death, pid namespaces or not. Two copies of
this library in one process are two neighbours. The folder belongs to the user alone: processes of other
users are strangers, as everybody is where there is no /dev/shm. Bounds: one `pwrite` a publication, one
`stat` and one `pread` a neighbour (at most 64 of them) a look, and a search for dead ones every
`SEARCH_EVERY` seconds.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import stat
import struct
import time
from collections.abc import Callable

from ebbcache.governor.shares import Share
from ebbcache.memory.files import Kept

log = logging.getLogger("ebbcache.governor")

FOLDER = "/dev/shm"
SEARCH_EVERY = 0.5  # s
MOST = 64  # neighbours; what more there are count as strangers
_RECORD = struct.Struct("=5Q")
_VERSION = 2
_SANE = 1 << 62  # bytes: nobody holds more; a damaged record is left out


class Neighbours:
    """One process's place among those under a ceiling; `folder` is where they meet."""

    def __init__(self, folder: str = FOLDER, timer: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._timer = timer
        self._ceiling: str | None = None
        self._start()

    def _start(self) -> None:
        self._place: str | None = None
        self._mine: Kept | None = None
        self._name = ""
        self._said: Share | None = None
        self._others: dict[str, Kept] = {}
        self._search_at = float("-inf")
        self._changed_at = 0

    def join(self, ceiling: str | None) -> None:
        """Be one of those under `ceiling`, and no longer of those under another; None: be alone."""
        if ceiling == self._ceiling:
            return
        self.leave()
        self._ceiling = ceiling
        if ceiling is None:
            return
        try:
            self._place = self._meeting_place()
            self._bury(ceiling)
            self._name = f"{ceiling}.{os.getpid()}-{secrets.token_hex(4)}"
            self._mine = Kept(f"{self._place}/{self._name}", os.O_RDWR | os.O_CREAT | os.O_EXCL)
            fcntl.flock(self._mine.fd, fcntl.LOCK_EX)  # at once, or when a neighbour has looked
        except OSError as error:
            log.debug("other processes' caches cannot be seen: %s", error)
            self._withdraw()

    def _meeting_place(self) -> str:
        user = os.geteuid()
        place = f"{self._folder}/ebbcache-{user}"
        try:
            os.mkdir(place, 0o700)
        except FileExistsError:
            status = os.lstat(place)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & 0o077:
                raise PermissionError(f"{place} is not this user's own folder") from None
        return place

    def _bury(self, ceiling: str) -> None:
        """Remove what the last ones under other ceilings left when they were killed."""
        assert self._place is not None
        for name in os.listdir(self._place)[: 4 * MOST]:
            if not name.startswith(f"{ceiling}."):
                kept = self._open(name)
                if kept is not None:
                    self._alive(name, kept)

    def _open(self, name: str) -> Kept | None:
        try:
            return Kept(f"{self._place}/{name}", os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            return None

    def publish(self, mine: Share, *, closely: bool = True) -> None:
        """Tell the others; nothing is written that they know already.

        Nor if there are none, unless `closely`: each system call lets other threads have their turn.
        """
        if self._mine is None or mine == self._said or not (closely or self._others):
            return
        numbers = (mine.cached, mine.grant, mine.room, mine.shared)
        record = _RECORD.pack(_VERSION, *(min(max(0, number), _SANE) for number in numbers))
        try:
            if self._mine.same():
                os.pwrite(self._mine.fd, record, 0)
                self._said = mine
            else:  # a program that becomes a daemon closes every descriptor there is
                self._withdraw()
        except OSError:
            self._withdraw()

    def look(self, *, closely: bool = True) -> list[Share]:
        """Return what the others under the same ceiling say, in no order.

        Whether anybody came or left is looked up `closely`, and in any case every other `SEARCH_EVERY`.
        """
        if self._mine is None:
            return []
        late = self._timer() - self._search_at
        if late >= (0.0 if closely else SEARCH_EVERY) or (closely and self._changed()):
            self._search_at = self._timer() + SEARCH_EVERY
            self._search()
        found: list[Share] = []
        for kept in self._others.copy().values():
            try:
                version, *numbers = _RECORD.unpack(kept.read(_RECORD.size))
            except (OSError, struct.error):  # one that has said nothing yet
                continue
            if version == _VERSION and max(numbers) <= _SANE:
                found.append(Share(*numbers))
        return found

    def _changed(self) -> bool:
        """Whether somebody came or left: a newcomer counts from its first moment on."""
        try:
            changed_at = os.stat(f"{self._place}").st_mtime_ns
        except OSError:
            return True
        before, self._changed_at = self._changed_at, changed_at
        return before != changed_at

    def _search(self) -> None:
        assert self._place is not None
        try:
            names = {name for name in os.listdir(self._place) if name.startswith(f"{self._ceiling}.")}
        except OSError:
            names = set[str]()
        if self._name not in names:  # somebody tidied up: the others cannot find this process any more
            ceiling, self._ceiling = self._ceiling, None
            self._withdraw()
            self.join(ceiling)
            return
        names.discard(self._name)
        others = {name: kept for name, kept in self._others.items() if name in names}
        for name in sorted(names - others.keys())[: max(0, MOST - len(others))]:
            kept = self._open(name)
            if kept is not None:
                others[name] = kept
        self._others = {name: kept for name, kept in others.items() if self._alive(name, kept)}

    def _alive(self, name: str, kept: Kept) -> bool:
        """Whether somebody holds the lock; removes the file of one who died without a word."""
        try:
            if not kept.same():
                return False
            fcntl.flock(kept.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        # Its owner locks it a moment after making it: an empty file may be somebody's who is just coming.
        if os.fstat(kept.fd).st_size == 0 and time.time() - os.fstat(kept.fd).st_mtime < 10:
            fcntl.flock(kept.fd, fcntl.LOCK_UN)
            return False
        try:
            os.unlink(f"{self._place}/{name}")
        except OSError:
            pass
        return False

    def leave(self) -> None:
        """Say goodbye: the others stop counting this process."""
        self._withdraw()
        self._ceiling = None

    def _withdraw(self) -> None:
        place, name, mine, others = self._place, self._name, self._mine, self._others
        self._start()
        for kept in others.values():
            kept.close()
        if mine is not None:
            mine.close()
        try:
            if name:
                os.unlink(f"{place}/{name}")
            if place is not None:
                os.rmdir(place)  # succeeds for the last one to leave
        except OSError:
            pass

    def after_fork(self) -> None:
        """Be somebody new: the parent's file is the parent's, and so is its lock."""
        mine, others = self._mine, self._others
        self._start()
        self._ceiling = None
        for kept in (*others.values(), *([mine] if mine is not None else [])):
            kept.close()  # the parent's descriptor of the same lock keeps it
