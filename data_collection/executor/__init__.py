"""How every command runs sharded work: units, workers, shards, resume, publish.

In: a list of units and a function for one unit. Out: a finished folder with `manifest.json`, or a resumable `parts/`.
Imported by the entries and the rooms above.
"""
