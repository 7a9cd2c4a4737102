from .config import IngestConfig as IngestConfig
from .report import IngestReport as IngestReport
from .report import ReportedRejection as ReportedRejection
from .run import ingest as ingest
