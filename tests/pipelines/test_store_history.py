"""Former states of the tables of a store: what they were, and how they are served again."""

import shutil
from pathlib import Path

import pytest

from pipelines.errors import InputError
from pipelines.store import Store, Write
from tests.pipelines.small_parts import DAYS, part, publish, publish_night, said

FIRST, SECOND, THIRD = DAYS


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_the_history_tells_which_partitions_each_version_changed_newest_first(store: Store) -> None:
    publish(store, "t", part(store, FIRST, "", "aa"), part(store, SECOND, "", "b"), run="r1")
    publish_night(store, FIRST, "x", "other")
    publish_night(store, SECOND, "ccc", run="r2")
    publish(store, "t", partitions=frozenset({FIRST}), run="r3")
    told = [(state.version, state.run, state.partitions, state.num_rows) for state in store.history("t")]
    assert told == [(4, "r3", (FIRST,), 3), (3, "r2", (SECOND,), 5), (1, "r1", (FIRST, SECOND), 3)]
    times = [state.time for state in store.history("t")]
    assert times == sorted(times, reverse=True)


def test_a_rollback_serves_a_former_state_and_numbers_what_differs_anew(store: Store) -> None:
    publish(store, "t", part(store, FIRST, "", "a"), part(store, SECOND, "", "b"))
    publish_night(store, SECOND, "c")
    publish_night(store, THIRD, "d")
    publish_night(store, FIRST, "x", "other")
    store.rollback("t", 1)
    assert said(store) == [(FIRST, "", "a", 1), (SECOND, "", "b", 5)]
    assert said(store, "other") == [(FIRST, "", "x", 4)]
    assert (store.history("t")[0].partitions, store.history("t")[0].run) == ((SECOND, THIRD), "rollback to 1")
    store.rollback("t", 3)
    assert said(store) == [(FIRST, "", "a", 1), (SECOND, "", "c", 6), (THIRD, "", "d", 6)]
    store.rollback("t", 4)  # of another table; this one was then as 3 had it
    assert store.version() == 6


def test_what_one_stage_writes_goes_back_together(store: Store) -> None:
    publish_night(store, FIRST, "a", "source_files")
    publish_night(store, FIRST, "a", "interactions")
    publish_night(store, FIRST, "a", "sessions")
    publish_night(store, SECOND, "b", "source_files")
    publish_night(store, SECOND, "b", "interactions")
    publish_night(store, SECOND, "b", "sessions")
    assert store.rollback("interactions", 3) == ("interactions", "source_files")
    assert [name for _, _, name, _ in said(store, "interactions")] == ["a"]
    assert [name for _, _, name, _ in said(store, "source_files")] == ["a"]
    assert [name for _, _, name, _ in said(store, "sessions")] == ["a", "b"]
    assert store.version() == 7
    assert store.rollback("source_files", 5) == ("source_files", "interactions")
    assert [name for _, _, name, _ in said(store, "interactions")] == ["a", "b"]
    for number in (2, 3):
        (store.work / f"manifests/{number:010}.json").unlink()
    store.rollback("interactions", 2)  # its list is there, and so is what the others were at that time
    assert [name for _, _, name, _ in said(store, "source_files")] == ["a"]


def test_a_state_can_be_served_again_as_long_as_a_manifest_names_it(store: Store) -> None:
    publish_night(store, FIRST, "a")
    publish_night(store, FIRST, "x", "other")
    publish_night(store, FIRST, "b")
    (store.work / "manifests/0000000001.json").unlink()
    assert [state.version for state in store.history("t")] == [3, 1]
    store.rollback("t", 1)
    assert said(store) == [(FIRST, "", "a", 4)]


def test_a_run_in_flight_notices_a_rollback(store: Store) -> None:
    publish_night(store, FIRST, "a")
    publish_night(store, FIRST, "b")
    seen = store.version()
    store.rollback("t", 1)
    with pytest.raises(InputError, match="version 3 by run rollback to 1"):
        store.publish([Write("t", (part(store, FIRST, "", "c"),))], seen=seen, run="r")


def test_a_rollback_to_what_is_not_there_says_what_is(store: Store) -> None:
    publish_night(store, FIRST, "a", "sessions")
    publish_night(store, FIRST, "b", "sessions")
    publish_night(store, FIRST, "b", "items")
    with pytest.raises(InputError, match=r"no version 9 of sessions(.|\n)*allowed: 2, 1\n"):
        store.rollback("sessions", 9)
    with pytest.raises(InputError, match=r"no version 1 of items(.|\n)*allowed: 3\n"):
        store.rollback("items", 1)
    for ask in (store.history, lambda table: store.rollback(table, 1)):
        with pytest.raises(InputError, match=r"no table 'session'(.|\n)*did you mean 'sessions'"):
            ask("session")
    assert store.version() == 3


def test_a_rollback_to_files_that_are_gone_is_refused(store: Store) -> None:
    publish_night(store, FIRST, "a")
    publish_night(store, FIRST, "b")
    shutil.rmtree(store.work / "runs/a")
    with pytest.raises(InputError, match=f"files of the store are gone(.|\n)*runs/a/t/{FIRST}_.parquet"):
        store.rollback("t", 1)
    assert said(store) == [(FIRST, "", "b", 2)]


def test_numbers_that_are_given_for_ever_are_not_taken_back(store: Store) -> None:
    publish_night(store, FIRST, "a", "metadata_vocabulary")
    publish_night(store, FIRST, "b", "metadata_vocabulary")
    with pytest.raises(InputError, match="metadata_vocabulary cannot be rolled back"):
        store.rollback("metadata_vocabulary", 1)
    assert store.version() == 2
