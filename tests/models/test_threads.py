import torch

from models.threads import one_thread_a_block


def test_blocks_have_a_thread_each_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread_a_block() as pool:
            assert list(pool.map(lambda _: torch.get_num_threads(), range(4))) == [1] * 4
        assert torch.get_num_threads() == 2
        with one_thread_a_block() as pool:  # a new thread, of what is set now
            torch.set_num_threads(2)
            assert list(pool.map(lambda number: number * number, range(5))) == [0, 1, 4, 9, 16]
    finally:
        torch.set_num_threads(before)
