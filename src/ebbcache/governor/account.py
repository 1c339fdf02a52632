"""What memory does, told apart: our caches, the others, and what the allocator merely keeps.

The kernel knows one number, usage. The governor needs three, because they call for different things:
`cached` bytes it can give back, bytes of *others* it must make room for, and *retained* bytes, which were
freed here but which the kernel has not got back; they will be reused, so they are not others' usage. Every
look compares the two numbers that are known, usage and cached, with the look before. Net bytes that left
the caches without usage falling became retained; what comes in takes from it, or shows that it was not
there. The estimate is healed by a slow decay towards "it belongs to others", the safe side.

From others' past follows the room that they are to find again: their recent peak (as in ClickHouse's page
cache), and as much above their recent floor as they once grew within a second. A program that has not grown
yet is an unknown one: where what is cached would not go back to the kernel when freed, as small objects do
not, a part of the memory is left alone for its first burst. Watermarks follow Linux' min < low < high
(mm/page_alloc.c). Pure arithmetic on injected numbers and times: no clock, no lock, O(1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

MIB = 1 << 20

HOLD = 5.0  # s: a peak or floor of others counts in full for so long,
HALF_LIFE = 10.0  # s: then its distance from the present decays
BURST_SECONDS = 0.5  # s: growth within about this long is one burst
BURST_HALF_LIFE = 120.0  # s: a burst is expected to come again for minutes,
MOMENTUM_HALF_LIFE = 0.5  # s: and to go on for a moment
BURST_RATE = 1 << 30  # bytes/s: how fast others may grow,
REACTION = 0.02  # s: how soon that is seen and answered,
LONGEST_TRIM = 0.02  # s: and what a trim adds to that; one that took longer waited for a processor
UNKNOWN_BURST = 0.2, 0.12  # of what others leave: kept for a burst never seen; more for a young program
UNKNOWN_MOST = 2 << 30  # bytes: bursts grow with programs, not with machines
YOUNG = 600.0  # s: in which that more halves
RETAINED_HALF_LIFE = 60.0  # s: how fast an estimate nobody can check is given up
IN_FLIGHT_SECONDS = 1.0  # how long an answer is believed that no reading shows


@dataclass(frozen=True, slots=True)
class Marks:
    """Headroom in bytes: under `low` soft reclaim starts, under `min` hard; either goes on until `high`."""

    min: int
    low: int
    high: int

    @staticmethod
    @lru_cache(maxsize=64)
    def of(limit: int, neighbours: int = 0) -> Marks:
        """Return the marks for a ceiling of `limit` bytes: 3, 6, 9 % of it, at most 256, 512, 768 MiB.

        Up to twice that with eight `neighbours`, all of which may grow at the same time.

        >>> Marks.of(256 << 20)
        Marks(min=8388608, low=16777216, high=25165824)
        """
        step = min(limit // 32, 256 * MIB)
        step += step * min(neighbours, 8) // 8
        return Marks(step, 2 * step, 3 * step)


def _blend(mean: float | None, share: float) -> float:
    """Return the running mean of a share, with one more of it."""
    share = min(1.0, max(0.0, share))
    return share if mean is None else 0.8 * mean + 0.2 * share


class Account:
    """The running estimates, renewed by `observe` at each look. Amounts are bytes, times seconds."""

    def __init__(self) -> None:
        self.usage = 0
        self.cached = 0
        self.others = 0
        self.peak = 0
        self.floor = 0  # of what others are busy with
        self.retained = 0
        self._return_rate: float | None = None
        self._at_once: float | None = None
        self.reaction = REACTION  # s: how soon growth is seen and answered by all who have to
        self._most: float = float("inf")
        self._before_burst = 0.0
        self._burst = self._momentum = self._usual = 0.0
        self._record_at = float("-inf")
        self._limit = 0
        self._peak_at = self._floor_at = 0.0
        self._began: float | None = None
        self._now: float | None = None
        self._claims: list[tuple[float, int]] = []
        self._trust = 1.0

    def elsewhere(self) -> Account:
        """Return an account for another ceiling: another usage, but the same program."""
        account = Account()
        account._return_rate, account._at_once = self._return_rate, self._at_once
        account._began = self._began
        return account

    @property
    def burst(self) -> int:
        """The largest recent growth of others within about half a second, halved every two minutes."""
        return int(self._burst)

    @property
    def expected(self) -> int:
        """What others are expected to grow to: to where they lately were, or by what they once grew."""
        return max(self.peak, self.floor + self.burst, self.others)

    @property
    def going_on(self) -> int:
        """What others are about to grow by, as they do just now, and what has to be freed ahead for it.

        Less where evicting gives little back, and no more than they take until somebody looks again and,
        where memory comes back when trimmed, has it trimmed. A burst that is larger than any before may be
        the unknown first one: three times as much may follow, up to all of that.
        """
        if self._momentum < 1.0:
            return 0
        growth, first = self._momentum, 0.0
        if self.unheard_of:
            rest = self.unknown(self._limit) - growth
            growth, first = max(growth, rest), max(0.0, min(rest, 3.0 * growth))
        at_once = min(self._at_once or 0.0, self.return_rate)
        back = min(1.0, 2.0 * self.return_rate)
        late = min(growth * max(0.0, back - at_once), BURST_RATE * (self.reaction + LONGEST_TRIM))
        return int(max(late + min(growth * at_once, self._quick), first * back))

    @property
    def unheard_of(self) -> bool:
        """Whether others grow by a quarter more than lately at most: maybe the unknown first burst."""
        return self._momentum > max(1.25 * self._usual, self._most / 6)

    @property
    def _quick(self) -> float:
        """What others may take until somebody has looked."""
        return min(BURST_RATE * self.reaction, self._most)

    @property
    def momentum(self) -> int:
        """What others grew by in the last half second or so; it halves every half second."""
        return int(self._momentum)

    @property
    def return_rate(self) -> float:
        """The share of freed bytes that the kernel got back lately; 0 as long as that was never seen."""
        return self._return_rate or 0.0

    @property
    def needs_trims(self) -> bool:
        """Whether most of what the kernel gets back it lately got only when malloc was trimmed."""
        return 2.0 * (self._at_once or 0.0) < self.return_rate

    @property
    def to_return_one(self) -> float:
        """How many bytes to free for one that is to come back: at most 2, and 1 while nothing is known."""
        return 1.0 if self._return_rate is None else 1.0 / max(0.5, self._return_rate)

    def room_for(self, growth: int) -> int:
        """What to leave free for others to grow by `growth` once more.

        All that caches cannot give back to the kernel at once; and of what they can, as much as others may
        take until somebody has looked.
        """
        growth = max(0, growth)
        at_once = min(self._at_once or 0.0, self.return_rate)
        late = growth * (1.0 - at_once)
        # At the top of a burst a second one is not expected, but what costs next to nothing stays ready.
        return int(late + min(max(growth, self._burst) * at_once, self._quick))

    def room_for_first(self, growth: int) -> int:
        """What to leave free for others' first growth by `growth`.

        A program need not ever have such a burst, so it may cost twice its size in entries: what comes back
        by half or more comes back in full. Of that, as much is left free as others may take until somebody
        has looked, and trimmed where malloc lets go only then. What caches cannot give, with all that they
        hold, is left free in full.
        """
        growth = max(0, growth)
        rate = self.return_rate
        back = min(min(1.0, 2.0 * rate) * growth, rate * self.cached)
        when_trimmed = 1.0 - min(1.0, (self._at_once or 0.0) / rate) if rate else 1.0
        return int(growth - back + min(back, BURST_RATE * (self.reaction + LONGEST_TRIM * when_trimmed)))

    def unknown(self, limit: int) -> int:
        """How much others, under `limit`, may first grow by that nobody knows yet: a convention.

        32 % of what they leave, falling to 20 % with the age of the program, at most 2 GiB. A larger first
        burst may not be survived where freed memory does not go back to the kernel.
        """
        always, young = UNKNOWN_BURST
        age = (self._now or 0.0) - (self._began or 0.0)
        share = always + young * 0.5 ** (age / YOUNG)
        return int(min(max(0, limit - self.floor) * share, UNKNOWN_MOST))

    @property
    def in_flight(self) -> int:
        """Bytes that shrinkers without a stated size say they freed and that no reading has shown yet."""
        return sum(amount for _, amount in self._claims) if self._claims else 0

    @property
    def credit(self) -> int:
        """Bytes freed that the headroom does not show: they need not be freed again."""
        return self.retained + self.in_flight

    def observe(
        self,
        usage: int,
        cached: int,
        now: float,
        *,
        limit: int | None = None,
        announced: int = 0,
        idle: int = 0,
        trimmed: bool = False,
        mapped: bool = False,
    ) -> None:
        """Take in one reading: `usage` under the ceiling of `limit`, `cached` in caches, at `now`.

        Others may have grown by as much as was `announced` without that being a burst. malloc holds `idle`
        bytes free: what of it the caches have not left there serves others' next burst. With `trimmed` it
        was just told to return what it can, so usage fell by what had been retained, as far as that goes.
        With `mapped` it serves large values from elsewhere than what it holds free.
        """
        if limit is not None:  # nothing grows for long at a rate that fills a small container at once
            self._most, self._limit = Marks.of(limit).high, limit
        if self._now is None:
            self.usage, self.cached = usage, cached
            self.others = self.peak = self.floor = max(0, usage - cached)
            self._before_burst = self.others
            self._peak_at = self._floor_at = self._now = now
            self._began = now if self._began is None else self._began
            return
        elapsed = max(0.0, now - self._now)
        self._now = now
        if self._claims:
            self._settle_claims(self.usage - usage, now)
        if self.retained:
            self.retained = int(self.retained * 0.5 ** (elapsed / RETAINED_HALF_LIFE))
        self._attribute(usage - self.usage, cached - self.cached, mapped)
        if trimmed:
            self.retained = max(0, self.retained - max(0, self.usage - usage))
        self.usage, self.cached = usage, cached
        self.retained = min(self.retained, max(0, usage - cached))
        before, self.others = self.others, max(0, usage - cached - self.retained)
        self._before_burst += min(announced, max(0, self.others - before))
        self._follow_others(now, elapsed, min(self.others, max(0, idle - self.retained)))

    def _attribute(self, grown: int, inserted: int, mapped: bool) -> None:
        """Book on `retained` by how much usage and cached bytes have grown between two looks."""
        if inserted < 0:
            self.retained += max(0, -inserted - max(0, -grown))
        elif mapped:
            self.retained -= min(self.retained, max(0, inserted - max(0, grown)))
        else:
            self.retained = max(0, self.retained - inserted)

    def _follow_others(self, now: float, elapsed: float, spare: int) -> None:
        """Renew what is expected of others from what they use now, of which malloc holds `spare` bytes."""
        if elapsed > HOLD:
            self._before_burst = self.others  # nobody looked for so long: no telling how fast it grew
        grown = self.others - self._before_burst
        if grown >= self._burst:
            self._record_at = now
        elif now - self._record_at > BURST_SECONDS:
            self._usual = self._burst
        self._burst = max(self._burst * 0.5 ** (elapsed / BURST_HALF_LIFE), grown)
        self._momentum = max(self._momentum * 0.5 ** (elapsed / MOMENTUM_HALF_LIFE), grown)
        self._before_burst += grown if grown < 0 else grown * (1.0 - 0.5 ** (elapsed / BURST_SECONDS))
        fade = 0.5 ** (elapsed / HALF_LIFE)
        # Should time step back, the past is not to be in the future.
        self._peak_at, self._floor_at = min(self._peak_at, now), min(self._floor_at, now)
        top = self.others - spare // 2  # half: in how small pieces it lies there is not known
        if top >= self.peak:
            self.peak, self._peak_at = top, now
        elif now - self._peak_at > HOLD:
            self.peak = top + int((self.peak - top) * fade)
        busy = self.others - spare
        if busy <= self.floor:
            self.floor, self._floor_at = busy, now
        elif now - self._floor_at > HOLD:
            self.floor = busy - int((busy - self.floor) * fade)

    def _settle_claims(self, fallen: int, now: float) -> None:
        """Strike claims that have shown in a fall of usage, the oldest first, and those past their time."""
        left: list[tuple[float, int]] = []
        for until, amount in self._claims:
            shown = min(amount, max(0, fallen))
            fallen -= shown
            if amount == shown:
                self._trust = min(1.0, 2 * self._trust)
            elif until > now:
                left.append((until, amount - shown))
            else:
                self._trust = max(1 / 64, self._trust / 2)
        self._claims = left

    def claim(self, amount: int, now: float) -> None:
        """Believe for a second that `amount` bytes outside the stated sizes were freed.

        Half as much is believed each time that claims did not come true, and twice as much when they do.
        """
        if amount > 0:
            self._claims.append((now + IN_FLIGHT_SECONDS, int(amount * self._trust)))

    def trimmed(self, idle: int, fallen: int) -> None:
        """Learn what the kernel got back when malloc, which held `idle` bytes free, was trimmed."""
        self._return_rate = _blend(self._return_rate, fallen / idle)

    def returned(self, freed: int, at_once: int, trimmed: int | None) -> None:
        """Learn what share of `freed` bytes the kernel got back in one reclaim.

        Usage fell by so much `at_once`, and by so much in all after a trim, or none was needed; None: one
        could have brought more.
        """
        self._at_once = _blend(self._at_once, at_once / freed)
        if trimmed is not None:
            self._return_rate = _blend(self._return_rate, trimmed / freed)
