import pytest

from models.suggestion import suggestion


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("sasrek", "did you mean 'sasrec'? allowed: popular, sasrec"),
        ("pop", "did you mean 'popular'? allowed: popular, sasrec"),
        ("xyz", "allowed: popular, sasrec"),
    ],
)
def test_the_nearest_valid_value_is_named(value: str, expected: str) -> None:
    assert suggestion(value, ["popular", "sasrec"]) == expected
