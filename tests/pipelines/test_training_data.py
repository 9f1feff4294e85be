from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.night import Night
from pipelines.store import Store
from pipelines.training_arrays import TrainingData
from pipelines.training_data import (
    distinct,
    load_training_data,
    load_vocabulary,
    newest_day,
    non_empty,
)
from tests.pipelines.small_sequences import lists_of, make
from tests.pipelines.small_store import Row, day, publish, shop_settings


def sequence_row(subject: str, numbers: list[int], on: int) -> Row:
    """A row of training_sequences: events one minute apart from noon of a day on. A name such as ?x is a session."""
    noon = datetime.combine(day(on), datetime.min.time(), UTC) + timedelta(hours=12)
    return {
        "event_date": day(on),
        "subject_type": "session" if subject.startswith("?") else "user",
        "subject_id": subject.removeprefix("?"),
        "item_numbers": numbers,
        "event_times": [noon + timedelta(minutes=n) for n in range(len(numbers))],
    }


def vocabulary_row(number: int, token: str, field: str = "item", count: int = 1, night: int = 0) -> Row:
    return {"first_night": day(night), "field": field, "token": token, "number": number, "count": count}


def night_with(root: Path, rows: list[Row], **training: int) -> Night:
    """The night of day 5 of a store that holds the rows, and empty files of the other days before day 8.

    Items have numbers up to 9; a later night gave 10 and 11 to others.
    """
    found = Night(shop_settings(training=training), Store(root), day(5), day(5), "run")
    publish(
        found, "training_sequences", {day(n): [row for row in rows if row["event_date"] == day(n)] for n in range(8)}
    )
    numbered = [vocabulary_row(number, str(number), night=0 if number < 10 else 6) for number in range(2, 12)]
    publish(found, "metadata_vocabulary", {day(0): numbered[:8], day(6): numbered[8:]})
    return found


def test_distinct_keeps_each_item_of_a_sequence_once() -> None:
    assert lists_of(distinct(make([7, 3, 7, 7], [], [3, 9], [3]))) == [[3, 7], [], [3, 9], [3]]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=6))
def test_distinct_equals_a_sorted_set(rows: list[list[int]]) -> None:
    assert lists_of(distinct(make(*rows))) == [sorted(set(row)) for row in rows]


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", date(2026, 3, 28)),
        ("Asia/Tokyo", date(2026, 3, 29)),
        ("America/New_York", date(2026, 3, 28)),
        ("Europe/Berlin", date(2026, 3, 29)),
    ],
)
def test_the_newest_day_is_that_of_the_zone(zone: str, expected: date) -> None:
    newest = int(datetime(2026, 3, 28, 23, 30, tzinfo=UTC).timestamp())
    assert newest_day(make([2, 3], [4], times=[newest - 9, newest, 0]), zone) == expected


def test_the_newest_day_knows_summer_time() -> None:
    last_second_of_the_day = int(datetime(2026, 3, 29, 21, 59, 59, tzinfo=UTC).timestamp())
    assert newest_day(make([2], times=[last_second_of_the_day]), "Europe/Berlin") == date(2026, 3, 29)
    assert newest_day(make([2], times=[last_second_of_the_day + 1]), "Europe/Berlin") == date(2026, 3, 30)


def test_without_an_event_there_is_no_newest_day() -> None:
    assert newest_day(make([], []), "UTC") is None


def test_non_empty_names_the_sequences_with_an_event() -> None:
    assert non_empty(make([], [2], [], [3, 4], [])).tolist() == [1, 3]


def test_parts_are_aligned_by_subject_where_a_split_is_missing(tmp_path: Path) -> None:
    rows = [
        sequence_row("cy", [2], 5),
        sequence_row("ann", [5, 4], 1),
        sequence_row("ann", [3], 5),
        sequence_row("?z", [6, 6], 4),
        sequence_row("bob", [7], 4),
        sequence_row("bob", [8], 3),
        sequence_row("z", [9], 2),
    ]
    data = load_training_data(night_with(tmp_path, rows))
    assert data.is_user.tolist() == [False, True, True, True, True]  # ?z, then ann, bob, cy and the user z
    assert lists_of(data.train) == [[], [5, 4], [8], [], [9]]
    assert lists_of(data.validation) == [[6, 6], [], [7], [], []]
    assert lists_of(data.test) == [[], [3], [], [2], []]
    assert newest_day(data.train, "UTC") == day(3)


