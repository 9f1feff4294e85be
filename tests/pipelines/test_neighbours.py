from collections.abc import Sequence
from datetime import timedelta
from math import log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.engine import connect, quote
from pipelines.kernel import Relation
from pipelines.log_stages import build_interactions, build_sessions
from pipelines.neighbours import NUM_CANDIDATES, item_neighbours_kernel
from pipelines.settings import Statistics
from pipelines.statistics_stages import build_item_frequency, build_item_neighbours
from tests.pipelines.kernel_run import HOSTILE, STORAGE, History, KernelRun, Row, teaching_settings, visit
from tests.pipelines.small_log import DAY, at, day, event, put_log, rows_of, run, settings_of

HOUR = 3_600


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> KernelRun:
    return KernelRun(tmp_path_factory.mktemp("neighbours"))


def frequency(item: str, variance: float | None) -> Row:
    return {
        "as_of_date": DAY, "item_id": item, "num_events": 1, "num_users": 1, "num_sessions": 1, "first_seen": at(0),
        "last_seen": at(0), "popularity_rank": 1, "share": 0.1, "is_frequent": False, "gap_variance_s2": variance,
        "gap_square_sum_us2": 0,
    }  # fmt: skip


def neighbours_of(
    runs: KernelRun, sessions: Sequence[Row], variances: dict[str, float | None] | None = None, **settings: Any
) -> list[Row]:
    """The neighbours as of day 0, from the events since the day before; an item without a variance has none."""
    items = sorted({item for session in sessions for item in session["item_ids"]})
    rows = [frequency(item, (variances or {}).get(item)) for item in items]
    return runs.run(
        item_neighbours_kernel(Statistics(**settings), DAY),
        [DAY],
        events=History(runs, teaching_settings(), sessions).events(day(-1), day(0)),
        item_frequency=runs.relation("item_frequency", rows),
    )


def pairs(rows: Sequence[Row]) -> list[str]:
    return [row["item_id"] + row["neighbour_id"] for row in rows]


def score_of(similarity: float, gap_s: float, variance: float = 0) -> float:
    """Specification, section 1.3."""
    return 0.4 * similarity / (1 + similarity) + 0.8 / (1 + log(1 + gap_s)) + 0.5 / (1 + log(1 + variance))


def row(item: str, rank: int, neighbour: str, similarity: float, gap_s: float, num: int, variance: float = 0) -> Row:
    return {
        "as_of_date": DAY, "item_id": item, "rank": rank, "neighbour_id": neighbour,
        "similarity": pytest.approx(similarity, rel=1e-8), "mean_gap_s": gap_s, "num_subjects": num,
        "score": pytest.approx(score_of(similarity, gap_s, variance), rel=1e-8),
    }  # fmt: skip


TOY = [
    visit("u", ("a", at(0)), ("b", at(1))),
    visit("v", ("a", at(1)), ("b", at(2)), ("a", at(3)), ("c", at(5))),  # the last event on a counts
    visit("w", ("c", at(6)), ("z", at(6), "look")),
    visit(None, ("b", at(7)), ("c", at(7)), session="u"),  # a subject of its own, though a user bears its name
]


def test_the_neighbours_of_a_toy_shop_by_hand(runs: KernelRun) -> None:
    # Subjects with a: u, v; with b: u, v, session; with c: v, w, session. u and the session have 2 items each, v has 3.
    two, three = 1 / log(3), 1 / log(4)
    ab, ac, bc = (two + three) / sqrt(2 * 3), three / sqrt(2 * 3), (three + two) / sqrt(3 * 3)
    found = neighbours_of(runs, TOY, {"a": 8.0, "c": 100.0})
    # a and b: 1 h in u, 1 h in v; a and c: 2 h in v; b and c: 3 h in v, 0 in the session.
    assert found == [
        row("a", 1, "b", ab, HOUR, 2),
        row("a", 2, "c", ac, 2 * HOUR, 1, 100),
        row("b", 1, "a", ab, HOUR, 2, 8),
        row("b", 2, "c", bc, 1.5 * HOUR, 2, 100),
        row("c", 1, "b", bc, 1.5 * HOUR, 2),
        row("c", 2, "a", ac, 2 * HOUR, 1, 8),
    ]
    assert found[0]["score"] == pytest.approx(0.746978, abs=1e-6)  # 0.4 * 0.666093 / 1.666093 + 0.8 / 9.188967 + 0.5
    assert pairs(neighbours_of(runs, TOY, {"a": 8.0, "c": 100.0}, num_neighbours=1)) == ["ab", "ba", "cb"]


def test_who_has_one_item_makes_no_neighbours(runs: KernelRun) -> None:
    assert neighbours_of(runs, [visit("u", ("a", at(1)), ("a", at(2))), visit("v", ("b", at(3)))]) == []
    assert neighbours_of(runs, []) == []


