"""Windows of tables: what a table partition holds here are the windows of its keys, by their time.

A *kind* (:mod:`.kinds`) says which windows an instant lies in, and how they lie in store and changelog. It knows nothing of events, and
nothing else here knows how many kinds there are.
"""
