from .run import TrialResult as TrialResult
from .run import trial as trial
