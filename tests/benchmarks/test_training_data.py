import re
from dataclasses import replace
from pathlib import Path

from benchmarks.data_shop import Workload
from benchmarks.training_data import measure
from pipelines.sample_shop_settings import SampleShop
from pipelines.training_data import load_training_data


def test_every_event_but_the_first_of_a_subject_is_a_target_once(tmp_path: Path) -> None:
    """Windows overlap by one event, which is the input of the next: so N events of S subjects are N - S targets."""
    workload = Workload(
        tmp_path, SampleShop(seed=1, num_days=2, num_users=60, num_items=40, num_clusters=2, events_per_day=300)
    )
    workload.prepare(2, say=lambda _: None)
    night = workload.night(workload.store(2), workload.settings(), 2)
    night = replace(night, first=night.day)
    text = measure(night)
    known = load_training_data(night).everything
    assert text.startswith(f"{len(known.items):,} events of {len(known):,} subjects\n")
    (targets,) = re.findall(r"epoch: ([\d,]+) targets \| \d+\.\d\d \| ", text)
    assert int(targets.replace(",", "")) == len(known.items) - len(known)
    assert text.count("\n| ") == 5
