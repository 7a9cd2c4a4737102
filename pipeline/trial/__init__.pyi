from .run import TrialResult as TrialResult
from .run import check_trial as check_trial
from .run import trial as trial
