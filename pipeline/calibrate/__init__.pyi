from .config import CalibrateConfig as CalibrateConfig
from .run import CalibrateResult as CalibrateResult
from .run import calibrate as calibrate
