from .check import check_training as check_training
from .experiment import ExperimentConfig as ExperimentConfig
from .experiment import TrainConfig as TrainConfig
from .experiment import TrainerConfig as TrainerConfig
from .run import TrainResult as TrainResult
from .run import train as train
from .trackers import TrackersConfig as TrackersConfig
