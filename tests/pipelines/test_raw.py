import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.engine import connect
from pipelines.errors import InputError
from pipelines.raw import MAX_ROW_BYTES, raw_column, read_raw
from pipelines.settings import Format, Storage
from tests.pipelines.small_log import Read, csv_line, parquet_bytes

OURS = ["source_row", "raw_row", "title", "item_id", "n", "reason", "Source_Row", "RAW_ROW", "Title", "row:n", "raw:n"]
STRANGE = ['say "x"', "it's", "a.b c", "sp ace", "ö🙂", "select", "x" * 500]


def refusal(read: Read, content: str | bytes, columns: Sequence[str], form: str = "csv") -> InputError:
    with pytest.raises(InputError) as caught:
        read(content, columns, form)
    assert caught.value.where.endswith("origin")
    return caught.value


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,x\n2,y\n",
        "a,b\n1,x\n2,y",
        "a,b\r\n1,x\r\n2,y\r\n",
        "a,b\r1,x\r2,y\r",
        "a,b\r\n1,x\n2,y\n",
        "a,b\n1,x\r\n2,y\n",
        "a,b\n1,x\n2,y\r\n",
        "\ufeffa,b\n1,x\n2,y\n",
        '\ufeff"a","b"\n"1","x"\n"2","y"\n',
        "b,other,a\nx,?,1\ny,?,2\n",
        "a,b\n  1 ,x\n2,  y  \n",
        "a,b\n\n1,x\n\n2,y\n\n",
    ],
)
def test_bom_line_ends_order_and_blanks_of_a_csv_do_not_matter(read: Read, content: str) -> None:
    assert read(content, ["a", "b"]) == [(1, "1", "x"), (2, "2", "y")]


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "§", "'"])
def test_another_delimiter_is_taken(read: Read, delimiter: str) -> None:
    assert read(f"a{delimiter}b\n1,5{delimiter}x\n", ["a", "b"], delimiter=delimiter) == [(1, "1,5", "x")]


def test_blank_text_is_null_and_nothing_else_is(read: Read) -> None:
    assert read('a,b\n,   \n"",NULL\n0,nan\n', ["a", "b"]) == [(1, None, None), (2, None, "NULL"), (3, "0", "nan")]


def test_quotes_delimiters_and_newlines_within_quotes_are_text(read: Read) -> None:
    content = 'a,b\n"say ""hi""","1,5"\n"two\n\nlines",\\\n'
    assert read(content, ["a", "b"]) == [(1, 'say "hi"', "1,5"), (2, "two\n\nlines", "\\")]
    pairs = content.replace("\n", "\r\n")
    assert read(pairs, ["a", "b"]) == [(1, 'say "hi"', "1,5"), (2, "two\r\n\r\nlines", "\\")]


def test_in_a_file_of_mixed_line_ends_all_of_them_become_line_feeds(read: Read) -> None:
    assert read('a,b\n"two\r\nlines",2\r\n"a\rb",4\n', ["a", "b"]) == [(1, "two\nlines", "2"), (2, "a\nb", "4")]
    pair_over_two_blocks = "a,b\r\n" + "x" * ((1 << 20) - 7) + ',\r\n"1\r\n2",\r\n'
    assert [row[1][-4:] for row in read(pair_over_two_blocks, ["a"])] == ["xxxx", "1\r\n2"]


def test_malformed_csv_rows_keep_their_numbers_and_their_text(read: Read) -> None:
    content = b'a,b\n1\n"x\ny",2\n3,4,5\n\xff\xfe,6\n7,8\n"p"q,9\n\n'
    assert read(content, ["a", "b"]) == [
        (1, "1"), (2, "x\ny", "2"), (3, "3,4,5"), (4, "??,6"), (5, "7", "8"), (6, '"p"q,9'),
    ]  # fmt: skip


def test_a_quote_that_is_never_closed_takes_the_rest_of_the_file_with_it(read: Read) -> None:
    assert read('a,b\n1,2\n"3,4\n5,6\n', ["a", "b"]) == [(1, "1", "2"), (2, '"3,4\n5,6')]


def test_a_row_that_is_too_long_is_malformed_and_the_next_is_read(read: Read) -> None:
    rows = read(b"a,b\n1,2\n" + b"x" * (MAX_ROW_BYTES + 1) + b",3\n4,5\n", ["a", "b"])
    assert [row[0] for row in rows] == [1, 2, 3]
    assert (rows[0], rows[2]) == ((1, "1", "2"), (3, "4", "5"))
    assert len(rows[1]) == 2


def test_a_long_field_and_a_null_byte_come_through_and_a_header_alone_is_no_row(read: Read) -> None:
    assert read("a,b\n" + "x" * 10_000 + ",1\x002\n", ["a", "b"]) == [(1, "x" * 10_000, "1\x002")]
    assert read("a,b\n", ["a"]) == read("a,b", ["a"]) == []


