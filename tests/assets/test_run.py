import gzip
from datetime import date
from pathlib import Path

import pytest

from assets.run import Plan, from_night, main, plan_nights
from pipelines.errors import InputError
from pipelines.query import run_query
from pipelines.views import FILE_NAME
from tests.assets.small_shop import LAST_NIGHT, NEXT_NIGHT, SHOP, copy_shop, shop_settings, write_next_day

FIRST = SHOP.first_day


def write_logs(folder: Path, *days: int) -> None:
    (folder / "logs").mkdir()
    for day in days:
        (folder / f"logs/events-2026-01-{day:02}.jsonl").touch()


def test_the_first_call_loads_history_and_then_runs_the_last_nights(tmp_path: Path) -> None:
    write_logs(tmp_path, 1, 2, 6)
    plan = plan_nights(shop_settings(tmp_path))
    assert plan == Plan((FIRST, date(2026, 1, 4)), (date(2026, 1, 5), date(2026, 1, 6)))


def test_a_short_history_is_run_night_by_night(tmp_path: Path) -> None:
    write_logs(tmp_path, 1, 2)
    assert plan_nights(shop_settings(tmp_path)) == Plan(None, (FIRST, date(2026, 1, 2)))
    assert plan_nights(shop_settings(tmp_path), until=FIRST) == Plan(None, (FIRST,))
    assert plan_nights(shop_settings(tmp_path), run_last=1) == Plan((FIRST, FIRST), (date(2026, 1, 2),))


def test_files_before_the_first_night_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/events-2025-12-31.jsonl").touch()
    with pytest.raises(InputError, match=r"no raw file to run a night for(.|\n)*nights\.first"):
        plan_nights(shop_settings(tmp_path))


def test_after_a_complete_run_the_last_night_is_due_again_and_new_nights_if_there_are(
    shop_folder: Path, tmp_path: Path
) -> None:
    settings = copy_shop(shop_folder, tmp_path / "shop")
    assert plan_nights(settings) == Plan(None, (LAST_NIGHT,))
    write_next_day(settings)
    assert plan_nights(settings) == Plan(None, (NEXT_NIGHT,))


def test_a_file_that_came_late_is_read_and_the_nights_after_it_run_again(shop_folder: Path, tmp_path: Path) -> None:
    settings = copy_shop(shop_folder, tmp_path / "shop")
    late = date(2026, 1, 3)
    (settings.folder / f"logs/events-{late}.jsonl.gz").write_bytes(gzip.compress(b'{"user": "u"}\n'))
    assert plan_nights(settings) == Plan((late, late), (date(2026, 1, 4), LAST_NIGHT))


def test_a_file_that_has_another_size_by_now_is_read_again(shop_folder: Path, tmp_path: Path) -> None:
    settings = copy_shop(shop_folder, tmp_path / "shop")
    (mended,) = (settings.folder / "logs").glob("events-2026-01-04.*")
    mended.write_bytes(mended.read_bytes() + gzip.compress(b'{"user": "u"}\n'))
    assert plan_nights(settings) == Plan(None, (date(2026, 1, 4), LAST_NIGHT))


def test_a_night_that_runs_again_takes_the_complete_nights_after_it_along(shop_folder: Path, tmp_path: Path) -> None:
    settings = copy_shop(shop_folder, tmp_path / "shop")
    assert from_night(settings, date(2026, 1, 4)) == Plan(None, (date(2026, 1, 4), LAST_NIGHT))
    assert from_night(settings, NEXT_NIGHT) == Plan(None, (NEXT_NIGHT,))


def test_a_complete_run_answers_with_full_lists_for_every_active_user(shop_folder: Path) -> None:
    settings = shop_settings(shop_folder)
    store = settings.open_store()
    assert store.partitions("recommendations") == [date(2026, 1, 4), date(2026, 1, 5)]
    columns, rows = run_query(settings.work_folder / FILE_NAME, "top_for_some_users", {"users": "3", "ranks": "5"})
    assert columns[:2] == ["user_id", "rank"]
    assert [row[1] for row in rows] == [1, 2, 3, 4, 5] * 3


def test_wrong_settings_end_with_exit_code_2_and_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--settings", str(tmp_path / "absent.toml")]) == 2
    assert "the settings file does not exist" in capsys.readouterr().err
