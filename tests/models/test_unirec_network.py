from typing import Any

import numpy as np
import pytest
import torch

from models.calendar import FIELD_SIZES
from models.sequences import FIRST_ITEM
from models.unirec_network import HARMONICS, NUM_PERIODS, CalendarEncoder, MixtureBlock, Network, UniRecConfig

NUM_ITEMS = 30
NO_ITEMS, NO_NEIGHBOURS = np.empty(0, np.int64), np.empty((0, 4), np.int32)
CONFIG = UniRecConfig(dim=8, context_dim=4, length=6, num_heads=3)


def network_of(rare: np.ndarray = NO_ITEMS, neighbours: np.ndarray = NO_NEIGHBOURS, **changes: Any) -> Network:
    torch.manual_seed(0)
    network = Network(CONFIG.model_copy(update=changes), NUM_ITEMS, rare, neighbours)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return network.eval()


def events_of(batch: int, length: int, seed: int = 1) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    columns = [generator.integers(FIRST_ITEM, NUM_ITEMS, (batch, length))]
    columns += [generator.integers(0, size, (batch, length)) for size in FIELD_SIZES.values()]
    return torch.from_numpy(np.stack([*columns, generator.integers(0, 96, (batch, length))], axis=2))


def test_the_calendar_is_a_sum_of_waves_of_every_field() -> None:
    torch.manual_seed(0)
    encoder, fields = CalendarEncoder(5), torch.tensor([[[40, 3, 30, 6, 120, 17, 23], [0] * 7]])
    expected = torch.zeros(2, NUM_PERIODS * len(FIELD_SIZES))
    for row, numbers in enumerate(fields[0].tolist()):
        for field, number in enumerate(numbers):
            for wave in range(NUM_PERIODS):
                value = encoder.shift[field, wave].item()
                for harmonic in range(1, HARMONICS + 1):
                    angle = harmonic * (number + 1) / 10 ** encoder.log_periods[field, wave].item()
                    value += encoder.waves[field, wave, harmonic - 1].item() * np.sin(angle)
                    value += encoder.waves[field, wave, HARMONICS + harmonic - 1].item() * np.cos(angle)
                expected[row, field * NUM_PERIODS + wave] = value
    torch.testing.assert_close(encoder(fields)[0], encoder.project(expected), atol=1e-5, rtol=1e-4)


def test_attention_mixes_both_maps_of_one_sequence_by_hand() -> None:
    torch.manual_seed(0)
    block = MixtureBlock(CONFIG).eval()
    x, context = torch.randn(2, 3, 12), torch.randn(2, 3, 4)
    normed, moments = block.attention_norm(x), block.context_norm(context)
    (query, key), (moment_query, moment_key) = block.to_qk(normed).chunk(2, 2), block.context_to_qk(moments).chunk(2, 2)
    values = block.to_value(normed).unflatten(2, (3, 4))
    attended = torch.zeros(2, 3, 3, 4)
    for b in range(2):
        for t in range(3):
            pairs = [
                torch.stack([query[b, t] @ key[b, s] / 8**0.5, moment_query[b, t] @ moment_key[b, s] / 4**0.5])
                for s in range(t + 1)
            ]
            weights = torch.stack([block.mix_out(torch.relu(block.mix_in(pair))) for pair in pairs]).softmax(dim=0)
            attended[b, t] = torch.einsum("sh,she->he", weights, values[b, : t + 1])
    expected = x + block.from_heads(attended.flatten(2))
    expected = expected + block.narrow(torch.nn.functional.gelu(block.widen(block.feed_norm(expected))))
    torch.testing.assert_close(block(x, context), expected)


@pytest.mark.parametrize("score", ["product", "cosine"])
@pytest.mark.parametrize("changes", [{}, {"time_module": False}, {"taste": False}])
def test_one_event_is_told_as_all_are(changes: dict[str, Any], score: str) -> None:
    network, events, last = network_of(**changes, score=score), events_of(4, 6), torch.tensor([0, 2, 5, 3])
    with torch.no_grad():
        torch.testing.assert_close(network.at(events, last), network(events)[torch.arange(4), last])


