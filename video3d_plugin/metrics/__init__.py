"""Metrics of ScanRefer, Multi3DRefer, Scan2Cap, ScanQA and SQA3D in every convention in use.

Pure functions: one sample, then aggregate. `tasks` binds them to the benchmarks' documents; `grounding`, `captions`,
`scan2cap_benchmark`, `answers`, `ngrams` hold the definitions; `boxes`, `selection`, `parse_boxes`, `java` help.
"""
