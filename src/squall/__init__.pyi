from .convgru import ConvGRUCell as ConvGRUCell
from .convgru import EncoderForecaster as EncoderForecaster
from .convgru import NetworkConfig as NetworkConfig
from .datasets.open_archive import open_archive as open_archive
from .datasets.radar.network_config import RadarNetworkConfig as RadarNetworkConfig
from .pipeline.export.config import ExportConfig as ExportConfig
from .pipeline.export.run import export as export
from .pipeline.forecast.config import ForecastConfig as ForecastConfig
from .pipeline.forecast.run import forecast as forecast
from .pipeline.ingest.config import IngestConfig as IngestConfig
from .pipeline.ingest.run import ingest as ingest
from .pipeline.init.config import InitConfig as InitConfig
from .pipeline.init.run import init as init
from .pipeline.maps.config import MapsConfig as MapsConfig
from .pipeline.maps.run import maps as maps
from .pipeline.point.config import PointConfig as PointConfig
from .pipeline.point.run import point as point
from .pipeline.status.summary import status as status
from .pipeline.synth.config import SynthConfig as SynthConfig
from .pipeline.synth.run import synth as synth
from .pipeline.train.experiment import ExperimentConfig as ExperimentConfig
from .pipeline.train.experiment import TrainConfig as TrainConfig
from .pipeline.train.run import train as train
from .pipeline.verify.config import VerifyConfig as VerifyConfig
from .pipeline.verify.run import verify as verify

__version__: str