def test_no_event_depends_on_a_later_one() -> None:
    network, events = network_of(), events_of(2, 6)
    changed = events.clone()
    changed[:, 3] = events_of(2, 6, seed=2)[:, 3]
    with torch.no_grad():
        before, after = network(events), network(changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any(dim=2).all()


def test_padding_changes_nothing() -> None:
    network, events, last = network_of(), events_of(3, 6), torch.tensor([2, 3, 1])
    padded = events.clone()
    for row, place in enumerate(last.tolist()):
        padded[row, place + 1 :] = 0
    with torch.no_grad():
        torch.testing.assert_close(network.at(padded, last), network.at(events, last))
        torch.testing.assert_close(network.at(padded[:, :4], last), network.at(events, last))


def test_another_user_in_the_batch_changes_nothing() -> None:
    network, events = network_of(), events_of(5, 6)
    changed = events.clone()
    changed[1:] = events_of(5, 6, seed=2)[1:]
    with torch.no_grad():
        assert torch.equal(network(events)[0], network(changed)[0])
        assert torch.equal(network(events.flip(0))[4], network(events)[0])


def test_both_branches_and_the_taste_are_in_the_query() -> None:
    network, events = network_of(score="product"), events_of(2, 5)
    other_calendar, other_gaps = events.clone(), events.clone()
    other_calendar[:, :, 1:-1] = events_of(2, 5, seed=2)[:, :, 1:-1]
    other_gaps[:, :, -1] = (events[:, :, -1] + 1) % 96
    with torch.no_grad():
        query = network(events)
        assert (network(other_calendar) != query).any()
        assert (network(other_gaps) != query).any()
        items = network.items.weight[events[:, :, 0]]
        likes = (items @ items.transpose(1, 2)).masked_fill(~torch.ones(5, 5).tril().bool(), -torch.inf).softmax(2)
        tastes = (0.5 * items + 0.5 * items * (likes @ items)) * 8**0.5
        mean = torch.stack([tastes[:, : place + 1].mean(dim=1) for place in range(5)], dim=1)
        weight = network.taste_weight.item()
        network.taste_weight.zero_()
        torch.testing.assert_close(network(events) + weight * mean, query)


def test_noise_and_drawn_branches_end_with_training() -> None:
    network, events = network_of(dropout=0.0), events_of(2, 5)
    with torch.no_grad():
        assert torch.equal(network(events), network(events))
        network.train()
        assert not torch.equal(network(events), network(events))


def test_the_moment_of_the_target_could_not_change_the_order() -> None:
    """The published score adds the product of the query's other half with the target's moment: equal for all items."""
    network, events = network_of(score="product", time_module=True, taste=False), events_of(2, 5)
    with torch.no_grad():
        x = network._embed(network.items.weight[events[:, :, 0]], events)
        for block in network.blocks:
            x = block(x, x[:, :, 8:])
        both = network.norm(x).unflatten(0, (2, 2)).sum(dim=0)[:, -1]
        moment = torch.randn(4).expand(NUM_ITEMS, 4)
        published = both @ torch.cat([network.items.weight, moment], dim=1).T
        ours = network(events)[:, -1] @ network.items.weight.T
    assert torch.equal(published.argsort(dim=1), ours.argsort(dim=1))


def test_rare_items_are_read_as_a_mixture_with_what_their_neighbours_make_of_them() -> None:
    rare, neighbours = np.array([4, 9]), np.array([[5, 6, 0], [7, 0, 0]], np.int32)
    network = network_of(rare, neighbours, ie_mode="inject", score="product")
    with torch.no_grad():
        raw = network.items.weight
        assert torch.equal(network._inputs(), raw)
        network.share.fill_(0.25)
        network.train(False)
        made = network.enhance(raw[[5, 6]].mean(dim=0))
        torch.testing.assert_close(network._inputs()[4], 0.75 * raw[4] + 0.25 * made)
        made = network.enhance(raw[7])
        torch.testing.assert_close(network._inputs()[9], 0.75 * raw[9] + 0.25 * made)
        others = [item for item in range(NUM_ITEMS) if item not in rare]
        assert torch.equal(network._inputs()[others], raw[others])
        assert torch.equal(network.item_vectors(), raw)


def test_items_are_compared_by_direction_alone() -> None:
    network = network_of(score="cosine")
    torch.testing.assert_close(network.item_vectors().norm(dim=1), torch.ones(NUM_ITEMS))
    torch.testing.assert_close(network.table(), network.item_vectors()[FIRST_ITEM:])


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValueError, match=r"dim \+ context_dim = 12 must be a multiple of num_heads = 5"):
        UniRecConfig(dim=8, context_dim=4, num_heads=5)
