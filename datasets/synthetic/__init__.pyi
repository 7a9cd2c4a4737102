from .config import SyntheticConfig as SyntheticConfig
from .radar import SyntheticScan as SyntheticScan
from .radar import synthetic_grid as synthetic_grid
from .radar import synthetic_scans as synthetic_scans
from .rain import rain_rates as rain_rates
from .weather import Weather as Weather