@pytest.mark.parametrize("names", [OURS, STRANGE], ids=["ours", "strange"])
def test_csv_columns_may_have_any_name(read: Read, names: list[str]) -> None:
    values = [str(number) for number in range(len(names))]
    rows = read(f"{csv_line(names)}\n{csv_line(values)}\noops\n", names)
    assert rows == [(1, *values), (2, "oops")]


def test_unnamed_csv_columns_and_names_over_two_lines_do_no_harm(read: Read) -> None:
    assert read('"",a,,"two\nlines"\n0,1,2,3\n', ["a", "two\nlines"]) == [(1, "1", "3")]


@pytest.mark.parametrize(
    ("content", "told"),
    [("\na,b\n1,2\n", "empty first line"), ("a,b,a\n1,2,3\n", "repeat: ['a']"), (b"\xff,b\n1,2\n", "encode")],
)
def test_a_first_line_that_is_no_header_is_refused(read: Read, content: str | bytes, told: str) -> None:
    error = refusal(read, content, ["a"])
    assert error.what == "the first line is no header"
    assert told in error.value


@pytest.mark.parametrize(("form", "content"), [("csv", "a,B\n1,2\n"), ("json", '{"a": 1, "B": 2}\n{"a": 1}\n')])
def test_mapped_columns_that_are_not_there_are_refused(read: Read, form: str, content: str) -> None:
    error = refusal(read, content, ["a", "b", "c"], form)
    assert (error.what, error.value, error.allowed) == ("a mapped column is missing", "b, c", "a, B")


def test_a_json_key_that_is_always_null_or_there_once_is_a_column(read: Read) -> None:
    assert read('{"a": 1, "b": null}\n{"a": 2}\n', ["a", "b"], "json") == [(1, "1", None), (2, "2", None)]
    assert read('{"a": 1}\n{"b": "x"}\n', ["a", "b"], "json") == [(1, "1", None), (2, None, "x")]
    assert read("oops\n[1]\n", ["a"], "json") == [(1, "oops"), (2, "[1]")]


def test_json_lines_that_end_in_different_ways_keep_their_numbers(read: Read) -> None:
    content = '{"a": 1}\n{"a": 2}\r\n\n{"a": 4}\r\n{"a":\n{"a": 6}\r\n{"a": 7}'
    expected = [(1, "1"), (2, "2"), (4, "4"), (5, '{"a":'), (6, "6"), (7, "7")]
    assert read(content, ["a"], "json") == expected


def test_a_control_character_in_a_json_line_makes_it_malformed_and_cuts_nothing(read: Read) -> None:
    lines = ['{"a": 1}\x01 garbage', '{"a": "\x01"}', '{"a": 3}\x01{"a": 4}']
    assert read("\n".join(lines), ["a"], "json") == list(enumerate(lines, 1))


@pytest.mark.parametrize("content", ["\n", "\n\n   \n\n", "\ufeff\r\n \r\n"])
def test_json_lines_that_are_all_blank_are_an_empty_file(read: Read, content: str) -> None:
    assert "blank lines alone" in refusal(read, content, ["a"], "json").value


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_malformed_json_lines_keep_their_numbers_and_their_text(read: Read, bom: str, end: str) -> None:
    lines = ['{"a": 1}', '{"a": 2', "", '{"a": 3}', "   ", '"text"', "[4]", "5", "null", '{"a": 6}', '{"a": 7} x']
    assert read(bom + end.join(lines), ["a"], "json") == [
        (1, "1"), (2, '{"a": 2'), (4, "3"), (6, '"text"'), (7, "[4]"), (8, "5"), (9, "null"), (10, "6"),
        (11, '{"a": 7} x'),
    ]  # fmt: skip


def test_json_lines_with_bad_bytes_are_malformed(read: Read) -> None:
    content = b'{"a": 1}\r\n{"a": "\xff"}\n{"a": "\x02"}\n{"a": "\\ud800"}\n{"a": 2}\n'
    rows = read(content, ["a"], "json")
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5]
    assert (rows[0], rows[1], rows[4]) == ((1, "1"), (2, '{"a": "?"}'), (5, "2"))


@pytest.mark.parametrize("names", [OURS, STRANGE], ids=["ours", "strange"])
def test_json_keys_may_have_any_name(read: Read, names: list[str]) -> None:
    wanted = [name for name in names if "." not in name]
    row = json.dumps({name: number for number, name in enumerate(wanted)}, ensure_ascii=False)
    assert read(f"{row}\noops\n", wanted, "json") == [(1, *map(str, range(len(wanted)))), (2, "oops")]


@pytest.mark.parametrize("names", [OURS, STRANGE], ids=["ours", "strange"])
def test_parquet_columns_may_have_any_name(read: Read, names: list[str]) -> None:
    table = pa.Table.from_arrays([pa.array([number]) for number in range(len(names))], names=names)
    assert read(parquet_bytes(table), names, "parquet") == [(1, *map(str, range(len(names))))]


