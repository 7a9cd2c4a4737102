"""Readers: one module for each file format, each of which opens one radar file.

A reader finds scans, times, grid and packing in the file and yields them as a
`squall.datasets.radar.product.Product`; it does not convert units, judge quality or know archives.
Start reading at `squall.datasets.radar.opening.open_product`, then the shortest reader,
`odim.open_odim`.

To add a file format ``FORMAT``:

1. Write ``readers/FORMAT.py`` with a context manager ``open_FORMAT(path, config)`` that yields a
   `Product`, and raises `DataError` for a file that it cannot use. The path is that of the unpacked
   file.
2. Add a line to the table of ``radar/formats.py``: the format's name, its reader, and what tells it
   from the content of a file (``radar/signatures.py``). If files hold several fields, add a
   function that lists them for `squall init` (``readers/field_lists.py``).
3. Add a word on it to the description of ``RadarNetworkConfig.format`` in
   ``radar/network_config.py``, and a line to the table of ``docs/formats.md``.
4. Copy ``tests/datasets/radar/readers/test_knmi_hdf5.py`` and change what it writes: one test for
   times, grid and packing each, one for each rejected file, one for a file cut off anywhere.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
