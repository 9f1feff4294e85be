import pytest

from assets.gx_pages import escaped


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("<b>&\"'", "&lt;b&gt;&amp;&quot;&#x27;"),
        ({"<k>": ["<v>", 1, None, ("<t>",)]}, {"&lt;k&gt;": ["&lt;v&gt;", 1, None, ["&lt;t&gt;"]]}),
        (0.5, 0.5),
        (None, None),
    ],
)
def test_texts_are_escaped_wherever_they_stand(value: object, expected: object) -> None:
    assert escaped(value) == expected
