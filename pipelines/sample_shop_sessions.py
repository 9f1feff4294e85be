"""The clean sessions of one day: who walks past which items, and when.

A session opens with an item of the visitor's favourite cluster (or any), and each next item is the planted successor
of the one before it with probability `FOLLOW`, else a draw by demand, mostly from the same cluster.

Shapes: S sessions, E events.
"""

import numpy as np
from numpy.typing import NDArray

from pipelines.sample_shop_items import Items, Market
from pipelines.sample_shop_settings import SampleShop
from pipelines.sample_shop_visitors import MINUTE_MS, Visitors, visits_of_day

# A user or item of -1 is null, and so is session 0. `arrival` orders a file's rows. `kind` is 0 for clean rows, else
# 1 + the place in DIRT_KINDS.
ROW = np.dtype(
    [
        ("user", np.int32),
        ("session", np.int64),
        ("item", np.int32),
        ("event", np.int8),
        ("time", np.int64),
        ("arrival", np.int64),
        ("kind", np.int8),
    ]
)
NO_SESSION = 0
EVENTS = ("view", "cart", "purchase")
EVENT_EDGES = (0.85, 0.95)
FOLLOW = 0.6
NUM_DEBUT_SESSIONS = 3
DAY_MS = 86_400_000
MAX_SESSION_MS = 60 * MINUTE_MS
GAP_MS = {"median": 40_000, "least": 2_000, "most": 10 * MINUTE_MS}
SESSIONS_PER_DAY_ID = 10**8
LENGTHS = np.arange(1, 21)
LENGTH_SHARES = 0.8**LENGTHS / np.sum(0.8**LENGTHS)
MEAN_LENGTH = float(LENGTHS @ LENGTH_SHARES)


def sessions_of_day(config: SampleShop, items: Items, visitors: Visitors, day_index: int) -> NDArray[np.void]:
    """Return the events of the sessions that start on a day, session by session, as `ROW`s.

    Times are milliseconds from the midnight before the shop's first day; some lie after the day's last midnight.
    """
    rng = config.generator("sessions", day_index)
    visitor_S, start_S = visits_of_day(rng, visitors, day_index)
    length_S = rng.choice(LENGTHS, size=len(visitor_S), p=LENGTH_SHARES)
    rows = np.zeros(int(length_S.sum()), dtype=ROW)
    first_S = np.cumsum(length_S) - length_S
    session_E = np.repeat(np.arange(len(visitor_S)), length_S)
    user_S = np.where(visitor_S < len(visitors.ids), visitor_S, -1)
    rows["user"] = user_S[session_E]
    rows["session"] = (day_index + 1) * SESSIONS_PER_DAY_ID + session_E
    rows["item"] = _walk(rng, config, items, visitors.cluster_V[visitor_S], first_S, length_S, day_index)
    rows["event"] = np.searchsorted(EVENT_EDGES, rng.random(len(rows)), side="right")
    rows["time"] = day_index * DAY_MS + start_S[session_E] + _offsets(rng, first_S, session_E)
    rows["arrival"] = rows["time"]
    return rows


def _walk(
    rng: np.random.Generator,
    config: SampleShop,
    items: Items,
    favourite_S: NDArray[np.int64],
    first_S: NDArray[np.int64],
    length_S: NDArray[np.int64],
    day_index: int,
) -> NDArray[np.int64]:
    """Return the item of every event; step k of all sessions is drawn at once."""
    market = Market.of_day(items, config.num_clusters, day_index)
    item_E = np.empty(int(length_S.sum()), dtype=np.int64)
    item_E[first_S] = market.draw(rng, favourite_S)
    debut = np.repeat(np.flatnonzero((items.first_day_I == day_index) & (day_index > 0)), NUM_DEBUT_SESSIONS)
    chosen = rng.permutation(len(first_S))[: len(debut)]
    item_E[first_S[chosen]] = debut[: len(chosen)]
    for step in range(1, int(length_S.max(initial=0))):
        here_S = first_S[length_S > step] + step
        item_E[here_S] = _next_items(rng, items, market, item_E[here_S - 1])
    return item_E


def _next_items(rng: np.random.Generator, items: Items, market: Market, item_S: NDArray[np.int64]) -> NDArray[np.int64]:
    following_S = items.successor_I[item_S]
    strays_S = rng.random(len(item_S)) >= FOLLOW
    following_S[strays_S] = market.draw(rng, items.cluster_I[item_S[strays_S]])
    return following_S


def _offsets(rng: np.random.Generator, first_S: NDArray[np.int64], session_E: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return milliseconds from the session's start, strictly rising, at most `MAX_SESSION_MS`."""
    gap_E = GAP_MS["median"] * np.exp(rng.standard_normal(len(session_E)))
    gap_E = np.clip(gap_E, GAP_MS["least"], GAP_MS["most"]).astype(np.int64)
    gap_E[first_S] = 0
    passed_E = np.cumsum(gap_E)
    offset_E = passed_E - passed_E[first_S][session_E]
    longest_S = np.maximum.reduceat(offset_E, first_S) if len(first_S) else offset_E
    excess_S = np.maximum(longest_S, MAX_SESSION_MS)
    return offset_E * MAX_SESSION_MS // excess_S[session_E]
