from .marginal import marginal_members as marginal_members
from .members import stochastic_forecast as stochastic_forecast
from .members import stochastic_members as stochastic_members
from .mixed import mixed_members as mixed_members
from .settings import EnsembleSettings as EnsembleSettings
from .start import EnsembleRun as EnsembleRun