def test_a_subject_speaks_for_its_newest_items(runs: KernelRun) -> None:
    sessions = [
        visit("u", ("a", at(1)), ("b", at(2)), ("c", at(3)), ("a", at(4))),  # newest first: a, c, b
        visit("v", ("e", at(1)), ("f", at(2)), ("d", at(2)), ("f", at(2))),  # d before f: they are of one second
    ]
    found = neighbours_of(runs, sessions, max_neighbour_items=2)
    assert pairs(found) == ["ac", "ca", "df", "fd"]
    # Both subjects count with two items, and the items with one subject.
    assert [row["similarity"] for row in found] == [pytest.approx(1 / log(3), rel=1e-8)] * 4
    assert len(neighbours_of(runs, sessions, max_neighbour_items=3)) == 12


def test_equal_scores_go_by_the_neighbour(runs: KernelRun) -> None:
    sessions = [visit("u", *((item, at(1)) for item in "dbeac"))]
    found = neighbours_of(runs, sessions, num_neighbours=3)
    assert pairs(found) == [
        "ab", "ac", "ad", "ba", "bc", "bd", "ca", "cb", "cd", "da", "db", "dc", "ea", "eb", "ec",
    ]  # fmt: skip
    assert [row["rank"] for row in found] == [1, 2, 3] * 5


def test_only_the_most_similar_are_scored(runs: KernelRun) -> None:
    # One user for each item x beside the hub: all are equally similar, and the last one is closest in time.
    assert NUM_CANDIDATES == 50  # specification, section 1.8
    names = [f"x{n:02}" for n in range(NUM_CANDIDATES + 2)]
    sessions = [visit(name, ("hub", at(1)), (name, at(2 if name != names[-1] else 1))) for name in names]
    found = [row for row in neighbours_of(runs, sessions, num_neighbours=3) if row["item_id"] == "hub"]
    assert [row["neighbour_id"] for row in found] == names[:3]
    # A second user has the last one, too, and is more similar: now it is among them, and the first.
    sessions.append(visit("more", ("hub", at(1)), (names[-1], at(1)), (names[1], at(1))))
    found = [row for row in neighbours_of(runs, sessions, num_neighbours=3) if row["item_id"] == "hub"]
    assert [row["neighbour_id"] for row in found] == [names[-1], names[1], names[0]]
    # Who asks for more neighbours than that gets them.
    found = neighbours_of(runs, sessions, num_neighbours=NUM_CANDIDATES + 1)
    assert sum(row["item_id"] == "hub" for row in found) == NUM_CANDIDATES + 1


def test_hostile_ids_have_neighbours(runs: KernelRun) -> None:
    found = neighbours_of(runs, [visit(text, *((item, at(1)) for item in HOSTILE)) for text in HOSTILE])
    expected = [(a, b) for a in sorted(HOSTILE) for b in sorted(HOSTILE) if a != b]
    assert [(row["item_id"], row["neighbour_id"]) for row in found] == expected


def test_a_subject_with_a_hundred_thousand_events_speaks_for_as_many_items_as_another(runs: KernelRun) -> None:
    sessions = [
        visit(
            "heavy",
            *((f"i{n % 5_000:04}", at(0) + timedelta(seconds=n % 80_000)) for n in range(start, start + 10_000)),
        )
        for start in range(0, 100_000, 10_000)
    ]
    assert len({row["item_id"] for row in neighbours_of(runs, sessions)}) == 50


def test_many_touches_are_told_apart_by_subject_whatever_the_threads(runs: KernelRun) -> None:
    num_users, num_items = 400_000, 20_000
    path = runs.fresh() / "events.parquet"
    with connect(STORAGE, runs.folder / "scratch") as con:  # user u has the items u, u + 1 and u + 2, an hour apart
        con.execute(f"""
            copy (
                select 'user' as subject_type, 'u' || u as subject_id,
                    format('i{{:05d}}', (u + n) % {num_items}) as item_id,
                    {quote(at(0))}::timestamptz + to_hours(n) as event_time
                from range({num_users}) as users(u), range(3) as items(n)
            ) to {quote(path)}
        """)
    frequencies = [frequency(f"i{n:05}", None) for n in range(num_items)]
    relations = {"events": Relation("", (str(path),)), "item_frequency": runs.relation("item_frequency", frequencies)}
    found = runs.run(item_neighbours_kernel(Statistics(), DAY), [DAY], **relations)
    next_ones = [
        sorted((n + step) % num_items for step in steps) for n in range(num_items) for steps in ((-1, 1), (-2, 2))
    ]
    assert [row["neighbour_id"] for row in found] == [f"i{n:05}" for both in next_ones for n in both]
    users = num_users // num_items
    assert [(row["num_subjects"], row["mean_gap_s"]) for row in found] == [
        (2 * users, HOUR), (2 * users, HOUR), (users, 2 * HOUR), (users, 2 * HOUR)
    ] * num_items  # fmt: skip
    near, far = 2 / 3 / log(4), 1 / 3 / log(4)
    assert [row["similarity"] for row in found] == pytest.approx([near, near, far, far] * num_items, rel=1e-8)


