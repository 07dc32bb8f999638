"""Windows of tables: what a table partition holds here are the windows of its keys, by their time.

One rule: a *kind* says which windows an instant lies in and how they lie in the store, and nothing else knows how many kinds there are.
From below: :mod:`.rows`, :mod:`.partition`, :mod:`.kinds`, the kinds (:mod:`.aligned`; on :mod:`.keyed`, :mod:`.session`, :mod:`.sliding`
and :mod:`.aging`), and :mod:`.table`, which is what events see.
"""
