import pickle
from pathlib import Path

import pytest

from pipelines.errors import InputError


def _error(value: object = 3) -> InputError:
    return InputError("k is wrong", where=Path("a/b.toml"), value=value, allowed="1 or 2", fix="change k")


def test_the_message_says_what_where_which_value_what_is_allowed_and_what_to_do() -> None:
    assert str(_error()).splitlines() == [
        "k is wrong",
        "  where:   a/b.toml",
        "  value:   3",
        "  allowed: 1 or 2",
        "  fix:     change k",
    ]


def test_the_parts_can_be_read_one_by_one() -> None:
    error = _error()
    assert (error.what, error.where, error.value) == ("k is wrong", "a/b.toml", "3")
    assert (error.allowed, error.fix) == ("1 or 2", "change k")


@pytest.mark.parametrize(("length", "shown"), [(300, "x" * 300), (301, "x" * 300 + "... (301 characters)")])
def test_a_value_is_cut_after_300_characters(length: int, shown: str) -> None:
    assert str(_error("x" * length)).splitlines()[2] == f"  value:   {shown}"
    assert _error("x" * length).value == "x" * length


def test_it_is_no_value_error_for_pydantic_would_swallow_it() -> None:
    assert not isinstance(_error(), ValueError)


def test_it_arrives_whole_from_another_process() -> None:
    for error in (_error(), _error("two\nlines"), _error("x" * 999)):
        arrived = pickle.loads(pickle.dumps(error))
        assert type(arrived) is InputError
        assert (str(arrived), vars(arrived)) == (str(error), vars(error))
