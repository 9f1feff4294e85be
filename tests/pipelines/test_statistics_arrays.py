from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.sequences import PADDING
from models.statistics import Statistics
from pipelines.errors import InputError
from pipelines.fitting import EVALUATION, SERVING
from pipelines.night import Night
from pipelines.settings import Settings
from pipelines.statistics_arrays import ARRAYS, read_statistics, statistics_arrays, uniformity_of
from pipelines.statistics_stages import build_metadata_vocabulary, build_training_sequences, parts_as_of
from pipelines.store import Write
from pipelines.training_arrays import TrainingData
from pipelines.training_data import load_vocabulary, newest_day, non_empty, training_arrays
from tests.pipelines.small_log import Row, at, day, event, put_log, run, settings_of, state
from tests.pipelines.wild_log import HOSTILE, LOG_STAGES

TABLES = ("item_frequency", "interval_uniformity", "item_neighbours")
NAMES = [name for name in HOSTILE if name.strip()]  # a blank one is no id
LEARNT_FROM = (*LOG_STAGES, build_metadata_vocabulary, build_training_sequences)

# Up to day 2, which is N-2: even comes at noon, odd three times on one day, once has one gap, and s has no user id.
EARLY = [
    [
        event("even", "a", at(12)),
        *(event("odd", "b", at(hour)) for hour in (1, 2, 5)),
        *(event("once", item, at(hour)) for item, hour in (("c", 3), ("d", 3.5))),
        event(None, "e", at(4), "s"),
    ],
    [event("even", "a", at(12, 1))],
    [event("even", "a", at(12, 2))],
]
LATE = [[event("late", "f", at(1, 3))], [event("late", "f", at(1, 4)), event("even", "b", at(12, 4))]]


def log(folder: Path, days: Iterable[list[Row]], **sections: Any) -> Settings:
    for number, rows in enumerate(days):
        put_log(folder, number, rows)
    return settings_of(folder, **({"statistics": {"num_neighbours": 3}} | sections))


def night_of(settings: Settings, number: int, run_id: str = "asked") -> Night:
    return Night(settings, settings.open_store(), day(number), day(number), run_id)


def chain_of(night: Night, chain: str) -> Statistics:
    """The statistics of a chain as its models get them, but of all subjects."""
    arrays = training_arrays(night)
    as_of = night.day
    if chain == EVALUATION:
        newest = newest_day(TrainingData.read(arrays).train, night.settings.nights.time_zone)
        assert newest is not None
        as_of = newest
    return read_statistics(statistics_arrays(night, chain, as_of, load_vocabulary(night), arrays), as_of)


def learnt(night: Night) -> Statistics:
    """Those of the subjects of the evaluation chain."""
    return chain_of(night, EVALUATION).take(non_empty(TrainingData.read(training_arrays(night)).train))


def arrays_of(statistics: Statistics) -> dict[str, bytes]:
    return {name: getattr(statistics, name).tobytes() for name in ARRAYS}


def names(night: Night, numbers: Iterable[int]) -> str:
    ids = load_vocabulary(night).item_ids.to_pylist()
    return "".join(ids[number] for number in numbers)


def neighbours_of(night: Night, statistics: Statistics) -> dict[str, str]:
    found = {names(night, [n]): names(night, row[row != PADDING]) for n, row in enumerate(statistics.neighbours)}
    return {item: neighbours for item, neighbours in found.items() if neighbours}