def test_everything_is_the_three_parts_in_order_of_time(tmp_path: Path) -> None:
    rows = [
        sequence_row("ann", [2], 5),
        sequence_row("ann", [5, 4], 1),
        sequence_row("ann", [3], 4),
        sequence_row("bob", [9], 5),
    ]
    everything = load_training_data(night_with(tmp_path, rows)).everything
    assert lists_of(everything) == [[5, 4, 3, 2], [9]]
    noon = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp())
    assert everything.times.tolist() == [noon + 86_400 * d + s for d, s in ((1, 0), (1, 60), (4, 0), (5, 0), (5, 0))]


def test_days_after_the_night_are_not_read(tmp_path: Path) -> None:
    rows = [sequence_row("ann", [2, 3], 0), sequence_row("ann", [4], 6), sequence_row("bob", [4], 7)]
    data = load_training_data(night_with(tmp_path, rows))
    assert lists_of(data.everything) == [[2, 3]]
    assert lists_of(data.test) == [[2, 3]]


def test_an_item_that_a_later_night_was_the_first_to_number_is_left_out(tmp_path: Path) -> None:
    rows = [
        sequence_row("ann", [10, 5, 10, 4, 11], 1),
        sequence_row("bob", [11, 10], 1),
        sequence_row("ann", [9], 4),
        sequence_row("bob", [10, 3], 5),
    ]
    data = load_training_data(night_with(tmp_path, rows))
    assert (lists_of(data.train), lists_of(data.validation), lists_of(data.test)) == (
        [[5, 4], []], [[9], []], [[], [3]],
    )  # fmt: skip
    noon = int(datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp())
    assert data.train.times.tolist() == [noon + 60, noon + 180]


def test_days_before_the_window_are_not_read(tmp_path: Path) -> None:
    rows = [sequence_row("ann", [number + 2], number) for number in range(6)] + [sequence_row("old", [9], 2)]
    assert lists_of(load_training_data(night_with(tmp_path, rows, window_days=3)).everything) == [[5, 6, 7]]
    four = load_training_data(night_with(tmp_path, rows, window_days=4))
    assert lists_of(four.everything) == [[4, 5, 6, 7], [9]]
    assert lists_of(four.train) == [[4, 5], [9]]


def test_the_last_two_days_are_those_with_events(tmp_path: Path) -> None:
    rows = [sequence_row(who, [number + 2], number) for who, number in [("ann", 0), ("bob", 1), ("ann", 3)]]
    data = load_training_data(night_with(tmp_path, rows))
    assert (lists_of(data.train), lists_of(data.validation), lists_of(data.test)) == (
        [[2], []], [[], [3]], [[5], []],
    )  # fmt: skip


@pytest.mark.parametrize("num_days", [1, 2])
def test_the_newest_days_are_test_and_validation_also_if_there_are_no_others(tmp_path: Path, num_days: int) -> None:
    rows = [sequence_row("ann", [number + 2], number) for number in range(num_days)]
    data = load_training_data(night_with(tmp_path, rows))
    assert lists_of(data.test) == [[num_days + 1]]
    assert lists_of(data.validation) == [[2]] if num_days == 2 else [[]]
    assert lists_of(data.train) == [[]]


def test_of_each_part_the_newest_events_of_a_subject_are_kept(tmp_path: Path) -> None:
    rows = [
        sequence_row("ann", [2, 3], 0),
        sequence_row("ann", [4, 5], 2),
        sequence_row("ann", [6, 7, 8, 9], 4),
        sequence_row("ann", [9, 8, 7, 6], 5),
        sequence_row("bob", [2, 3, 4], 5),
    ]
    data = load_training_data(night_with(tmp_path, rows, max_events=3))
    assert lists_of(data.train) == [[3, 4, 5], []]
    assert lists_of(data.validation) == [[7, 8, 9], []]
    assert lists_of(data.test) == [[8, 7, 6], [2, 3, 4]]


def test_a_night_without_sequences_has_no_subjects(tmp_path: Path) -> None:
    data = load_training_data(night_with(tmp_path, []))
    assert isinstance(data, TrainingData)
    assert (len(data.is_user), len(data.everything)) == (0, 0)
    assert data.is_user.dtype == np.bool_


