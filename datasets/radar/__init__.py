"""Radar files: from one file of any network to scans of rain rate on a grid, with quality control.

Owns the network configuration, units, coordinates, file times and quality rules; it does not find
or fetch files (`squall.datasets.sources`) and does not store scans (`squall.datasets.archive`).
Start reading at `radar_file.read_file`; a new file format needs a reader (see
`squall.datasets.radar.readers`), a new network only a YAML file (see `RadarNetworkConfig`), and a
new quality rule a function in ``quality.py`` and its call in ``radar_file.py``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
