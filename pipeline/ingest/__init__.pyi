from .report import IngestReport as IngestReport
from .report import RejectedScan as RejectedScan
from .run import IngestConfig as IngestConfig
from .run import ingest as ingest