def test_a_dotted_path_reaches_into_json_objects_and_arrays_stay_json(read: Read) -> None:
    row = {"a": {"b": {"c": "deep"}}, "d": ["x", 'say "y"'], "e": {"f": 1}, "g": True, "h": 1.5, "a.b": "flat"}
    wanted = ["a.b.c", "d", "e", "g", "h"]
    assert read(json.dumps(row), wanted, "json") == [(1, "deep", '["x","say \\"y\\""]', '{"f":1}', "true", "1.5")]
    assert refusal(read, json.dumps(row), ["a.b.x"], "json").value == "a.b.x"


def test_parquet_values_of_any_type_become_text(read: Read) -> None:
    table = pa.table(
        {
            "number": [1, None],
            "text": [" x ", " "],
            "list": [["a", "b"], None],
            "struct": [{"k": 1}, None],
            "time": pa.array([0, None], pa.timestamp("us")),
            "utc": pa.array([0, None], pa.timestamp("us", tz="UTC")),
        }
    )
    assert read(parquet_bytes(table), table.column_names, "parquet") == [
        (1, "1", "x", '["a","b"]', '{"k":1}', "1970-01-01 00:00:00", "1970-01-01 00:00:00+00"),
        (2, None, None, None, None, None, None),
    ]


def test_a_parquet_file_that_is_cut_damaged_or_none_is_refused(read: Read) -> None:
    content = parquet_bytes(pa.table({"a": [1, 2]}))
    for damaged in (content[:-1], content[:20], content[-30:], b"a,b\n1,2\n", content[:-8] + b"\xff" * 8):
        assert refusal(read, damaged, ["a"], "parquet").what == "the file is no Parquet, or is damaged"
    assert refusal(read, content, ["a", "b"], "parquet").allowed == "a"


def test_the_folder_of_a_file_adds_no_column_and_hides_none(tmp_path: Path) -> None:
    folder = tmp_path / "a=9"
    folder.mkdir()
    (folder / "f.csv").write_text("a,b\n1,2\n")
    (folder / "f.parquet").write_bytes(parquet_bytes(pa.table({"a": [1], "b": [2]})))
    for form in ("csv", "parquet"):
        path = folder / f"f.{form}"
        with connect(Storage(), tmp_path / "scratch") as con:
            select = read_raw(con, Format.model_validate({"format": form}), path, path, ["a", "b"])
            assert con.execute(f"select {raw_column('a')}, {raw_column('b')} from ({select})").fetchall() == [
                ("1", "2")
            ]


texts = st.text(st.characters(exclude_categories=["Cs", "Zs"], exclude_characters="\r\0") | st.just(" "), max_size=8)
csv_rows = st.lists(
    st.one_of(
        st.tuples(texts, texts, texts),
        st.sampled_from([b"too,few", b"one,too,many,fields", b"\xc3\x28,x,y", b'"p"q,x,y', b"x"]),
    ),
    max_size=8,
)


@given(csv_rows, st.lists(st.sampled_from([b"\n", b"\r\n"]), min_size=9, max_size=9), st.booleans(), st.booleans())
@hypothesis_settings(max_examples=80, deadline=None)
def test_any_csv_is_read_row_by_row(
    read: Read, rows: list[tuple[str, ...] | bytes], ends: list[bytes], even: bool, last_end: bool
) -> None:
    lines = [b"a,b,c", *(row if isinstance(row, bytes) else csv_line(row).encode() for row in rows)]
    ends = ends[:1] * len(lines) if even else ends
    content = b"".join(line + end for line, end in zip(lines, ends, strict=False))
    expected = [
        (n, *(value.strip(" ") or None for value in row)) for n, row in enumerate(rows, 1) if not isinstance(row, bytes)
    ]
    found = read(content if last_end or len(lines[-1]) == 0 else content.rstrip(b"\r\n"), ["a", "b", "c"])
    assert [row for row in found if len(row) == 4] == expected
    assert [row[0] for row in found if len(row) == 2] == [n for n, row in enumerate(rows, 1) if isinstance(row, bytes)]


json_values = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), texts)


@given(st.lists(st.tuples(json_values, json_values, st.integers(0, 30)), max_size=8))
@hypothesis_settings(max_examples=40, deadline=None)
def test_any_json_lines_are_read_line_by_line(read: Read, rows: list[tuple[Any, Any, int]]) -> None:
    lines = [json.dumps({"a": a, "b": {"c": b}}) for a, b, _ in rows]
    kept = [
        keep if keep % 3 == 0 and 0 < keep < len(line) else None for line, (*_, keep) in zip(lines, rows, strict=True)
    ]
    cut = [line[:keep] for line, keep in zip(lines, kept, strict=True)]
    expected: list[tuple[Any, ...]] = [(1, None, None)]
    for number, (line, whole, (a, b, _)) in enumerate(zip(cut, lines, rows, strict=True), 2):
        expected.append((number, as_text(a), as_text(b)) if line == whole else (number, line))
    assert read("\n".join(['{"a": null, "b": {"c": null}}', *cut]), ["a", "b.c"], "json") == expected


def as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return (value or "").strip(" ") or None
    return json.dumps(value)
