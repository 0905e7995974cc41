"""The machines that manage the fleet from inside: who they are, whom they may reach, what they run.

The one that a run is controlled from, whether or not it is among them, is :mod:`tasks.waves`'s.
"""
