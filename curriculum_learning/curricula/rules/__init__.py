"""Source rules: how much of each source comes, one file each.

A new one is a class derived from ``SourceRule``. Its module says where the formula comes from, what
it needs, when to use it and when not. The configured weights multiply what a rule gives: with equal
weights it is the rule of its paper.
"""
