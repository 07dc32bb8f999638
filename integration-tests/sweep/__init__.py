"""The fault sweep: one scenario, run once for each call of a port and each way in which that call can fail.

Two workers on ``memory://``, with a hand-driven clock, count, repartition, answer and send, while one of them joins and leaves. The
scenario is run once to count the calls of every method of every port, then once for each of them with a fault in it. After each
run successors finish the work, on the disks of the workers and on an empty one, and everything is compared.
"""
