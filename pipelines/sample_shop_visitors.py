"""The sample shop's visitors, and when they come.

A day has eight slots of three hours, and a visitor starts at most one session in a slot: within the first 55 minutes
after the visitor's own shift, for at most an hour. So two sessions of one visitor lie more than an hour apart, and no
day needs to know another. Uniform visitors come every `period` slots; bursty ones have one busy stretch of six slots
in each longer period and come in half of these.

Shapes: V visitors (users, then the anonymous), T slots of a day, S sessions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.sample_shop_settings import SampleShop

MINUTE_MS = 60_000
SLOT_MS = 180 * MINUTE_MS
NUM_SLOTS = 8
UNIFORM_WINDOW_MS = 30 * MINUTE_MS
BURSTY_WINDOW_MS = 55 * MINUTE_MS
BURST_SLOTS = 6
BURST_PRESENCE = 0.5
MAX_SESSIONS_PER_DAY = 4.0
ACTIVITY_SPREAD = 0.4
HOSTILE_USER_IDS = ('u"quoted"', "u'; DROP TABLE users; --", "u/../slash", "u,comma", "üser-用户", "u 🙂")


@dataclass(frozen=True)
class Visitors:
    """Hold who visits: the first `len(ids)` are users, the rest are anonymous. Periods and phases are in slots."""

    ids: list[str]
    bursty_V: NDArray[np.bool_]
    period_V: NDArray[np.float64]
    phase_V: NDArray[np.float64]
    burst_phase_V: NDArray[np.float64]
    burst_step_V: NDArray[np.float64]
    shift_ms_V: NDArray[np.int64]
    cluster_V: NDArray[np.int64]

    def users(self, bursty: bool) -> frozenset[str]:
        """Return the ids of the bursty or of the uniform users."""
        chosen = np.flatnonzero(self.bursty_V[: len(self.ids)] == bursty)
        return frozenset(self.ids[number] for number in chosen)


def plant_visitors(config: SampleShop, mean_session_length: float) -> Visitors:
    """Plant the users and as many anonymous visitors as their share of sessions asks for."""
    rng = config.generator("visitors")
    num_hidden = round(config.num_users * config.anonymous_share / (1 - config.anonymous_share))
    num_visitors = config.num_users + num_hidden
    activity_V = np.exp(ACTIVITY_SPREAD * rng.standard_normal(num_visitors))
    sessions_per_day = config.events_per_day / mean_session_length
    rate_V = np.minimum(sessions_per_day * activity_V / activity_V.sum(), MAX_SESSIONS_PER_DAY)
    bursty_V = rng.random(num_visitors) < config.bursty_share
    period_V = NUM_SLOTS / rate_V * np.where(bursty_V, BURST_SLOTS * BURST_PRESENCE, 1.0)
    return Visitors(
        ids=_ids(config.num_users),
        bursty_V=bursty_V,
        period_V=period_V,
        phase_V=rng.random(num_visitors) * period_V,
        burst_phase_V=rng.random(num_visitors),
        burst_step_V=rng.random(num_visitors),
        shift_ms_V=rng.integers(0, SLOT_MS, num_visitors),
        cluster_V=rng.integers(0, config.num_clusters, num_visitors),
    )


def visits_of_day(
    rng: np.random.Generator, visitors: Visitors, day_index: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the visitor and the start of every session of a day, the start in milliseconds from midnight."""
    uniform = np.flatnonzero(~visitors.bursty_V)
    bursty = np.flatnonzero(visitors.bursty_V)
    row, slot = np.nonzero(_uniform_slots(visitors, uniform, day_index))
    burst_row, burst_slot = np.nonzero(_burst_slots(visitors, bursty, day_index))
    present = rng.random(len(burst_row)) < BURST_PRESENCE
    visitor_S = np.concatenate([uniform[row], bursty[burst_row[present]]])
    slot_start_S = np.concatenate([slot, burst_slot[present]]) * SLOT_MS + visitors.shift_ms_V[visitor_S]
    window_S = np.where(visitors.bursty_V[visitor_S], BURSTY_WINDOW_MS, UNIFORM_WINDOW_MS)
    # The day's last slot may reach over midnight, but its session starts before.
    window_S = np.minimum(window_S, NUM_SLOTS * SLOT_MS - slot_start_S)
    return visitor_S, slot_start_S + rng.integers(0, window_S)


def _uniform_slots(visitors: Visitors, chosen: NDArray[np.int64], day_index: int) -> NDArray[np.bool_]:
    """Mark the slots in which a whole number of periods has passed, (chosen, T)."""
    slot_T = day_index * NUM_SLOTS + np.arange(NUM_SLOTS + 1)
    periods = np.floor((slot_T - visitors.phase_V[chosen, None]) / visitors.period_V[chosen, None])
    return np.diff(periods, axis=1) > 0


def _burst_slots(visitors: Visitors, chosen: NDArray[np.int64], day_index: int) -> NDArray[np.bool_]:
    """Mark the slots of busy stretches, (chosen, T).

    The stretch's place within its period moves by a fixed step each time (a Weyl sequence): irregular to look at, yet
    known for any period without the ones before.
    """
    period = visitors.period_V[chosen, None]
    slot_T = day_index * NUM_SLOTS + np.arange(NUM_SLOTS) - visitors.phase_V[chosen, None]
    number = np.floor(slot_T / period)
    place = (visitors.burst_phase_V[chosen, None] + number * visitors.burst_step_V[chosen, None]) % 1
    after = slot_T - number * period - place * (period - BURST_SLOTS)
    return (after >= 0) & (after < BURST_SLOTS)


def _ids(num_users: int) -> list[str]:
    ids = [f"u{number:05d}" for number in range(num_users)]
    num_hostile = min(num_users, len(HOSTILE_USER_IDS))
    ids[:num_hostile] = HOSTILE_USER_IDS[:num_hostile]
    return ids
