from models.stages import Pass, Run, StepRecord


def test_a_pass_is_done_once_and_told() -> None:
    seen: list[StepRecord] = []
    done: list[int] = []
    report = Pass("count", lambda: done.append(1)).run(Run(0, "", seen.append))
    assert done == [1]
    assert report.records == tuple(seen)
    assert (seen[0].stage, seen[0].step, seen[0].epoch, report.best_epoch) == ("count", 1, 1, 1)
    assert seen[0].seconds >= 0
    assert seen[0].loss != seen[0].loss  # there is none


def test_random_numbers_are_those_of_the_seed_the_stage_and_the_step() -> None:
    def draw(seed: int, stage: str, *numbers: int) -> float:
        return float(Run(seed, "any").generator(stage, *numbers).random())

    drawn = [draw(0, "fit", 1), draw(0, "fit", 1), draw(1, "fit", 1), draw(0, "tune", 1), draw(0, "fit", 2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 4
