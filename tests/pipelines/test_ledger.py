"""The ledger of raw files: each file once, whatever its name; which were read, and what they held."""

import hashlib
from pathlib import Path

import pytest

from pipelines.errors import InputError
from pipelines.ledger import read_files, read_hashes
from pipelines.log_stages import build_interactions
from pipelines.night import Night
from pipelines.settings import Settings
from pipelines.store import Store
from tests.pipelines.small_log import at, csv_bytes, day, event, put, put_log, rows_of, run, settings_of


def ingest(settings: Settings, first: int = 0, last: int | None = None) -> Store:
    return run(settings, day(first), day(first if last is None else last), [build_interactions])


@pytest.mark.parametrize("nights", [[(0, 0)], [(0, 0), (1, 1)], [(0, 1)]], ids=["one_night", "later_night", "backfill"])
def test_the_same_content_under_another_name_is_refused(tmp_path: Path, nights: list[tuple[int, int]]) -> None:
    content = csv_bytes([event("u", "i", at(1))])
    second = "b-2026-01-01.csv" if nights == [(0, 0)] else "b-2026-01-02.csv"
    settings = settings_of(tmp_path, events={"path": "*-{day}.csv"})
    put(tmp_path, "a-2026-01-01.csv", content)
    for first, last in nights[:-1]:
        ingest(settings, first, last)
    put(tmp_path, second, content)
    with pytest.raises(InputError, match="already ingested under another name") as caught:
        ingest(settings, *nights[-1])
    assert caught.value.where == str(tmp_path / second)
    assert "a-2026-01-01.csv" in caught.value.value
    assert len(settings.open_store().parts("source_files")) == len(nights) - 1


def test_a_file_that_was_renamed_for_its_own_night_takes_the_place_of_the_former(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, events={"path": "*-{day}.csv"})
    former = put(tmp_path, "a-2026-01-01.csv", csv_bytes([event("u", "i", at(1))]))
    ingest(settings)
    former.rename(tmp_path / "b-2026-01-01.csv")
    assert rows_of(ingest(settings), "interactions", "source_file") == ["b-2026-01-01.csv"]


def test_files_without_a_row_are_all_alike_and_no_duplicates(tmp_path: Path) -> None:
    for name in ("a-2026-01-01.csv", "b-2026-01-01.csv", "a-2026-01-02.csv"):
        put(tmp_path, name, b"user,session,item,time\n")
    settings = settings_of(tmp_path, events={"path": "*-{day}.csv"})
    ingest(settings, 0, 0)
    ingest(settings, 1, 1)
    assert sorted(rows_of(settings.open_store(), "source_files", "num_rows")) == [0, 0, 0]


def test_the_files_that_were_read_are_known_by_day_name_and_size(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, events={"path": "*/{day}.csv"})
    assert read_files(settings) == set()
    sizes = [
        put(tmp_path, f"{folder}/{day(number)}.csv", csv_bytes([event(folder, "i", at(1, number))])).stat().st_size
        for folder, number in (("a", 0), ("b", 0), ("it's", 1), ("unread", 2))
    ]
    ingest(settings, 0, 1)
    assert read_files(settings) == {
        (day(0), f"a/{day(0)}.csv", sizes[0]), (day(0), f"b/{day(0)}.csv", sizes[1]),
        (day(1), f"it's/{day(1)}.csv", sizes[2]),
    }  # fmt: skip


def test_hashes_are_those_of_the_files_on_disk_up_to_the_night(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    paths = [put_log(tmp_path, number, [event("u", "i", at(1, number))]) for number in range(3)]
    store = ingest(settings, 0, 2)
    expected = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    for number in range(3):
        night = Night(settings, store, day(number), day(number), "r")
        assert sorted(read_hashes(night)) == sorted(expected[: number + 1])


@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
def test_a_file_that_repeats_one_of_a_later_day_is_refused_too(tmp_path: Path, again: bool) -> None:
    settings = settings_of(tmp_path)
    put_log(tmp_path, 0, [event("v", "i", at(1))])
    if again:
        ingest(settings, 0)
    later = put_log(tmp_path, 1, [event("u", "i", at(1))])
    ingest(settings, 1)
    earlier = put(tmp_path, f"logs/{day(0)}.csv", later.read_bytes())
    with pytest.raises(InputError, match="already ingested under another name") as caught:
        ingest(settings, 0)
    assert caught.value.where == str(earlier)
    assert f"logs/{day(1)}.csv" in caught.value.value


def test_of_several_repeated_files_the_first_is_told(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, events={"path": "*-{day}.csv"})
    for name, number in (("a", 0), ("b", 0), ("b", 1), ("a", 1)):
        put(tmp_path, f"{name}-{day(number)}.csv", csv_bytes([event(name, "i", at(1))]))
    with pytest.raises(InputError) as caught:
        ingest(settings, 0, 1)
    assert caught.value.where == str(tmp_path / f"a-{day(1)}.csv")
    assert caught.value.value.startswith(f"the same bytes as a-{day(0)}.csv (sha256 ")
