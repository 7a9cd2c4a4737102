from .config import VerifyConfig as VerifyConfig
from .output import VerifyResult as VerifyResult
from .plan import Failure as Failure
from .run import verify as verify
