"""What a verb that computes begins with: a folder that can be written, workers, a device, data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import catalogue, devices, store
from bench.errors import UserError
from bench.launch import Pool
from bench.report.places import published
from bench.schema import Settings


@contextmanager
def opened(settings: Settings) -> Iterator[tuple[Pool, str, int]]:
    """Give the block the pool of OUT, the device ("cpu" or "cuda") and the number of GPUs; data are fetched first.

    Raises UserError for an OUT that cannot be written, a device that is not there, and data that cannot be had.
    """
    root = Path(settings.out)
    _make_usable(root)
    with Pool(root, settings.threads, settings.debug) as pool:
        device, gpus = devices.resolve(settings.device, root, pool)
        _fetch_missing(settings, pool)
        yield pool, device, gpus


def _make_usable(root: Path) -> None:
    if published(root):
        raise UserError(f"out={root} is published; give a folder for runs")
    try:
        root.mkdir(parents=True, exist_ok=True)
        store.write(root / "cache" / "writable", b"")
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"out={root} is a file, or lies below one; give a folder") from None
    except OSError as error:
        raise UserError(f"out={root} cannot be written ({error.strerror}); give another folder") from error
    store.sweep(root)


def _fetch_missing(settings: Settings, pool: Pool) -> None:
    for dataset in {choice.dataset for choice in settings.choices}:
        if not catalogue.is_present(dataset):
            pool.ask("fetch", dataset)
