import gzip
import hashlib
import lzma
import random
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.errors import InputError
from pipelines.sources import day_files, unpack
from pipelines.store_files import hash_file

FIRST, SECOND = date(2026, 1, 1), date(2026, 1, 2)
CONTENT = b"".join(b"%d,%d\n" % (number, number * number % 977) for number in range(3000))


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "xz": lzma.compress, "zst": zstd}
each_packing = pytest.mark.parametrize("suffix", PACKERS)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def packed_file(folder: Path, suffix: str, content: bytes) -> Path:
    path = folder / f"log.csv.{suffix}"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("logs/{day}.csv", ["logs/2026-01-01.csv", "logs/2026-01-02.csv"]),
        ("{day:%Y%m%d}.csv", ["20260101.csv", "20260102.csv"]),
        ("{day:%d.%m.%y}-log", ["01.01.26-log", "02.01.26-log"]),
        ("{day:%Y-%j}", ["2026-001", "2026-002"]),
        ("{day:%Y/%m/%d}/part.csv", ["2026/01/01/part.csv", "2026/01/02/part.csv"]),
        ("date={day}/*.parquet", ["date=2026-01-01/a.parquet", "date=2026-01-02/b.parquet"]),
        ("**/log-{day}.csv*", ["log-2026-01-01.csv.gz", "a/b/log-2026-01-02.csv"]),
        ("log?-{day}.csv", ["log1-2026-01-01.csv", "logx-2026-01-02.csv"]),
        ("a+b (c) [d]-{day}.csv", ["a+b (c) [d]-2026-01-01.csv", "a+b (c) [d]-2026-01-02.csv"]),
    ],
)
def test_files_are_found_by_the_day_in_their_name(tmp_path: Path, template: str, names: list[str]) -> None:
    touch(tmp_path, *names)
    assert day_files(template, tmp_path) == {FIRST: [names[0]], SECOND: [names[1]]}


def test_days_and_the_files_of_a_day_come_in_order_whatever_their_age(tmp_path: Path) -> None:
    touch(tmp_path, "b-2026-01-02.csv", "b-2026-01-01.csv", "a-2026-01-02.csv", "a-2025-12-31.csv")
    found = day_files("*-{day}.csv", tmp_path)
    assert list(found.items()) == [
        (date(2025, 12, 31), ["a-2025-12-31.csv"]),
        (FIRST, ["b-2026-01-01.csv"]),
        (SECOND, ["a-2026-01-02.csv", "b-2026-01-02.csv"]),
    ]


def test_what_only_looks_like_a_days_file_is_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, "2026-01-01.csv", "2026-1-2.csv", "today.csv", "2026-01-02.csv.tmp", "x2026-01-03.csv")
    touch(tmp_path, "sub/2026-01-04.csv", "2026-01-05.csv/inside")
    assert day_files("{day}.csv", tmp_path) == {FIRST: ["2026-01-01.csv"]}


def test_an_absolute_path_and_one_above_the_folder_are_found(tmp_path: Path) -> None:
    touch(tmp_path, "raw/2026-01-01.csv", "configs/x")
    assert day_files("../raw/{day}.csv", tmp_path / "configs") == {FIRST: ["../raw/2026-01-01.csv"]}
    absolute = str(tmp_path / "raw" / "2026-01-01.csv")
    assert day_files(absolute.replace("2026-01-01", "{day}"), tmp_path / "configs") == {FIRST: [absolute]}


def test_an_impossible_day_stops_with_the_name_of_the_file(tmp_path: Path) -> None:
    touch(tmp_path, "2026-01-01.csv", "2026-02-30.csv")
    with pytest.raises(InputError, match=r"does not exist(.|\n)*2026-02-30.csv\n  value:   2026-02-30"):
        day_files("{day}.csv", tmp_path)