def item_row(name: str, *category: str, is_listed: bool) -> Row:
    empty = dict.fromkeys(("title", "description", "brand", "price"))
    known = {"category": list(category), "attributes": {}, "first_seen": day(0), "is_listed": is_listed}
    return {"as_of_date": day(5), "item_id": name, **empty, **known}


SHOP = (item_row("old", is_listed=False), item_row("new", is_listed=True), item_row("mid", is_listed=True))


def vocabulary_night(root: Path, rows: list[Row], items: tuple[Row, ...] = SHOP) -> Night:
    night = Night(shop_settings(), Store(root), day(5), day(5), "run")
    publish(night, "items", {day(5): items})
    publish(
        night, "metadata_vocabulary", {day(n): [row for row in rows if row["first_night"] == day(n)] for n in range(8)}
    )
    return night


def test_an_item_stands_at_its_number_and_only_a_listed_one_may_be_shown(tmp_path: Path) -> None:
    tokens = [(4, "mid"), (2, "old"), (5, "left the shop"), (3, "new")]
    rows = [*(vocabulary_row(number, token) for number, token in tokens), vocabulary_row(2, "new", field="brand")]
    vocabulary = load_vocabulary(vocabulary_night(tmp_path, rows))
    assert vocabulary.item_ids.to_pylist() == ["", "", "old", "new", "mid", "left the shop"]
    assert vocabulary.is_listed.tolist() == [False, False, False, True, True, False]
    assert vocabulary.num_items == 6


def test_the_vocabulary_of_a_night_is_what_it_and_the_nights_before_numbered(tmp_path: Path) -> None:
    rows = [
        vocabulary_row(2, "old", night=1),
        vocabulary_row(3, "new", night=5),
        vocabulary_row(4, "later", night=6),
        vocabulary_row(5, "mid", night=5),  # this night ran again after a later one
        vocabulary_row(6, "even later", night=7),
    ]
    vocabulary = load_vocabulary(vocabulary_night(tmp_path, rows))
    assert vocabulary.item_ids.to_pylist() == ["", "", "old", "new", "", "mid"]
    assert vocabulary.is_listed.tolist() == [False, False, False, True, False, True]


def test_items_of_one_category_path_have_one_number(tmp_path: Path) -> None:
    paths = {"a": ["x", "y"], "b": ["x"], "c": [], "d": ["x", "y"], "e": ["x y"], "no number": ["z"]}
    items = tuple(item_row(name, *path, is_listed=True) for name, path in paths.items())
    rows = [vocabulary_row(number, name) for number, name in enumerate("abcdef", start=2)]
    vocabulary = load_vocabulary(vocabulary_night(tmp_path, rows, items))
    found = vocabulary.categories
    assert found.dtype == np.int64
    assert [number == -1 for number in found] == [True, True, False, False, True, False, False, True]
    assert found[2] == found[5]
    assert len({found[2], found[3], found[6]}) == 3
    names = [vocabulary.department_names[place] if place >= 0 else "" for place in vocabulary.departments]
    assert names == ["", "", "x", "x", "", "x", "x y", ""]


def test_an_empty_vocabulary_holds_the_special_numbers_alone(tmp_path: Path) -> None:
    vocabulary = load_vocabulary(vocabulary_night(tmp_path, []))
    assert vocabulary.item_ids.to_pylist() == ["", ""]
    assert vocabulary.is_listed.tolist() == [False, False]
    assert vocabulary.is_listed.dtype == np.bool_


def test_the_hash_of_a_vocabulary_changes_with_its_numbers_and_not_with_its_counts(tmp_path: Path) -> None:
    rows = [vocabulary_row(2, "old"), vocabulary_row(3, "new")]
    recounted = [row | {"count": 9} for row in rows]
    swapped = [vocabulary_row(3, "old"), vocabulary_row(2, "new")]
    with_brand = [*rows, vocabulary_row(2, "maker", field="brand")]
    nights = [vocabulary_night(tmp_path / str(n), r) for n, r in enumerate((rows, recounted, swapped, with_brand))]
    first, same, other, more = (load_vocabulary(night).content_hash for night in nights)
    assert first == same
    assert len({first, other, more}) == 3
