"""The measurements of exact top-k as Markdown."""

from collections.abc import Mapping
from statistics import median
from typing import Any, Final

from benchmarks.topk_cells import TopkJob

Records = Mapping[str, Mapping[str, Any]]
BASE: Final = "engines/top_products"
LEGEND: Final = """\
s: median of the runs on the wall. GFLOP/s: 2 * users * items * features operations, also where items are left out. MiB
more: by how much the first run raised resident memory over the vectors; the result is in it."""
LISTS: Final = {True: "the same", False: "**different**"}


def markdown(records: Records, base: TopkJob) -> str:
    """All tables; what is not measured is left out."""
    shape = f"{base.num_users:,} users, {base.num_items:,} items, {base.dim} features, the best {base.k}"
    tables = [
        _table(f"### {shape}", "", _of(records, "engines") | _of(records, "requests")),
        _growth("users", records),
        _growth("items", records),
        _blocks(records),
        _indexes(records),
    ]
    return "\n\n".join([LEGEND, *filter(None, tables)])


def gflops(record: Mapping[str, Any]) -> float:
    """Return 10^9 operations of the whole product a second."""
    job = record["job"]
    return float(2 * job["num_users"] * job["num_items"] * job["dim"] / median(record["seconds"]) / 1e9)


def _of(records: Records, group: str) -> dict[str, Mapping[str, Any]]:
    """The measurements of a group by name."""
    prefix = f"{group}/"
    return {key.removeprefix(prefix): record for key, record in records.items() if key.startswith(prefix)}


def _table(title: str, head: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    lines = [title, "", f"| {head} | s (least to most) | GFLOP/s | MiB more |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {_cost(record)} |" for name, record in rows.items()])


def _cost(record: Mapping[str, Any]) -> str:
    if record["status"] != "done":
        return f"{_failure(record)} | |"
    seconds = record["seconds"]
    return f"{_seconds(seconds)} | {gflops(record):.1f} | {record['extra_mib']:.0f}"


def _seconds(seconds: list[float]) -> str:
    return f"{median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"


def _failure(record: Mapping[str, Any]) -> str:
    return f"**{record['status']}** {record['message']}".replace("|", "/")[-200:].strip()


def _growth(what: str, records: Records) -> str:
    """What a cost is for growing numbers, and of one user and item, which is the same where it grows linearly."""
    rows = _of(records, what)
    if not rows:
        return ""
    lines = [f"### More {what}", "", f"| {what} | s | ns for a user and an item | MiB more |", "|---|---|---|---|"]
    for record in rows.values():
        number = f"{record['job'][f'num_{what}']:,}"
        if record["status"] != "done":
            lines.append(f"| {number} | {_failure(record)} | | |")
            continue
        spent, job = median(record["seconds"]), record["job"]
        each = spent / (job["num_users"] * job["num_items"]) * 1e9
        lines.append(f"| {number} | {spent:.3f} | {each:.3f} | {record['extra_mib']:.0f} |")
    return "\n".join(lines)


def _blocks(records: Records) -> str:
    """Whether lists and scores are, bit for bit, those of the default blocks."""
    rows, digest = _of(records, "blocks"), records.get(BASE, {}).get("digest")
    if not rows or not digest:
        return ""
    lines = ["### Other blocks, other threads", "", "| | s (least to most) | lists and scores |", "|---|---|---|"]
    for name, record in rows.items():
        done = record["status"] == "done"
        verdict = LISTS[record["digest"] == digest] if done else ""
        lines.append(f"| {name} | {_seconds(record['seconds']) if done else _failure(record)} | {verdict} |")
    return "\n".join(lines)


def _indexes(records: Records) -> str:
    """What an approximate index finds, and whether it pays for one batch: building counts."""
    rows = _of(records, "indexes")
    if not rows:
        return ""
    head = "| | s to build | s to search | sum | recall | MiB more |"
    lines = ["### An index instead, with what it takes to build", "", head, "|---|---|---|---|---|---|"]
    exact = records.get(BASE)
    if exact and exact["status"] == "done":
        spent = median(exact["seconds"])
        lines.append(f"| top_products | 0.0 | {spent:.2f} | {spent:.2f} | 1.000 | {exact['extra_mib']:.0f} |")
    for name, record in rows.items():
        if record["status"] != "done":
            lines.append(f"| {name} | {_failure(record)} | | | | |")
            continue
        build, search = record["build_s"], median(record["seconds"])
        sums = f"{build:.2f} | {search:.2f} | {build + search:.2f}"
        lines.append(f"| {name} | {sums} | {record['recall']:.3f} | {record['extra_mib']:.0f} |")
    return "\n".join(lines)
