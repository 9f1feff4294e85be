from typing import Any

from benchmarks.peer_tables import best_epoch, markdown, seconds_to_reach


def epoch(number: int, seconds: float, validation: float, test: float) -> dict[str, Any]:
    metrics = {"validation_ndcg": validation, "validation_hit": 0.0, "test_ndcg": test, "test_hit": 2 * test}
    return {"epoch": number, "seconds": seconds, "peak_mib": 700.2, **metrics}


def record(*epochs: dict[str, Any], status: str = "done", num_epochs: int = 0, **more: Any) -> dict[str, Any]:
    numbers = {"num_epochs": num_epochs or len(epochs), "num_targets": 1234, "num_users": 600, "peak_mib": 800.4}
    return {"status": status, "message": "", "epochs": list(epochs), **numbers, **more}


THEIRS = (epoch(1, 10.0, 0.1, 0.05), epoch(2, 30.0, 0.2, 0.07), epoch(3, 20.0, 0.15, 0.06))
OURS = (epoch(1, 4.0, 0.19, 0.08), epoch(2, 5.0, 0.2, 0.09), epoch(3, 6.0, 0.3, 0.1))


def test_seconds_add_up_until_the_goal_is_reached() -> None:
    assert [seconds_to_reach(OURS, goal) for goal in (0.1, 0.2, 0.21, 0.4)] == [4.0, 9.0, 15.0, None]


def test_of_equal_epochs_the_first_is_best() -> None:
    assert best_epoch([epoch(1, 1, 0.1, 0), epoch(2, 1, 0.2, 0), epoch(3, 1, 0.2, 0)])["epoch"] == 2


def test_a_table_compares_with_the_best_epoch_of_rectools() -> None:
    runs = [2.0, 1.0, 3.0]
    records = {"rectools": record(*THEIRS, recommend_s=runs), "ours": record(*OURS), "ours_all": record(OURS[0])}
    head, _, theirs, ours, all_events = markdown("movielens_1m", records).splitlines()[2:]
    assert "| s to 0.2000 |" in head
    assert theirs == (
        "| RecTools, float32 | 1,234 | 20.00 (10.00 to 30.00) | 3 | 0.2000 (2) | 0.0700 | 0.1400 | 0.0600 | 0.1200 "
        "| 40.0 | 300 | 700, 800 |  |"
    )
    assert "| 5.00 (4.00 to 6.00) | 3 | 0.3000 (3) | 0.1000 | 0.2000 | 0.1000 | 0.2000 | 9.0 |  |" in ours
    assert "| not reached |" in all_events


def test_what_ended_early_says_so() -> None:
    stopped = markdown("x", {"rectools": record(*THEIRS, num_epochs=15)})
    assert "time limit after 3 of 15 epochs" in stopped
    failed = record(status="failed", num_epochs=15) | {"message": "KeyError: | 'a'"}
    table = markdown("x", {"rectools": failed, "ours": record(*OURS)})
    assert "**failed** KeyError: / 'a' |" in table
    assert "| s to RecTools' best |" in table
