from .config import ForecastConfig as ForecastConfig
from .methods import EnsembleMethod as EnsembleMethod
from .methods import ForecastMethod as ForecastMethod
from .methods import find_method as find_method
from .methods import is_ensemble as is_ensemble
from .names import METHODS as METHODS
from .run import forecast as forecast
