import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import InputError
from pipelines.manifests import Part, TableState, publication
from pipelines.store import Store
from tests.pipelines.small_parts import DAYS, publish_night, said

FIRST, SECOND, THIRD = DAYS
TIME = datetime(2026, 1, 5, 3, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    publish_night(store, FIRST, "a")
    return store


@pytest.mark.parametrize(
    "content",
    [b'{"version": 2, "tables"', b"[]", b"null", b"{}", b'{"version": 2}', b"\xff", b'{"version": 2, "number": 2, '
     b'"time": "2026-01-05T03:00:00+00:00", "run": "", "changed": [], "tables": []}'],
)  # fmt: skip
def test_a_broken_manifest_is_told_and_no_other_is_added(store: Store, content: bytes) -> None:
    path = store.work / "manifests/0000000002.json"
    path.write_bytes(content)
    for act in (lambda: store.parts("t"), lambda: publish_night(store, FIRST, "b")):
        with pytest.raises(
            InputError, match=r"manifest of the store is broken(.|\n)*0000000002.json(.|\n)*delete the newest"
        ):
            act()
    assert path.read_bytes() == content
    path.unlink()
    assert said(store) == [(FIRST, "", "a", 1)]


@pytest.mark.parametrize("parts", ["{", '[{"unheard": "of"}]', "7"])
def test_a_broken_list_of_a_table_is_told(store: Store, parts: str) -> None:
    (path,) = (store.work / "manifests/tables").iterdir()
    path.write_text('{"version": 2, "number": 1, "time": "2026-01-05T03:00:00Z", "run": "", "parts": ' + parts + "}")
    with pytest.raises(InputError, match=rf"broken(.|\n)*{path.name}"):
        store.parts("t")


def test_a_list_that_is_gone_is_told(store: Store) -> None:
    (path,) = (store.work / "manifests/tables").iterdir()
    path.unlink()
    with pytest.raises(InputError, match=rf"broken(.|\n)*{path.name}(.|\n)*no such file"):
        store.parts("t")


@pytest.mark.parametrize("version", [0, 1, 3, "2"])
def test_a_manifest_of_another_version_is_refused(store: Store, version: Any) -> None:
    path = store.work / "manifests/0000000001.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))
    with pytest.raises(InputError, match=rf"another version(.|\n)*value:   {version}\n  allowed: 2\n"):
        store.parts("t")


def test_files_that_are_no_manifests_are_not_taken_for_one(store: Store) -> None:
    for name in ("1.json", "0000000009.json.bak", ".0000000009.json.1f", "0000000009"):
        (store.work / "manifests" / name).write_text("{}")
    assert store.version() == 1


def test_a_change_is_what_a_state_published_and_what_it_dropped() -> None:
    def part(day: str, version: int, num_rows: int, slice_: str = "") -> Part:
        return Part(day, slice_, "", num_rows, "", version)

    before = TableState(4, TIME, "", (part(FIRST, 4, 1), part(SECOND, 3, 2), part(SECOND, 3, 4, "x")))
    state = TableState(5, TIME, "r", (part(FIRST, 4, 1), part(SECOND, 3, 2), part(THIRD, 5, 8)))
    told = publication(before, state)
    assert (told.version, told.time, told.run) == (5, TIME, "r")
    assert (told.partitions, told.num_rows) == ((SECOND, THIRD), 11)
    assert publication(None, state).partitions == (THIRD,)
