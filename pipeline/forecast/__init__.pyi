from .config import ForecastConfig as ForecastConfig
from .methods import ForecastMethod as ForecastMethod
from .methods import find_method as find_method
from .names import METHODS as METHODS
from .run import forecast as forecast
