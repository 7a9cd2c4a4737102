from .members import EnsembleRun as EnsembleRun
from .members import stochastic_forecast as stochastic_forecast
from .members import stochastic_members as stochastic_members
from .settings import EnsembleSettings as EnsembleSettings
