"""Readers: one module for each file format, each of which opens one radar file.

A reader finds scans, times, grid and packing in the file and yields them as a
`squall.datasets.radar.product.Product`; it does not convert units, judge quality or know archives.
Start reading at `choice.reader_of`, then the shortest reader, `odim.open_odim`.

To add a file format ``FORMAT``:

1. Write ``readers/FORMAT.py`` with a context manager ``open_FORMAT(path, config)`` that yields a
   `Product`, and raises `DataError` for a file that it cannot use.
2. Add the format's two lines to ``choice.reader_of``, which imports the reader where it is needed,
   and its name for messages to ``choice.FORMATS``.
3. Add the name to ``format:``, the Literal of `RadarNetworkConfig.format` in
   ``radar/network_config.py``, with a word on it in the field's description.
4. Copy ``tests/datasets/radar/readers/test_knmi_hdf5.py`` and change what it writes: one test for
   times, grid and packing each, one for each rejected file, one for a file cut off anywhere.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