def variances_of(night: Night, statistics: Statistics) -> dict[str, float]:
    told = np.flatnonzero(~np.isnan(statistics.gap_variance))
    return {names(night, [int(n)]): float(statistics.gap_variance[n]) for n in told}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Five days as one backfill; nobody changes it."""
    settings = log(tmp_path_factory.mktemp("shop"), [*EARLY, *LATE])
    run(settings, day(0), day(4))
    return settings


def test_the_evaluation_knows_items_and_subjects_as_of_its_last_day(shop: Settings) -> None:
    night = night_of(shop, 4)
    found = chain_of(night, EVALUATION)
    assert found.as_of == day(2)
    assert names(night, np.flatnonzero(found.is_frequent)) == "ab"  # 3 events each; 30 % of five are two
    assert variances_of(night, found) == {"a": 0.0, "b": 2 * 3600.0**2}  # 24 and 24 hours; one and three
    assert found.neighbours.shape == (load_vocabulary(night).num_items, 3)
    assert found.neighbours.dtype == np.int32
    assert neighbours_of(night, found) == {"c": "d", "d": "c"}
    # The session s, then even, late, odd and once.
    assert found.is_uniform.tolist() == [False, True, False, False, False]
    assert found.is_uneven.tolist() == [False, False, False, True, False]


def test_serving_knows_what_the_night_has_brought(shop: Settings) -> None:
    night = night_of(shop, 4)
    found = chain_of(night, SERVING)
    assert found.as_of == day(4)
    assert neighbours_of(night, found) == {"a": "b", "b": "a", "c": "d", "d": "c"}
    assert set(variances_of(night, found)) == {"a", "b"}
    # even is less even now, but odd is so still more: 24, 24 and 48 hours, and one and three.
    assert found.is_uniform.tolist() == [False, True, False, False, False]
    assert found.is_uneven.tolist() == [False, False, False, True, False]


def test_each_chain_keeps_its_arrays_and_they_are_written_once(shop: Settings) -> None:
    night = night_of(shop, 4)
    arrays, vocabulary = training_arrays(night), load_vocabulary(night)
    days = {EVALUATION: day(2), SERVING: day(4)}
    first = {chain: statistics_arrays(night, chain, on, vocabulary, arrays) for chain, on in days.items()}
    written = {path: path.stat().st_mtime_ns for folder in first.values() for path in folder.iterdir()}
    again = {chain: statistics_arrays(night, chain, on, vocabulary, arrays) for chain, on in days.items()}
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_no_event_of_the_last_two_nights_is_in_the_statistics_of_the_evaluation(tmp_path: Path) -> None:
    """Other people come at other times for other items, and some of the same for more of the same."""
    other = [
        [event("pat", "z", at(hour, 3)) for hour in (1, 2, 3)],
        [event("odd", item, at(hour, 4)) for hour, item in enumerate("cccceba")],
    ]
    one, two = (
        log(tmp_path / name, [*EARLY, *late], store={"root": "store"}) for name, late in (("1", LATE), ("2", other))
    )
    for settings in (one, two):
        run(settings, day(0), day(2))  # numbers the items that both have
        run(settings, day(3), day(4))
    first, second = night_of(one, 4), night_of(two, 4)
    found, same = learnt(first), learnt(second)
    assert found.as_of == same.as_of == day(2)
    assert found.num_items == same.num_items == 2 + len("abcdef")  # of f, or z, nothing is known
    assert arrays_of(found) == arrays_of(same)
    serving, changed = arrays_of(chain_of(first, SERVING)), arrays_of(chain_of(second, SERVING))
    assert all(serving[name] != changed[name] for name in ARRAYS)


@pytest.mark.parametrize("read", [day(1), day(4)])
def test_arrays_of_another_day_are_refused(shop: Settings, read: Any) -> None:
    night = night_of(shop, 4)
    folder = statistics_arrays(night, EVALUATION, day(2), load_vocabulary(night), training_arrays(night))
    with pytest.raises(ValueError, match=f"are as of {day(2)}; what learns up to {read} needs"):
        read_statistics(folder, read)


@pytest.mark.parametrize("table", TABLES)
def test_rows_as_of_another_day_are_refused(tmp_path: Path, table: str) -> None:
    settings = log(tmp_path, [*EARLY, *LATE])
    store = run(settings, day(0), day(4))
    night = night_of(settings, 4)
    arrays = training_arrays(night)
    (path,) = store.paths(store.parts(table, since=day(4)))
    rows = pq.read_table(path)
    column = rows.schema.get_field_index("as_of_date")
    others = pa.array([*[day(4)] * (rows.num_rows - 1), day(5)], pa.date32())
    pq.write_table(rows.set_column(column, rows.schema.field(column), others), path)
    with pytest.raises(InputError) as caught:
        statistics_arrays(night, SERVING, day(4), load_vocabulary(night), arrays)
    assert (caught.value.where, table in caught.value.what) == (path, True)
    assert (caught.value.value, caught.value.allowed) == (
        f"a row as of {day(5)}", f"rows as of {day(4)}, and no other"
    )  # fmt: skip
    if table == "interval_uniformity":
        with pytest.raises(InputError, match=f"a row as of {day(5)}"):
            uniformity_of(night, day(4), arrays)


def test_what_is_published_of_the_day_is_taken(shop: Settings) -> None:
    night = night_of(shop, 4)
    assert parts_as_of(night, night.day) == {table: night.current(table) for table in TABLES}
    then = parts_as_of(night, day(2))
    for table in ("item_frequency", "interval_uniformity"):  # the backfill has left these of two days ago
        assert then[table] == night.store.parts(table, since=day(2), until=day(2))


def test_what_no_night_has_left_is_counted_and_not_published(tmp_path: Path) -> None:
    settings = log(tmp_path, [*EARLY, *LATE])
    run(settings, day(0), day(4))
    expected = [arrays_of(chain_of(night_of(settings, 4), chain)) for chain in (EVALUATION, SERVING)]
    store = settings.open_store()
    store.publish([Write(table, ()) for table in (*TABLES, "item_users")])
    before = state(store)
    night = night_of(settings, 4)
    assert [arrays_of(chain_of(night, chain)) for chain in (EVALUATION, SERVING)] == expected
    assert state(settings.open_store()) == before
    assert before["item_frequency"] == []


def test_late_events_are_counted_though_the_night_of_the_day_has_not_known_them(tmp_path: Path) -> None:
    """The newest file makes once an uneven user of day 1 with an item g, and g a neighbour of b."""
    late = [*LATE[1], event("once", "g", at(9, 1)), event("odd", "g", at(5.5, 1))]
    settings = log(tmp_path, [*EARLY, *LATE])
    for number in range(4):
        run(settings, day(number))
    put_log(tmp_path, 4, late)
    run(settings, day(4), stages=LEARNT_FROM)
    night = night_of(settings, 4)
    for table, parts in parts_as_of(night, day(2)).items():
        left = night.store.parts(table, since=day(2), until=day(2))  # by night 2, which has not known them
        assert left, table
        assert left != parts, table
    found = chain_of(night, EVALUATION)
    assert found.as_of == day(2)
    assert "g" in neighbours_of(night, found)["b"]
    # s, then even, late, odd and once: 40 % of three are two, and once, after half an hour and a day, is not of them.
    assert found.is_uniform.tolist() == [False, True, False, True, False]
    assert found.is_uneven.tolist() == [False, False, False, False, True]
    fresh = settings_of(tmp_path, statistics={"num_neighbours": 3}, store={"root": "fresh"})
    run(fresh, day(0), day(4))
    assert arrays_of(chain_of(night_of(fresh, 4), EVALUATION)) == arrays_of(found)


def test_a_neighbour_that_has_no_number_yet_leaves_no_hole(tmp_path: Path) -> None:
    """Night 3 runs again after a late event, which puts g between c and d; only night 4 knows g."""
    settings = log(tmp_path, [*EARLY, *LATE], statistics={"num_neighbours": 2})
    run(settings, day(0), day(3))
    put_log(tmp_path, 4, [event("once", item, at(hour, 1)) for item, hour in (("c", 3), ("g", 3.1), ("d", 3.5))])
    store = run(settings, day(4))
    (part,) = parts_as_of(night_of(settings, 3), day(1))["item_neighbours"]
    ranked = pq.read_table(store.work / part.path).to_pylist()
    assert [row["neighbour_id"] for row in ranked if row["item_id"] == "c"] == ["g", "d"]
    night = night_of(settings, 3)
    found = chain_of(night, EVALUATION)
    assert found.as_of == day(1)
    (c,) = (n for n, item in enumerate(load_vocabulary(night).item_ids.to_pylist()) if item == "c")
    assert names(night, found.neighbours[c, :1]) == "d"
    assert found.neighbours[c, 1] == PADDING


@pytest.mark.parametrize(
    ("changed", "name"),
    [({"frequent_share": 1.0}, "is_frequent"), ({"uniform_share": 1.0}, "is_uniform")],
)
def test_a_snapshot_that_other_settings_made_is_not_taken(shop: Settings, changed: Row, name: str) -> None:
    former = chain_of(night_of(shop, 4), EVALUATION)
    other = shop.model_copy(update={"statistics": shop.statistics.model_copy(update=changed)})
    found = chain_of(night_of(other, 4), EVALUATION)
    assert getattr(former, name).sum() < getattr(found, name).sum() == {"is_frequent": 5, "is_uniform": 2}[name]


def test_as_many_neighbours_as_the_settings_say(shop: Settings) -> None:
    other = shop.model_copy(update={"statistics": shop.statistics.model_copy(update={"num_neighbours": 7})})
    assert chain_of(night_of(other, 4), EVALUATION).neighbours.shape[1] == 7


def test_hostile_ids_are_ids_like_any_other(tmp_path: Path) -> None:
    """Every hostile user comes daily for a hostile item and once for x: of equal ones the first 40 % are uniform."""
    days = [[event(name, name, at(number / 8, on)) for number, name in enumerate(NAMES)] for on in range(5)]
    days[0] += [event(name, "x", at(23 + number / 60)) for number, name in enumerate(NAMES)]
    days[0] += [event(None, "x", at(22), NAMES[0])]
    settings = log(tmp_path, days, statistics={"num_neighbours": 10})
    run(settings, day(0), day(4))
    night = night_of(settings, 4)
    found = chain_of(night, EVALUATION)
    data, ids = TrainingData.read(training_arrays(night)), load_vocabulary(night).item_ids.to_pylist()
    assert len(data.is_user) == len(NAMES) + 1
    assert found.is_uniform.sum() == np.ceil(0.4 * len(NAMES))
    assert ((found.is_uniform | found.is_uneven) == data.is_user).all()
    rows = {ids[n]: {ids[m] for m in row[row != PADDING]} for n, row in enumerate(found.neighbours)}
    assert rows["x"] == set(NAMES)
    assert all(rows[name] == {"x"} for name in NAMES)
