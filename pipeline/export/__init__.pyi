from .config import ExportConfig as ExportConfig
from .config import WeightsConfig as WeightsConfig
from .run import ExportResult as ExportResult
from .run import export as export
from .weights import WeightsResult as WeightsResult
from .weights import export_weights as export_weights
