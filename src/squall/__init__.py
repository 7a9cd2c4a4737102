"""Squall: precipitation nowcasting from radar files to forecast maps.

Each stage is a function ``stage(config) -> result``, and a command of the same name:

===============  ===============================  ================================================
function         configuration                    what it does
===============  ===============================  ================================================
synth            SynthConfig                      writes a synthetic radar archive to try things
init             InitConfig                       writes the configuration of a radar network
ingest           IngestConfig                     brings an archive up to date with radar files
status           address                          period, gaps, coverage, rejected scans
export           ExportConfig                     writes an archive as a plain Zarr store (MLCast)
train            TrainConfig                      trains a network on archives
forecast         ForecastConfig                   makes one nowcast or an ensemble
forecast_period  PeriodConfig                     makes the forecasts of a period, in one store
verify           VerifyConfig                     scores many forecasts of several methods
maps             MapsConfig                       draws the maps of a forecast
point            PointConfig                      says what a forecast means for one place
===============  ===============================  ================================================

`open_archive` reads rain rate from an archive as xarray. `RadarNetworkConfig` says how a radar
network's files look; `ExperimentConfig` says what is trained and how. `ConvGRUCell` and
`EncoderForecaster` (`NetworkConfig`) are the model in plain PyTorch.

Packages
--------
squall.convgru : the model: cells, network, heads, motion, losses, checkpoints, packaged weights.
squall.datasets : radar files, the archive, training windows, synthetic radar.
squall.pipeline : the stages and the command line.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
