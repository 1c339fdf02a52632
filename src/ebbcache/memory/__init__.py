"""Where the process stands: the nearest of all ceilings on its memory, and things to wait on.

Reads cgroup v2 and v1, the host, resource limits, a limit of the user's own, and psutil where there is no
/proc. Waits on pressure stall information, cgroup notifications and systemd's protocol. Bound: a reading
takes tens of microseconds.

>>> with_limit = Memory(limit=1 << 40)
>>> any(state.name == "limit" for state in with_limit.survey().sources)
True
>>> with_limit.close()
"""

from ebbcache.memory.memory import Memory
from ebbcache.memory.reading import Reading, SourceState, Survey, WakeupState

__all__ = ["Memory", "Reading", "SourceState", "Survey", "WakeupState"]
