"""Ockham and its peers, each written as well as its documentation allows: one file per peer, the same work for all.

`fixed` of a peer trains a fixed list of configurations; `search` of a peer searches a space until it is ended. What
they share: data.py, workloads.py, keras_models.py (the networks), clock.py (when the clock starts), processes.py.
"""
