"""Training data: windows of the archives as batches of rain rate, for training and validation.

The room does not know networks, losses or trainers. Start reading at `datamodule.py`; a batch goes
through `windows`, `samples`, `epoch_plan`, `window_reader` and `batch_loader`. To vary samples in
a new way, add a setting to `Sampling`, draw it in `SampleSource` and apply it in `WindowReader` or
`RainDataModule`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
