"""The SASRec comparison as Markdown, one table a data set."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

Record = Mapping[str, Any]
NAMES: Final = {
    "rectools": "RecTools, float32",
    "rectools_bf16": "RecTools, bfloat16",
    "ours": "**ours**, the same events, float32",
    "ours_bf16": "**ours**, the same events, bfloat16",
    "ours_all": "**ours**, all events, float32",
    "ours_all_bf16": "**ours**, all events, bfloat16",
}
HEAD: Final = (
    "side", "targets an epoch", "s/epoch (least to most)", "epochs", "validation NDCG@10 (epoch)",
    "test NDCG@10", "test HR@10", "after the last: NDCG@10", "HR@10", "s to {goal}", "users/s", "peak MiB", "note",
)  # fmt: skip
LEGEND: Final = """\
s/epoch: median seconds of training on the wall, without imports, preparation of data, and looks at lists. Test: with
the weights of the epoch that is best on the validation part, then with those of the last epoch. s to: seconds of
training until the validation NDCG@10 is at least RecTools' best. users/s: 20 items each, from history to list, items of
the history removed, median of 3. Peak: resident memory of the process when the first epoch was trained, and in the end,
with imports. RecTools lists items that it has learnt from, ours all of the data set."""


def seconds_to_reach(epochs: Sequence[Record], goal: float) -> float | None:
    """Return the seconds of training until the end of the first epoch that reaches a validation NDCG@10."""
    spent = 0.0
    for epoch in epochs:
        spent += epoch["seconds"]
        if epoch["validation_ndcg"] >= goal:
            return spent
    return None


def best_epoch(epochs: Sequence[Record]) -> Record:
    """Return the epoch with the best validation NDCG@10, of equal ones the first."""
    return max(epochs, key=lambda epoch: epoch["validation_ndcg"])


def markdown(task: str, records: Mapping[str, Record]) -> str:
    """Return the table of a data set; what has no epoch has a note alone."""
    rival = records.get("rectools", {}).get("epochs")
    goal = best_epoch(rival)["validation_ndcg"] if rival else None
    head = [name.format(goal="RecTools' best" if goal is None else f"{goal:.4f}") for name in HEAD]
    lines = [head, ["---"] * len(head), *(_row(side, record, goal) for side, record in records.items())]
    return f"### {task}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(side: str, record: Record, goal: float | None) -> list[str]:
    epochs = record["epochs"]
    if not epochs:
        return [NAMES[side], *[""] * (len(HEAD) - 2), _note(record)]
    best, last = best_epoch(epochs), epochs[-1]
    seconds = [epoch["seconds"] for epoch in epochs]
    reached = None if goal is None else seconds_to_reach(epochs, goal)
    runs = record.get("recommend_s")
    return [
        NAMES[side],
        f"{record['num_targets']:,}",
        f"{median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})",
        str(len(epochs)),
        f"{best['validation_ndcg']:.4f} ({best['epoch']})",
        f"{best['test_ndcg']:.4f}",
        f"{best['test_hit']:.4f}",
        f"{last['test_ndcg']:.4f}",
        f"{last['test_hit']:.4f}",
        "" if goal is None else "not reached" if reached is None else f"{reached:.1f}",
        f"{record['num_users'] / median(runs):,.0f}" if runs else "",
        f"{epochs[0]['peak_mib']:.0f}, {record['peak_mib']:.0f}",
        _note(record),
    ]


def _note(record: Record) -> str:
    if record["status"] == "done":
        done, asked = len(record["epochs"]), record["num_epochs"]
        return "" if done == asked else f"time limit after {done} of {asked} epochs"
    return f"**{record['status']}** {record['message']}".replace("|", "/").replace("\n", " ")[-200:].strip()
