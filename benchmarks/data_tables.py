"""The measurements of ``benchmarks.data`` as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.data_shop import KERNELS, STAGES

Records = Mapping[str, Mapping[str, Any]]
NAMES: Final = {"local": "**local**", "duckdb": "plain DuckDB", "polars": "polars", "beam": "Beam"}
NOTES: Final = {
    ("polars", "sessions"): "without session_id: polars has no MD5",
    ("polars", "ingest"): "tells a broken line by its end; SHA-256 by Python",
}
LEGEND: Final = """\
CPU: seconds of processor, user and system, of all processes, without imports. Peak: resident memory of all processes at
one time, with imports. Written: the result. Local and Beam write the rows of each day, in order, into a file of their
own; the peers write one file, in no order. Local and plain DuckDB: 2 threads, memory_limit 2GB. Polars: 2 threads, no
limit. Beam: FnApiRunner with one worker, memory_limit 256MB, 16 buckets. Local and Beam also make the snapshots of one,
two and three days before, of item_frequency and interval_uniformity."""


def markdown(records: Records, sizes: Sequence[int], engines: Sequence[str], about: str) -> str:
    """All tables; what is not measured is left out."""
    kernels = [_kernels(records, num_days, engines) for num_days in sizes]
    parts = [about, LEGEND, *kernels, _dask(records, sizes), _nights(records, sizes)]
    return "\n\n".join(part for part in parts if part)


def _kernels(records: Records, num_days: int, engines: Sequence[str]) -> str:
    lines = [
        _kernel_line(records[f"{num_days}/{kernel}/{engine}"], kernel if engine == engines[0] else "", kernel, engine)
        for kernel in KERNELS
        for engine in engines
        if f"{num_days}/{kernel}/{engine}" in records
    ]
    if not lines:
        return ""
    head = "| kernel | engine | CPU s | wall s | peak MiB | written MiB | note |\n|---|---|---|---|---|---|---|"
    totals = [_total_line(records, num_days, engine) for engine in engines]
    title = f"### Kernels over all of history: {num_days} million events, {num_days} days"
    return "\n".join([title, "", head, *lines, *filter(None, totals)])


def _kernel_line(record: Mapping[str, Any], title: str, kernel: str, engine: str) -> str:
    if record["status"] == "done":
        numbers = f"{record['cpu_s']:.1f} | {record['wall_s']:.1f} | {record['peak_mib']:.0f}"
        written, note = f"{record['num_bytes'] / 2**20:.1f}", NOTES.get((engine, kernel), "")
    else:
        wall = f"{record['wall_s']:.1f}" if "wall_s" in record else ""
        peak = f"{record['peak_mib']:.0f}" if "peak_mib" in record else ""
        numbers, written, note = (
            f" | {wall} | {peak}",
            "",
            f"**{record['status']}** {_short(record['message'])}".strip(),
        )
    return f"| {title} | {NAMES[engine]} | {numbers} | {written} | {note} |"


def _short(message: str) -> str:
    return message.replace("|", "/").replace("\n", " ")[-160:]


def _total_line(records: Records, num_days: int, engine: str) -> str:
    """The sum over all kernels, if all are measured."""
    cells = [records.get(f"{num_days}/{kernel}/{engine}", {}) for kernel in KERNELS]
    if any(cell.get("status") != "done" for cell in cells):
        return ""
    cpu, wall, written = (sum(cell[name] for cell in cells) for name in ("cpu_s", "wall_s", "num_bytes"))
    peak = max(cell["peak_mib"] for cell in cells)
    return f"| all | {NAMES[engine]} | {cpu:.1f} | {wall:.1f} | {peak:.0f} | {written / 2**20:.1f} | |"


def _dask(records: Records, sizes: Sequence[int]) -> str:
    lines = []
    for num_days in sizes:
        one, two = (records.get(f"{num_days}/sessions/dask{n}", {}) for n in (1, 2))
        if one.get("status") == two.get("status") == "done":
            ratio = one["wall_s"] / two["wall_s"]
            lines.append(
                f"| {num_days} | {one['wall_s']:.1f} | {two['wall_s']:.1f} | {ratio:.2f} "
                f"| {one['cpu_s']:.1f} | {two['cpu_s']:.1f} |"
            )
    if not lines:
        return ""
    return "\n".join(
        [
            "### Sessions in Beam on Dask: wall of the pipeline, without the start of the cluster",
            "",
            "| million events | 1 worker, s | 2 workers, s | ratio | 1 worker, CPU s | 2 workers, CPU s |",
            "|---|---|---|---|---|---|",
            *lines,
        ]
    )


def _nights(records: Records, sizes: Sequence[int]) -> str:
    """Stage by stage what a night costs after each length of history."""
    nights = {n: records[f"{n}/night"]["stages"] for n in sizes if records.get(f"{n}/night", {}).get("stages")}
    failed = [f"After {n} days: {_status(records, n)}." for n in sizes if _status(records, n) not in ("", "done")]
    if not nights:
        return "\n".join(failed)
    heads = " | ".join(f"{n} days: CPU s | wall s | peak MiB" for n in nights)
    rows = [
        f"| {stage} | " + " | ".join(_cost(nights[n][stage]) for n in nights) + " |" for stage in STAGES
    ]  # fmt: skip
    sums = {n: _sum(stages.values()) for n, stages in nights.items()}
    title = "### What the next night costs, of one million events, after a history of some days"
    lines = [title, "", f"| stage | {heads} |", "|---" * (1 + 3 * len(nights)) + "|", *rows]
    lines.append("| **sum** | " + " | ".join(_cost(cost) for cost in sums.values()) + " |")
    return "\n".join([*lines, "", *_ratio(sums), *failed])


def _status(records: Records, num_days: int) -> str:
    return str(records.get(f"{num_days}/night", {}).get("status", ""))


def _cost(cost: Mapping[str, float]) -> str:
    return f"{cost['cpu_s']:.2f} | {cost['wall_s']:.2f} | {cost['peak_mib']:.0f}"


def _sum(costs: Any) -> dict[str, float]:
    """Seconds add up, and the peak is the highest."""
    found = list(costs)
    return {
        "cpu_s": sum(cost["cpu_s"] for cost in found),
        "wall_s": sum(cost["wall_s"] for cost in found),
        "peak_mib": max(cost["peak_mib"] for cost in found),
    }


def _ratio(sums: Mapping[int, Mapping[str, float]]) -> list[str]:
    if len(sums) < 2:
        return []
    long, short = sorted(sums)[-1], sorted(sums)[-2]
    ratio = sums[long]["cpu_s"] / sums[short]["cpu_s"]
    return [f"CPU seconds of the night after {long} days over those after {short} days: {ratio:.2f}."]
