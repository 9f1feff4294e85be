from typing import Any

import pytest
import torch

from models.cosine import FIRST_SCALE
from models.item_tower import FieldTable
from models.m2trec_network import M2TRecConfig, Network
from models.negatives import Negatives
from tests.models.small_catalogue import values

NUM_ITEMS = 50


def network(**settings: Any) -> Network:
    """Each item has one of 9 values in a field and one of 7 in another; a head has 9."""
    torch.manual_seed(0)
    config = M2TRecConfig.model_validate({"dim": 8, "num_heads": 2, "length": 6} | settings)
    fields = [values(*[[2 + item % size] for item in range(NUM_ITEMS)], num_values=size + 2) for size in (9, 7)]
    parts = [FieldTable(field, field.num_values, 4, drop_rate=0) for field in fields]
    return Network(config, NUM_ITEMS, parts, [fields[0].num_values]).double().eval()


def test_no_event_sees_a_later_one() -> None:
    net = network(pooling="average")
    short, long = torch.tensor([[2, 3, 4]]), torch.tensor([[2, 3, 4, 9, 0]])
    torch.testing.assert_close(net(long)[:, :3], net(short))
    assert not torch.allclose(net(long)[:, 3], net(short)[:, 2])
    torch.testing.assert_close(net.at(long, torch.tensor([2])), net(short)[:, 2])


@pytest.mark.parametrize("pooling", ["average", "last"])
def test_in_both_directions_padding_and_what_comes_later_change_nothing(pooling: str) -> None:
    net = network(attention="bidirectional", pooling=pooling)
    items, last = torch.tensor([[2, 3, 4, 9, 0], [5, 7, 7, 7, 7]]), torch.tensor([2, 0])
    found = net.at(items, last)
    torch.testing.assert_close(found[:1], net.at(torch.tensor([[2, 3, 4]]), torch.tensor([2])))
    torch.testing.assert_close(found[1:], net.at(torch.tensor([[5]]), torch.tensor([0])))


def test_the_session_is_the_mean_of_its_states() -> None:
    average, last = network(), network(pooling="last")
    items = torch.tensor([[2, 3, 4]])
    x = average._embed(items, torch.arange(3))
    for block in average.blocks:
        x = block(x)
    states = average.norm(x)
    for event in range(3):
        for net, state in ((average, states[:, : event + 1].mean(dim=1)), (last, states[:, event])):
            expected = state / state.norm() * FIRST_SCALE
            torch.testing.assert_close(net(items)[:, event], expected)
            torch.testing.assert_close(net.at(items, torch.tensor([event])), expected)


def test_category_heads_take_the_mean_over_what_is_known() -> None:
    net = network()
    queries, labels = torch.randn(4, 8).double(), torch.tensor([[3, 2, 4, 0]])
    (loss,) = net.category_losses(queries, labels)
    logits = net.heads[0](queries[:3]).log_softmax(dim=1)
    torch.testing.assert_close(loss, -logits[torch.arange(3), torch.tensor([3, 2, 4])].mean())
    (nothing,) = net.category_losses(queries[3:], labels[:, 3:])
    assert float(nothing.detach()) == 0


def test_a_sample_holds_the_vectors_of_targets_and_negatives_once() -> None:
    net = network()
    negatives = Negatives(torch.tensor([9, 3, 9]), torch.zeros(3))
    table, targets, chosen = net.sample(torch.tensor([3, 40]), negatives)
    assert len(table) == 3
    torch.testing.assert_close(table[targets], net.table()[[3, 40]])
    torch.testing.assert_close(table[chosen.numbers], net.table()[[9, 3, 9]])
