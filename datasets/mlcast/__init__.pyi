from .store import MlcastStore as MlcastStore
from .store import is_plain_zarr as is_plain_zarr
from .writer import refuse_existing as refuse_existing
from .writer import write_store as write_store
