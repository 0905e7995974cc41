"""The rules across layers, checked before anything is contacted.

They see the resolved intent, which leaves out what is wrong by itself, so that a rule never
stumbles over a value of a wrong type.
"""
