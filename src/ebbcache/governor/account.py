"""What memory does, told apart: our caches, the others, and what the allocator merely keeps.

The kernel knows one number, usage. The governor needs three, because they call for different things:
`cached` bytes it can give back, bytes of *others* it must make room for, and *retained* bytes, which were
freed here but which the kernel has not got back; they will be reused, so they are not others' usage.
Every look compares the two numbers that are known, usage and cached, with the look before. Net bytes that
left the caches without usage falling became retained; net bytes that came in without usage rising were
taken out of retained. The estimate is healed by a slow decay towards "it belongs to others", the safe side.

Watermarks follow Linux' min < low < high (mm/page_alloc.c), the peak of others that bounds the caches
follows ClickHouse's page cache. Pure arithmetic on injected numbers and times: no clock, no lock, O(1).
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20

PEAK_HOLD = 5.0  # s: a peak of others counts in full for so long,
PEAK_HALF_LIFE = 10.0  # s: then what lies above the present decays
FALL_HALF_LIFE = 120.0  # s: a burst is expected to come again for minutes
RETAINED_HALF_LIFE = 60.0  # s: how fast an estimate nobody can check is given up
IN_FLIGHT_SECONDS = 1.0  # how long an answer is believed that no reading shows


@dataclass(frozen=True, slots=True)
class Marks:
    """Headroom in bytes: under `low` soft reclaim starts, under `min` hard; either goes on until `high`."""

    min: int
    low: int
    high: int

    @classmethod
    def of(cls, limit: int, fall: int = 0) -> Marks:
        """Return the marks for a ceiling of `limit` bytes whose headroom lately fell by `fall` at once.

        3, 6 and 9 % of the limit, though no more than 256, 512 and 768 MiB; a burst that came between two
        looks once must fit under `low` when it comes again, but never claims over half of the limit.

        >>> Marks.of(256 << 20)
        Marks(min=8388608, low=16777216, high=25165824)
        """
        step = min(limit // 32, 256 * MIB)
        low = max(2 * step, min(fall + step, limit // 2))
        return cls(step, low, low + step)


class Account:
    """The running estimates, renewed by `observe` at each look. Amounts are bytes, times seconds."""

    def __init__(self) -> None:
        self.usage = 0
        self.cached = 0
        self.others = 0
        self.peak = 0
        self.retained = 0
        self.return_rate = 1.0
        self._fall = 0.0
        self._peak_at = 0.0
        self._now: float | None = None
        self._claims: list[tuple[float, int]] = []
        self._trust = 1.0

    @property
    def fall(self) -> int:
        """The largest recent growth of others between two looks, halved every two minutes."""
        return int(self._fall)

    @property
    def in_flight(self) -> int:
        """Bytes that shrinkers without a stated size say they freed and that no reading has shown yet."""
        return sum(amount for _, amount in self._claims)

    @property
    def credit(self) -> int:
        """Bytes freed that the headroom does not show: they need not be freed again."""
        return self.retained + self.in_flight

    def observe(self, usage: int, cached: int, now: float, *, announced: int = 0) -> None:
        """Take in one reading: `usage` under the ceiling, `cached` as shrinkers state it, at `now`.

        Others may have grown by as much as was `announced` without that being a burst.
        """
        if self._now is None:
            self._now = now
            self.usage, self.cached = usage, cached
            self.others = self.peak = max(0, usage - cached)
            self._peak_at = now
            return
        elapsed = max(0.0, now - self._now)
        self._now = now
        self._settle_claims(self.usage - usage, now)
        self._attribute(usage - self.usage, cached - self.cached, elapsed)
        self.usage, self.cached = usage, cached
        self.retained = min(self.retained, max(0, usage - cached))
        before, self.others = self.others, max(0, usage - cached - self.retained)
        self._fall = max(self._fall * 0.5 ** (elapsed / FALL_HALF_LIFE), self.others - before - announced)
        if self.others >= self.peak:
            self.peak, self._peak_at = self.others, now
        elif now - self._peak_at > PEAK_HOLD:
            self.peak = self.others + int((self.peak - self.others) * 0.5 ** (elapsed / PEAK_HALF_LIFE))

    def _attribute(self, grown: int, inserted: int, elapsed: float) -> None:
        """Book the change of usage and of cached bytes between two looks on `retained`."""
        self.retained = int(self.retained * 0.5 ** (elapsed / RETAINED_HALF_LIFE))
        if inserted < 0:
            self.retained += max(0, -inserted - max(0, -grown))
        else:
            self.retained = max(0, self.retained - max(0, inserted - max(0, grown)))

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

    def returned(self, freed: int, fallen: int) -> None:
        """Learn what share of `freed` bytes the kernel got back in one reclaim: usage fell by `fallen`."""
        if freed >= MIB:
            share = min(1.0, max(0.0, fallen / freed))
            self.return_rate += 0.3 * (share - self.return_rate)

    def give_back(self, amount: int) -> None:
        """Strike `amount` bytes off `retained`: the allocator was told to return them and usage fell."""
        self.retained = max(0, self.retained - max(0, amount))
