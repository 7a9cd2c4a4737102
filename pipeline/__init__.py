"""The stages of Squall and the command line: a function ``stage(config) -> result`` in each room.

Owns what users run; the model is `squall.convgru`, files and archives are `squall.datasets`. Start
reading at the ground floor (`config`, `provenance`, `progress`, `interrupts`, `pictures`), then at
`config.py` and `run.py` of a room: `synth` writes synthetic radar files, `ingest` brings an archive
up to date, `status` describes an archive, `export` writes stores and weights for others, `train`
trains a network, `forecast` makes a nowcast, `scores` computes scores, `report` shows them,
`verify` scores many forecasts, `maps` draws a forecast, `point` describes it at one place, `cli` is
the command `squall`. The stage functions are not exported here, because rooms have their names;
`squall` exports them.

The live loop will be a room `live` that calls `ingest`, `forecast` and `maps` each time a scan
arrives; a step of that loop belongs there, and its work into the room that owns it.
"""
