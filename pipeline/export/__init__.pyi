from .run import ExportConfig as ExportConfig
from .run import ExportResult as ExportResult
from .run import export as export
from .weights import WeightsConfig as WeightsConfig
from .weights import WeightsResult as WeightsResult
from .weights import export_weights as export_weights