def test_no_file_at_all_is_told_with_folder_and_template(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        day_files("logs/{day}.csv", tmp_path)
    assert (caught.value.where, caught.value.value) == (str(tmp_path), "logs/{day}.csv")


def test_an_unknown_directive_is_told_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        day_files("{day:%Y%B}.csv", tmp_path)
    assert (caught.value.value, caught.value.allowed) == ("%B", "%Y, %m, %d, %j, %y")


def test_the_hash_is_that_of_the_bytes_on_disk(tmp_path: Path) -> None:
    path = packed_file(tmp_path, "gz", gzip.compress(CONTENT))
    assert hash_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_plain_file_is_read_where_it_lies(tmp_path: Path) -> None:
    path = packed_file(tmp_path, "txt", CONTENT)
    assert unpack(path, tmp_path / "scratch") == path
    assert not (tmp_path / "scratch").exists()


@each_packing
@pytest.mark.parametrize("content", [b"x", CONTENT, bytes(3 << 20)], ids=["byte", "text", "over_a_block"])
def test_a_packed_file_comes_out_as_it_went_in(tmp_path: Path, suffix: str, content: bytes) -> None:
    plain = unpack(packed_file(tmp_path, suffix, PACKERS[suffix](content)), tmp_path / "scratch")
    assert plain == tmp_path / "scratch" / "log.csv"
    assert plain.read_bytes() == content


@each_packing
def test_packs_that_were_joined_come_out_one_after_the_other(tmp_path: Path, suffix: str) -> None:
    path = packed_file(tmp_path, suffix, PACKERS[suffix](b"a,b\n") + PACKERS[suffix](CONTENT))
    assert unpack(path, tmp_path / "scratch").read_bytes() == b"a,b\n" + CONTENT


@each_packing
@pytest.mark.parametrize("num_bytes", [1, 3, 0.5, -8, -1])
def test_a_truncated_pack_is_refused_and_leaves_nothing_behind(tmp_path: Path, suffix: str, num_bytes: float) -> None:
    packed = PACKERS[suffix](CONTENT)
    end = int(len(packed) * num_bytes) if num_bytes == 0.5 else int(num_bytes)
    path = packed_file(tmp_path, suffix, packed[:end])
    with pytest.raises(InputError, match=r"truncated or damaged(.|\n)*deliver the file again") as caught:
        unpack(path, tmp_path / "scratch")
    assert caught.value.where == str(path)
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("suffix", ["gz", "xz"])
def test_a_flipped_bit_is_refused_or_harmless(tmp_path: Path, suffix: str) -> None:
    packed, generator, num_refused = PACKERS[suffix](CONTENT), random.Random(5), 0
    for _ in range(60):
        damaged = bytearray(packed)
        damaged[generator.randrange(len(packed))] ^= 1 << generator.randrange(8)
        num_refused += is_refused(tmp_path, suffix, bytes(damaged), CONTENT)
    assert num_refused > 50


def test_a_flipped_bit_in_a_zstd_frame_with_a_checksum_is_refused(tmp_path: Path) -> None:
    # printf 'user,item\nu1,i1\n' | zstd --check; without the checksum nobody could tell
    frame = bytes.fromhex("28b52ffd0458810000757365722c6974656d0a75312c69310afaaaba34")
    assert not is_refused(tmp_path, "zst", frame, b"user,item\nu1,i1\n")
    flips = [frame[:n] + bytes([frame[n] ^ 1 << bit]) + frame[n + 1 :] for n in range(len(frame)) for bit in range(8)]
    assert sum(is_refused(tmp_path, "zst", flip, b"user,item\nu1,i1\n") for flip in flips) > 0.95 * len(flips)


def is_refused(folder: Path, suffix: str, packed: bytes, content: bytes) -> bool:
    """Whether a pack is refused; if it is not, it must hold the content."""
    try:
        assert unpack(packed_file(folder, suffix, packed), folder / "scratch").read_bytes() == content
    except InputError:
        return True
    return False


@pytest.mark.parametrize("suffix", ["csv", *PACKERS])
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = packed_file(tmp_path, suffix, b"")
    with pytest.raises(InputError, match=r"the file is empty(.|\n)*value:   0 bytes\n"):
        unpack(path, tmp_path / "scratch")


@each_packing
def test_a_pack_of_nothing_is_refused(tmp_path: Path, suffix: str) -> None:
    path = packed_file(tmp_path, suffix, PACKERS[suffix](b""))
    with pytest.raises(InputError, match="the file is empty"):
        unpack(path, tmp_path / "scratch")


@each_packing
def test_plain_text_under_the_name_of_a_pack_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match="truncated or damaged"):
        unpack(packed_file(tmp_path, suffix, CONTENT), tmp_path / "scratch")