def test_neighbours_come_from_the_window_of_the_night(tmp_path: Path) -> None:
    for number in range(4):
        put_log(tmp_path, number, [event("u", f"i{number}", at(23.5, number)), event("u", "j", at(23.6, number))])
    settings = settings_of(tmp_path, statistics={"neighbour_days": 2})
    stages = (build_interactions, build_sessions, build_item_frequency, build_item_neighbours)
    store = run(settings, day(0), day(3), stages)
    columns = ("as_of_date", "item_id", "neighbour_id")
    found = {(item, neighbour) for _, item, neighbour in rows_of(store, "item_neighbours", *columns)}
    assert found == {(a, b) for a in ("i2", "i3", "j") for b in ("i2", "i3", "j") if a != b}
    # Events after the night are not read either.
    run(settings, day(1), stages=(build_item_frequency, build_item_neighbours))
    found = {r[1:] for r in rows_of(store, "item_neighbours", *columns) if r[0] == day(1)}
    assert found == {(a, b) for a in ("i0", "i1", "j") for b in ("i0", "i1", "j") if a != b}


def dense(sessions: Sequence[Row], variances: dict[str, float | None], num_newest: int) -> dict[tuple[str, str], Row]:
    """Every pair of items, by dense matrices over subjects and items."""
    last: dict[Any, dict[str, int]] = {}
    for session in sessions:
        subject = session["user_id"] or (session["source_session"],)
        for item, time in zip(session["item_ids"], session["event_times"], strict=True):
            seconds = int(time.timestamp())
            last.setdefault(subject, {})[item] = max(seconds, last.get(subject, {}).get(item, 0))
    items = sorted({item for of in last.values() for item in of})
    touched, times = np.zeros((2, len(last), len(items)))
    for number, of in enumerate(last.values()):
        for item in sorted(of, key=lambda item: (-of[item], item))[:num_newest]:
            touched[number, items.index(item)], times[number, items.index(item)] = 1, of[item]
    weights = 1 / np.log(1 + touched.sum(1))
    together = touched.T @ touched
    counts = np.diag(together)
    with np.errstate(invalid="ignore", divide="ignore"):
        similarity = (touched * weights[:, None]).T @ touched / np.sqrt(np.outer(counts, counts))
        both = touched[:, :, None] * touched[:, None, :]
        gap = (both * np.abs(times[:, :, None] - times[:, None, :])).sum(0) / together
    return {
        (a, b): {
            "similarity": similarity[i, j], "mean_gap_s": gap[i, j], "num_subjects": together[i, j],
            "score": score_of(similarity[i, j], gap[i, j], variances.get(b) or 0),
        }
        for i, a in enumerate(items) for j, b in enumerate(items) if i != j and together[i, j]
    }  # fmt: skip


some_visits = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "w", None]),
        st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([0, 1, 5, 600])), min_size=1, max_size=6),
    ),
    max_size=8,
)


@given(some_visits, st.integers(2, 6), st.integers(1, 4))
@hypothesis_settings(max_examples=25, deadline=None)
def test_any_neighbours_are_those_of_dense_matrices(
    runs: KernelRun, visits: list[Any], num_newest: int, num_neighbours: int
) -> None:
    sessions = []
    for number, (user, steps) in enumerate(visits):
        clock, seen = at(number), []
        for item, pause in steps:
            clock += timedelta(seconds=pause)
            seen.append((item, clock))
        sessions.append(visit(user, *seen, session=None if user else f"s{number % 2}", name=str(number)))
    variances = {"a": 0.5, "b": 1e6, "c": None, "d": 3.0}
    found = neighbours_of(runs, sessions, variances, max_neighbour_items=num_newest, num_neighbours=num_neighbours)
    expected = dense(sessions, variances, num_newest)
    for item in {a for a, _ in expected} | {row["item_id"] for row in found}:
        of_item = [row for row in found if row["item_id"] == item]
        best = sorted((values["score"] for (a, _), values in expected.items() if a == item), reverse=True)
        assert [row["rank"] for row in of_item] == list(range(1, len(of_item) + 1))
        assert [row["score"] for row in of_item] == pytest.approx(best[:num_neighbours], rel=1e-7)
        for row in of_item:
            values = expected[item, row["neighbour_id"]]
            assert {name: row[name] for name in values} == pytest.approx(values, rel=1e-7)
    assert pairs(found) == [*dict.fromkeys(pairs(found))]
