"""Private names of torch's data loader still end the worker processes."""

from torch.utils.data import DataLoader

from squall.datasets.training.loader_internals import end_workers


def test_workers_end_and_the_next_pass_starts_new_ones() -> None:
    loader = DataLoader(
        list(range(4)),  # type: ignore[arg-type]
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="forkserver",
    )
    numbers = [int(number) for number in loader]
    iterator = loader._iterator  # held, as a traceback would hold it
    (worker,) = iterator._workers  # type: ignore[union-attr]
    assert worker.is_alive()
    end_workers(loader)
    assert not worker.is_alive()
    assert loader._iterator is None
    assert [int(number) for number in loader] == numbers == [0, 1, 2, 3]
    end_workers(loader)


def test_a_loader_without_workers_has_nothing_to_end() -> None:
    loader = DataLoader(list(range(4)))  # type: ignore[arg-type]
    assert len(list(loader)) == 4
    end_workers(loader)
    assert len(list(loader)) == 4
